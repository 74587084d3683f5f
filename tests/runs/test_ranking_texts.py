"""Scores of one pool are not believed of another whose rows have the same ids."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from whence.errors import BadInput
from whence.runs.manifest import Split
from whence.runs.ranking import TEXTS, check_covers, text_digests

SPLIT = Split("score_pool", Path("pool.parquet"), 2)
POOL = pd.DataFrame({"row_id": ["a", "b"], "prompt": ["x", "y"], "completion": ["1", "2"]})


def scores(pool: pd.DataFrame) -> pd.DataFrame:
    table = pool[["row_id"]].assign(score=[1.0, 2.0])
    return table.assign(**{TEXTS: text_digests(pool)}).iloc[::-1]


def test_scores_of_the_same_texts_are_taken_whatever_their_order() -> None:
    check_covers(scores(POOL), POOL, Path("s"), SPLIT)


def test_scores_that_do_not_say_are_taken() -> None:
    check_covers(scores(POOL).drop(columns=TEXTS), POOL, Path("s"), SPLIT)


@pytest.mark.parametrize("column", ["prompt", "completion"])
def test_other_texts_under_the_same_ids_are_refused(column: str) -> None:
    other = POOL.assign(**{column: [POOL[column][0], "z"]})
    with pytest.raises(BadInput, match='row_id "b" had another text'):
        check_covers(scores(POOL), other, Path("s"), SPLIT)


def test_the_seam_between_prompt_and_completion_counts() -> None:
    moved = POOL.assign(prompt=["", "y"], completion=["x1", "2"])
    assert text_digests(moved)[0] != text_digests(POOL)[0]
