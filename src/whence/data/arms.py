"""Arms: which rows of a ranked pool to train on, written as one short text.

    top:300                 the 300 best rows             bottom:300   the 300 worst
    window:301-500          ranks 301 to 500, both in     full         the whole pool
    random:200              200 rows of the pool          random:200:after=500   … below rank 500
    matched_random:of=top   as many rows as another arm, alike in strata and length, not its own
    matched_random:of=top:overlap=yes       … its own among them, as chance would have it
    top:300:by=bm25         the 300 best of another ranking of the pool (`whence.data.rankings`)

An arm may carry a name: `mytop=top:300`. Without one its name is the text with underscores.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from whence.errors import BadInput

Kind = Literal["top", "bottom", "window", "random", "matched_random", "full"]

GRAMMAR = (
    "top:K, bottom:K, window:A-B, random:K[:after=R] (each with :by=RANKING if wanted), "
    "matched_random[:of=ARM][:overlap=yes], full"
)


@dataclass(frozen=True)
class Arm:
    """One arm. `size` is set for top, bottom and random; `first`, `last` (1-based ranks, both
    included) for window; `after` may be for random, `of` (another arm's name or kind) and `overlap`
    (whether that arm's rows may be drawn too) for matched_random, `by` (the name of a ranking; None
    is the one of the scores) for what has ranks.
    """

    name: str
    kind: Kind
    spec: str
    size: int | None = None
    first: int | None = None
    last: int | None = None
    after: int = 0
    of: str | None = None
    by: str | None = None
    overlap: bool = False

    @property
    def ranked(self) -> bool:
        """Whether its rows are consecutive ranks."""
        return self.kind in ("top", "bottom", "window")


_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_FORMS: dict[Kind, str] = {
    "top": r"top:(?P<size>\d+)",
    "bottom": r"bottom:(?P<size>\d+)",
    "window": r"window:(?P<first>\d+)-(?P<last>\d+)",
    "random": r"random:(?P<size>\d+)",
    "matched_random": r"matched_random",
    "full": r"full",
}
RANKING_NAME = rf"column:[^:=]+|{_NAME}"
_OPTIONS = {"after": r"\d+", "of": _NAME, "by": RANKING_NAME, "overlap": r"yes|no"}
_TAKES: dict[Kind, tuple[str, ...]] = {
    "top": ("by",),
    "bottom": ("by",),
    "window": ("by",),
    "random": ("after", "by"),
    "matched_random": ("of", "overlap"),
    "full": (),
}


def parse_arm(text: str) -> Arm:
    """Read one arm. Raises BadInput that quotes it and says what was expected."""
    named = re.fullmatch(rf"(?:(?P<name>{_NAME})=)?(?P<spec>[^:=]+(?::.*)?)", text.strip())
    if not named:
        raise BadInput(f"--arm {text}: expected [NAME=]ARM, where ARM is one of {GRAMMAR}")
    spec = named["spec"]
    word = spec.partition(":")[0]
    kind = next((kind for kind in _FORMS if kind == word), None)
    if kind is None:
        near = difflib.get_close_matches(word, _FORMS, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise BadInput(f'--arm {text}: no arm "{word}"; {hint}there are {GRAMMAR}')
    core, *written = re.split(r":(?=[a-z]+=)", spec)
    options = dict(option.split("=", 1) for option in written)
    form = re.fullmatch(_FORMS[kind], core)
    fitting = all(
        name in _TAKES[kind] and re.fullmatch(_OPTIONS[name], value)
        for name, value in options.items()
    )
    if not form or not fitting or len(options) < len(written):
        raise BadInput(f"--arm {text}: not of the form of any of {GRAMMAR}")
    found = {**form.groupdict(), "after": options.get("after")}
    numbers = {key: int(value) for key, value in found.items() if value}
    if numbers.get("size") == 0 or numbers.get("first") == 0:
        raise BadInput(f"--arm {text}: sizes and ranks count from 1")
    if numbers.get("last", 0) < numbers.get("first", 0):
        raise BadInput(
            f"--arm {text}: the window ends before it begins; write the lower rank first"
        )
    name = named["name"] or re.sub(r"[^A-Za-z0-9.]+", "_", spec)
    return Arm(
        name,
        kind,
        spec,
        of=options.get("of"),
        by=options.get("by"),
        overlap=options.get("overlap") == "yes",
        **numbers,
    )


def parse_arms(texts: Sequence[str]) -> list[Arm]:
    """Read several arms; their names must differ. Raises BadInput as `parse_arm` does."""
    arms = [parse_arm(text) for text in texts]
    seen: set[str] = set()
    for arm in arms:
        if arm.name in seen:
            raise BadInput(f'--arm: two arms are called "{arm.name}"; name one, as in b={arm.spec}')
        seen.add(arm.name)
    return arms


def target_of(arm: Arm, names: Mapping[str, Kind]) -> str:
    """The name of the arm that `arm` (a matched_random) is matched to, among `names` → kinds.

    `of` may be a name, or a kind that only one arm has; left out, the only arm that is drawn by
    rank (top, bottom or window) is meant. Raises BadInput when that is none or several.
    """
    if arm.of in names and arm.of != arm.name:
        return str(arm.of)
    wanted = (arm.of,) if arm.of else ("top", "bottom", "window")
    fitting = [name for name, kind in names.items() if kind in wanted and name != arm.name]
    if len(fitting) == 1:
        return fitting[0]
    found = f"{len(fitting)} fit: {', '.join(fitting)}" if fitting else "none fits"
    raise BadInput(
        f"--arm {arm.spec}: needs one arm to match ({found}); name it, as in "
        "mytop=top:300 and matched_random:of=mytop"
    )
