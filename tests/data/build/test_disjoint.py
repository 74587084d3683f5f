"""Groups and values that belong on one side."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from whence.data.build.disjoint import Keys, Shared, hanging_together, keys_of, share_out
from whence.data.build.partition import Candidates
from whence.errors import BadInput


def side(keys: Keys, rows: list[int] | None = None) -> tuple[Candidates, Keys]:
    chosen = np.arange(len(keys)) if rows is None else np.array(rows)
    return Candidates("f", chosen, ["all"] * len(keys)), keys


def shared(
    train: Keys,
    held: Keys | None,
    sizes: tuple[int | None, int | None, int | None],
    fraction: float | None = None,
    column: str | None = "w",
    seed: int = 0,
) -> Shared:
    names = ("train_base", "attr_query", "eval")
    return share_out(
        side(train),
        side(held) if held is not None else None,
        dict(zip(names, sizes, strict=True)),
        seed=seed,
        query_fraction=fraction,
        disjoint_by=column,
    )


TRAIN: Keys = [*("abcdefgh" * 4), None]
HELD: Keys = [*("cdefghij" * 3), None, None]


def values(found: Shared, name: str, keys: Keys) -> set[str | None]:
    return {keys[i] for i in found.allowed[name]}


@pytest.mark.parametrize("seed", range(5))
def test_values_of_eval_are_nowhere_else(seed: int) -> None:
    found = shared(TRAIN, HELD, (8, 4, 7), seed=seed)
    of_eval = values(found, "eval", HELD)
    assert len(of_eval) == 3  # seven rows, at three a value
    assert values(found, "attr_query", HELD) == set("cdefghij") - of_eval
    assert values(found, "train_base", TRAIN) == set("abcdefgh") - of_eval
    assert found.allowed["score_pool"] is found.allowed["train_base"]
    common = of_eval & set("cdefgh")
    assert found.policy == {
        "groups": 8,
        "groups_in_eval": 3,
        "disjoint_by": "w",
        "training_rows_without_value": 1,
        "training_rows_with_a_value_of_eval": 4 * len(common),
        "held_out_rows_without_value": 2,
    }
    other = [values(shared(TRAIN, HELD, (8, 4, 7), seed=s), "eval", HELD) for s in range(5)]
    assert len({frozenset(map(str, one)) for one in other}) > 1


def test_eval_of_all_that_query_leaves() -> None:
    found = shared(TRAIN, HELD, (None, 4, None))
    assert len(values(found, "attr_query", HELD)) == 2
    assert len(values(found, "eval", HELD)) == 6


def test_one_side() -> None:
    found = shared(TRAIN, None, (8, 2, 7))
    of_eval = values(found, "eval", TRAIN)
    assert len(of_eval) == 2
    assert values(found, "train_base", TRAIN) == set("abcdefgh") - of_eval
    assert found.policy["held_out_rows_without_value"] == 1


def test_a_fraction_of_the_groups() -> None:
    groups: Keys = [f"g{i // 3}" for i in range(30)]
    found = shared(["x"] * 5, groups, (None, None, None), fraction=0.4, column=None)
    query, evaluation = (values(found, name, groups) for name in ("attr_query", "eval"))
    assert (len(query), len(evaluation)) == (4, 6)
    assert not query & evaluation
    assert set(found.allowed) == {"eval", "attr_query"}
    counts = Counter(groups[i] for i in found.allowed["eval"])
    assert set(counts.values()) == {3}
    for fraction, size in ((0.001, 1), (0.999, 9)):
        edge = shared(["x"], groups, (None, None, None), fraction=fraction, column=None)
        assert len(values(edge, "attr_query", groups)) == size
    with pytest.raises(BadInput, match="its 3 rows that are left are of 1 group;"):
        shared(["x"], ["g"] * 3, (None, None, None), fraction=0.4, column=None)


def test_too_few_is_said_with_the_counts() -> None:
    with pytest.raises(BadInput) as error:
        shared([*("ab" * 5), None], ["a", "b"], (6, 1, 1))
    assert str(error.value) == (
        "--disjoint-by w: train_base needs 6 rows and has 5, after 1 of 2 values went to eval "
        "(1 rows), 5 training rows have those too and 1 have no value; ask for fewer rows or give "
        "more values"
    )
    with pytest.raises(BadInput, match="eval needs 9 rows and has 2, after 2 of 2 values"):
        shared(["z"] * 5, ["a", "b"], (2, 1, 9))
    with pytest.raises(BadInput, match="eval needs 1 rows and has 0, after 0 of 0 values"):
        shared(["z"] * 5, [None, None], (2, 1, 1))


def test_keys_fold_case_and_leave_blanks_out() -> None:
    table = pa.table({"word": ["Fox ", "fox", "", None], "n": [1, 2, None, 4], "l": [[1]] * 4})
    assert keys_of(table, "word", "f", "--x") == ["fox", "fox", None, None]
    assert keys_of(table, "n", "f", "--x") == ["1", "2", None, "4"]
    spelt = pa.table(
        {
            "target_word": ["ice-cream", "Ice  Cream", "cafe\u0301", "caf\u00e9", "+"],
            "c": ["C++"] * 5,
        }
    )
    words = keys_of(spelt, "target_word", "f", "--x")
    assert words == ["ice cream", "ice cream", "caf\u00e9", "caf\u00e9", "+"]
    assert keys_of(spelt, "c", "f", "--x")[0] == "c++"
    points = pa.table({"n": [1.0, 2.5, None, float("nan")]})
    assert keys_of(points, "n", "f", "--x") == ["1", "2.5", None, None]
    with pytest.raises(BadInput, match='f: no column "wrod", which --x needs; did you mean "word"'):
        keys_of(table, "wrod", "f", "--x")
    with pytest.raises(BadInput, match='column "l" holds list'):
        keys_of(table, "l", "f", "--x")


def test_values_of_one_group_hang_together() -> None:
    keys: Keys = ["d", "b", "b", "a", "c", None, "e"]
    groups: Keys = ["1", "1", "2", "2", "3", "3", "3"]
    assert hanging_together(keys, groups, range(6)) == {"a": "a", "b": "a", "d": "a", "c": "c"}
    assert hanging_together(keys, groups, [0, 3]) == {"a": "a", "d": "d"}
