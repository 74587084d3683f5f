"""Against planted truth: how many of the rows that a ranking chose are worth training on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whence.data.experiment.settings import PlantedSettings
from whence.errors import BadInput
from whence.runs.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


def read_planted(settings: PlantedSettings, pool: pd.DataFrame) -> dict[str, str]:
    """row_id → kind for every row of the pool. Raises BadInput where a row has none."""
    table = read_table(settings.file)
    for column in ("row_id", settings.column):
        if column not in table.column_names:
            raise BadInput(
                f'{settings.file}: no column "{column}"; it has {", ".join(table.column_names)}'
            )
    ids, kinds = (table[name].to_pylist() for name in ("row_id", settings.column))
    kinds_of = dict(zip(map(str, ids), kinds, strict=True))
    missing = [row_id for row_id in pool["row_id"] if row_id not in kinds_of]
    if missing:
        raise BadInput(f"{settings.file}: no {settings.column} for row {missing[0]} of the pool")
    return {row_id: kinds_of[row_id] for row_id in pool["row_id"]}


def planted_summary(
    kinds: Mapping[str, str],
    useful: Sequence[str],
    taken: Mapping[str, Sequence[Sequence[str]]],
    ranking: pd.DataFrame,
) -> dict[str, Any]:
    """What each arm took, by kind, and how the ranking compares with trivial ones.

    taken: arm → its rows, one list per seed; shares are means over seeds. The trivial rankings put
    the longest, shortest, hardest (highest loss) and easiest rows first; `k` is the number of
    useful rows in the pool, so that a perfect ranking has precision 1, and chance is their share.
    """
    is_useful = ranking["row_id"].map(lambda row_id: kinds[row_id] in useful)
    k = int(is_useful.sum())
    orders = {
        "attribution": ranking["score"],
        "longest": ranking["length_tokens"],
        "shortest": -ranking["length_tokens"],
        "highest_loss": ranking["loss"],
        "lowest_loss": -ranking["loss"],
    }
    precision = {
        name: float(is_useful[values.sort_values(ascending=False, kind="stable").index[:k]].mean())
        for name, values in orders.items()
    }
    names = sorted(set(kinds.values()))
    composition = {
        arm: {
            name: sum(kinds[row] == name for rows in draws for row in rows)
            / sum(len(rows) for rows in draws)
            for name in names
        }
        for arm, draws in taken.items()
    }
    return {
        "useful": list(useful),
        "k": k,
        "precision_at_k": {**precision, "chance": k / len(ranking)},
        "useful_share": {
            arm: sum(share for name, share in shares.items() if name in useful)
            for arm, shares in composition.items()
        },
        "composition": composition,
    }
