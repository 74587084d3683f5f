"""Planted truth: read, refused, and summed up as by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from whence.data.experiment.planted import Planted, planted_summary, read_planted
from whence.data.experiment.settings import PlantedSettings
from whence.errors import BadInput
from whence.runs.jsonfile import write_jsonl

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"a": "useful", "b": "wrong", "c": "useful", "d": "other"}


@pytest.fixture
def pool() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"row_id": list(KINDS)})


def kinds_file(folder: Path, rows: list[dict[str, str | None]]) -> Path:
    write_jsonl(folder / "kinds.jsonl", rows)
    return folder / "kinds.jsonl"


def rows_of(kinds: dict[str, str]) -> list[dict[str, str | None]]:
    return [{"row_id": row_id, "kind": kind} for row_id, kind in kinds.items()]


def test_kinds_are_read_for_the_pool_alone(tmp_path: Path, pool: pd.DataFrame) -> None:
    file = kinds_file(tmp_path, rows_of({**KINDS, "elsewhere": "useful"}))
    planted = read_planted(PlantedSettings(file=file, oracle=2), pool)
    assert planted.kinds == KINDS
    assert planted.draw(0) == ["a", "c"]


@pytest.mark.parametrize(
    ("rows", "settings", "told"),
    [
        (rows_of(KINDS)[:3], {}, 'no kind for row_id "d" of the pool'),
        ([*rows_of(KINDS)[:3], {"row_id": "d", "kind": None}], {}, 'no kind for row_id "d"'),
        (rows_of(KINDS) + rows_of(KINDS)[:1], {}, 'row_id "a" is there 2 times'),
        (rows_of(KINDS), {"column": "sort"}, 'no column "sort"; it has row_id, kind'),
        (rows_of(KINDS), {"useful": ("usefull",)}, 'did you mean "useful"'),
        (rows_of(KINDS), {"oracle": 3}, "planted.oracle 3: only 2 rows of the pool are useful"),
    ],
)
def test_truth_that_cannot_be_used_is_refused(
    tmp_path: Path,
    pool: pd.DataFrame,
    rows: list[dict[str, str | None]],
    settings: dict[str, object],
    told: str,
) -> None:
    file = kinds_file(tmp_path, rows)
    with pytest.raises(BadInput, match=told):
        read_planted(PlantedSettings(file=file, **settings), pool)


def test_the_oracle_draws_anew_under_each_seed_and_alike_under_one() -> None:
    planted = Planted({str(i): "useful" for i in range(40)}, ("useful",), oracle=10)
    draws = [planted.draw(seed) for seed in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]
    assert all(len(set(rows)) == 10 for rows in draws)


def test_the_summary_is_that_of_a_pencil() -> None:
    import pandas as pd

    ranking = pd.DataFrame(
        {
            "row_id": ["d", "c", "b", "a"],
            "score": [0.1, 0.9, 0.8, 0.2],
            "length_tokens": [9, 9, 5, 5],
            "loss": [4.0, 3.0, 2.0, 1.0],
        }
    )
    taken = {"top": [["c", "b"], ["c", "b"]], "chance": [["a", "d"], ["a", "c"]]}
    found = planted_summary(Planted(KINDS, ("useful",), None), taken, ranking)
    assert found == {
        "useful": ["useful"],
        "k": 2,
        "precision_at_k": {
            "attribution": 0.5,  # c, b
            "longest": 0.5,  # d, c
            "shortest": 0.5,  # b, a
            "highest_loss": 0.5,  # d, c
            "lowest_loss": 0.5,  # a, b
            "chance": 0.5,
        },
        "useful_share": {"top": 0.5, "chance": 0.75},
        "composition": {
            "top": {"other": 0.0, "useful": 0.5, "wrong": 0.5},
            "chance": {"other": 0.25, "useful": 0.75, "wrong": 0.0},
        },
    }
    unknown = planted_summary(
        Planted(KINDS, ("useful", "other"), None), taken, ranking.assign(loss=float("nan"))
    )
    assert unknown["precision_at_k"] == {
        "attribution": pytest.approx(2 / 3),  # c, b, a
        "longest": pytest.approx(2.5 / 3),  # d, c, and half of b and a, which tie
        "shortest": pytest.approx(2 / 3),  # b, a, and half of d and c
        "chance": 0.75,
    }
