"""Which features to localise: named one by one, or those that a contrast found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from whence.errors import BadInput
from whence.runs.tables import read_table
from whence.sae.store import Extraction

Direction = Literal["enriched", "depleted", "both"]
Q = 0.05
"""A feature of a contrast counts as found up to this q."""

CONTRASTED = ("top_rate", "rest_rate", "odds_ratio", "p", "q")


@dataclass(frozen=True)
class Wanted:
    """One feature. contrast: what a contrast says of it, empty where none was asked."""

    sae_id: str
    feature: int
    contrast: Mapping[str, Any] = field(default_factory=dict, compare=False)


def named_features(words: Sequence[str], extraction: Extraction) -> list[Wanted]:
    """Read `45` (of the only SAE) and `SAE_ID:45`. Raises BadInput for what is neither."""
    found = []
    for word in words:
        sae_id, colon, number = word.rpartition(":")
        if not number.isdecimal():
            raise BadInput(f'--features {word}: expected a number, or SAE_ID:NUMBER, as in "45"')
        if not colon:
            if len(extraction.files) > 1:
                raise BadInput(
                    f"--features {word}: of which SAE? {extraction.folder} has "
                    f"{', '.join(extraction.files)}; write SAE_ID:{word}, or choose with --sae-id"
                )
            sae_id = next(iter(extraction.files))
        if sae_id not in extraction.files:
            raise BadInput(
                f'--features {word}: {extraction.folder} has no SAE "{sae_id}", but '
                f"{', '.join(extraction.files)}"
            )
        found.append(Wanted(sae_id, int(number)))
    return list({(each.sae_id, each.feature): each for each in found}.values())


def contrasted_features(
    folder: Path, extraction: Extraction, most: int, direction: Direction
) -> list[Wanted]:
    """The `most` features of smallest q that `whence sae contrast` found, of these SAEs.

    Ties go to the larger difference of rates. Raises BadInput where the folder is no contrast, is
    of other SAEs, or found none.
    """
    file = contrast_file(folder)
    table = read_table(file).to_pandas()
    table = table[table["sae_id"].isin(list(extraction.files))]
    if table.empty:
        raise BadInput(f"{file}: no features of {', '.join(extraction.files)}")
    delta = table["top_rate"] - table["rest_rate"]
    sides = {"enriched": delta > 0, "depleted": delta < 0, "both": delta != 0}
    found = table[(table["q"] <= Q) & sides[direction]]
    if found.empty:
        raise BadInput(
            f"{file}: no {'' if direction == 'both' else f'{direction} '}feature with q up to {Q}; "
            "name some with --features"
        )
    found = found.assign(size=delta.abs()).sort_values(
        ["q", "size", "sae_id", "feature"], ascending=[True, False, True, True]
    )
    return [
        Wanted(row["sae_id"], int(row["feature"]), {name: row[name] for name in CONTRASTED})
        for row in found.head(most).to_dict("records")
    ]


def contrast_file(folder: Path) -> Path:
    """The table of features in a contrast's folder. Raises BadInput where there is none."""
    file = folder / "features.parquet"
    if not file.is_file():
        raise BadInput(f"{folder}: no features.parquet; expected a folder of `whence sae contrast`")
    return file


def check_in_range(wanted: Sequence[Wanted], widths: Mapping[str, int]) -> None:
    """Raise BadInput for a feature that its SAE does not have. widths: sae_id → d_sae."""
    for each in wanted:
        if each.feature >= widths[each.sae_id]:
            raise BadInput(
                f"--features {each.feature}: {each.sae_id} has features 0 to "
                f"{widths[each.sae_id] - 1}"
            )
