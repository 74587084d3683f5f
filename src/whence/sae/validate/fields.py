"""Fields of a row's metadata as numbers: quantities, words in an order, names without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

SCALES: Mapping[str, Sequence[str]] = {
    "difficulty": ("very easy", "easy", "medium", "hard", "very hard"),
    "quality": ("very poor", "poor", "average", "good", "excellent"),
}
"""Words in rising order; difficulty and quality as smol-magpie-ultra has them."""
NAMES = ("category",)
"""Fields without an order, even where they are numbers."""
LENGTH = "length"
LENGTHS = ("length_tokens", "tokens", "seq_len", "conversation_tokens")
"""Columns that `length` stands for, best first."""

Kind = Literal["number", "order", "names"]


@dataclass(frozen=True)
class Known:
    """One field. values: float64 [rows], NaN where missing; of words the position in `levels`.

    unknown: words of no scale → how many rows have them; they count as missing.
    """

    name: str
    column: str
    kind: Kind
    values: NDArray[np.float64]
    levels: Sequence[str] = ()
    unknown: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        return int(np.count_nonzero(np.isnan(self.values)))


def read_fields(
    rows: pd.DataFrame, names: Sequence[str], reward: str
) -> tuple[dict[str, Known], dict[str, str]]:
    """The fields that are there by name, and why the others are not.

    reward: the field that must be a number. Raises BadInput where no field is there, and where the
    reward is not a number.
    """
    found, skipped = {}, {}
    for name in dict.fromkeys((reward, *names)):
        column = column_of(rows, name)
        if column is None:
            skipped[name] = "no such column"
            continue
        known = read_field(rows[column], name, column)
        if name == reward and known.kind != "number":
            raise BadInput(
                f"--reward-field {reward}: expected numbers, found words such as "
                f'"{next(iter(known.levels), "")}"'
            )
        if known.missing == len(rows):
            skipped[name] = "no row has it" if not known.unknown else "no row has a known word"
            continue
        found[name] = known
    if not found:
        raise BadInput(
            f"none of the fields {', '.join(skipped)} is in the rows, which have "
            f"{', '.join(map(str, rows.columns))}; name others with --fields, or join a table that "
            "has them with --metadata"
        )
    return found, skipped


def column_of(rows: pd.DataFrame, name: str) -> str | None:
    """The column that a field's name stands for, None where there is none."""
    if name in rows.columns:
        return name
    return next((c for c in LENGTHS if c in rows.columns), None) if name == LENGTH else None


def read_field(values: pd.Series, name: str, column: str) -> Known:
    """A field as numbers. Words are compared in lower case, with `_` and `-` as spaces."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    numeric = is_numeric_dtype(values) or is_bool_dtype(values)
    if numeric and name not in NAMES:
        numbers = values.astype("float64").to_numpy()
        return Known(name, column, "number", np.where(np.isfinite(numbers), numbers, np.nan))
    words = [None if _missing(each) else str(each) for each in values]
    scale = SCALES.get(name) or _scale_of(words)
    if scale is not None and name not in NAMES:
        place = {word: float(at) for at, word in enumerate(scale)}
        codes = [np.nan if w is None else place.get(_plain(w), np.nan) for w in words]
        unknown = Counter(w for w in words if w is not None and _plain(w) not in place)
        return Known(name, column, "order", np.array(codes), scale, dict(sorted(unknown.items())))
    levels = sorted({word for word in words if word is not None})
    place = {word: float(at) for at, word in enumerate(levels)}
    codes = [np.nan if word is None else place[word] for word in words]
    return Known(name, column, "names", np.array(codes), levels)


def _scale_of(words: Sequence[str | None]) -> Sequence[str] | None:
    """The scale that has all of these words, if one has."""
    plain = {_plain(word) for word in words if word is not None}
    return next((scale for scale in SCALES.values() if plain and plain <= set(scale)), None)


def _plain(word: str) -> str:
    return " ".join(word.lower().replace("_", " ").replace("-", " ").split())


def _missing(value: object) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())
