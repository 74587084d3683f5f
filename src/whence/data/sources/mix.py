"""Several sources of one build, each written as one short text.

    real=colab-potsdam/playpen-data:preset=playpen          a hub data set, read as games
    made=runs/games/rows_wordguesser.jsonl:use=train:cap=500    a file; 500 of its rows at most
    chat=HuggingFaceTB/smoltalk:config=smol-magpie-ultra    one configuration of a data set
    math=gsm8k.jsonl:prompt=question:completion=answer      columns that are called otherwise
    held=exam.parquet:use=eval                              rows for query and eval alone

The name stands in the column `source` of every row.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from whence.errors import BadInput

Use = Literal["both", "train", "eval"]

GRAMMAR = (
    "NAME=PLACE[:use=train|eval|both][:cap=N][:config=C][:revision=R][:messages=COL]"
    "[:prompt=COL:completion=COL][:preset=playpen]"
)


@dataclass(frozen=True)
class Given:
    """One source as it was asked for.

    place: a file, a folder or a hub id. use: whether its rows train, evaluate, or each as its
    splits say. cap: most rows that may be drawn of each of its splits. config, revision: of a data
    set. messages, prompt, completion: columns with the text. preset: "playpen" reads games.
    """

    name: str
    place: str
    use: Use = "both"
    cap: int | None = None
    config: str | None = None
    revision: str | None = None
    messages: str | None = None
    prompt: str | None = None
    completion: str | None = None
    preset: str | None = None


_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_OPTIONS = {
    "use": r"train|eval|both",
    "cap": r"[1-9]\d*",
    "config": r"[^:]+",
    "revision": r"[^:]+",
    "messages": r".+",
    "prompt": r".+",
    "completion": r".+",
    "preset": r"playpen",
}
_EXPECTED = {
    "use": "train, eval or both",
    "cap": "a number of rows from 1",
    "preset": "playpen",
}


def parse_source(text: str) -> Given:
    """Read one source. Raises BadInput that quotes it and says what was expected."""
    core, *written = re.split(r":(?=[A-Za-z_]+=)", text.strip())
    named = re.fullmatch(rf"(?P<name>{_NAME})=(?P<place>.+)", core)
    if not named:
        raise BadInput(f"--source {text}: expected {GRAMMAR}")
    options: dict[str, Any] = {}
    for option in written:
        key, _, value = option.partition("=")
        if key not in _OPTIONS:
            near = difflib.get_close_matches(key, _OPTIONS, n=1)
            hint = f'did you mean "{near[0]}"? ' if near else ""
            raise BadInput(
                f'--source {text}: no option "{key}"; {hint}there are {", ".join(_OPTIONS)}'
            )
        if key in options:
            raise BadInput(f"--source {text}: {key}= is given twice")
        if not re.fullmatch(_OPTIONS[key], value):
            expected = _EXPECTED.get(key, "a name")
            raise BadInput(f'--source {text}: {key} is "{value}", expected {expected}')
        options[key] = int(value) if key == "cap" else value
    return Given(named["name"], named["place"], **options)


def parse_sources(texts: Sequence[str]) -> list[Given]:
    """Read several sources; their names must differ, and one must have rows to train on.

    Raises BadInput as `parse_source` does.
    """
    given = [parse_source(text) for text in texts]
    seen: set[str] = set()
    for one in given:
        if one.name in seen:
            raise BadInput(f'--source: two sources are called "{one.name}"; rename one')
        seen.add(one.name)
    if given and all(one.use == "eval" for one in given):
        raise BadInput("--source: every source has use=eval; one needs use=train or use=both")
    return given
