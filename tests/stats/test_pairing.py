"""Pairing: what is compared with what, what is dropped, what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from whence.errors import BadInput
from whence.stats.pairing import pair


def table(arm: str, seeds: list[object], rows: list[str], values: np.ndarray) -> pd.DataFrame:
    """values: [seeds, rows]."""
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": np.repeat(np.array(seeds, dtype=object), len(rows)),
            "row_id": rows * len(seeds),
            "loss": values.ravel(),
        }
    )


ROWS = [f"r{i}" for i in range(6)]
VALUES = np.random.default_rng(1).normal(size=(3, 6))
OTHER = np.random.default_rng(2).normal(size=(3, 6))


def test_cells_hold_the_difference_of_the_same_seed_and_item() -> None:
    items = pd.concat([table("a", [0, 1, 2], ROWS, VALUES), table("b", [0, 1, 2], ROWS, OTHER)])
    pairs = pair(items.sample(frac=1, random_state=3), "a", "b", "loss", "row_id")
    totals, sizes = pairs.cells()
    np.testing.assert_array_equal(totals, VALUES - OTHER)
    np.testing.assert_array_equal(sizes, np.ones((3, 6)))
    assert (pairs.seeds, pairs.items, pairs.dropped, pairs.repeats) == (3, 6, 0, 0)


def test_only_common_seeds_and_items_count_and_the_rest_is_counted() -> None:
    items = pd.concat(
        [table("a", [0, 1, 2], ROWS, VALUES), table("b", [1, 2, 9], [*ROWS[1:], "new"], OTHER)]
    )
    pairs = pair(items, "a", "b", "loss", "row_id")
    totals, _ = pairs.cells()
    np.testing.assert_array_equal(totals, VALUES[1:, 1:] - OTHER[:2, :5])
    assert pairs.dropped == (18 - 10) + (18 - 10)


def test_an_arm_without_seeds_meets_every_seed_of_the_other() -> None:
    items = pd.concat([table("a", [4, 5, 6], ROWS, VALUES), table("base", [None], ROWS, OTHER[:1])])
    forward, backward = (
        pair(items, *arms, "loss", "row_id").cells()[0] for arms in (("a", "base"), ("base", "a"))
    )
    np.testing.assert_array_equal(forward, VALUES - OTHER[0])
    np.testing.assert_array_equal(backward, OTHER[0] - VALUES)
    both = pd.concat([table("x", [None], ROWS, VALUES[:1]), table("y", [None], ROWS, OTHER[:1])])
    pairs = pair(both, "x", "y", "loss", "row_id")
    assert pairs.seeds == 0
    np.testing.assert_array_equal(pairs.cells()[0], (VALUES - OTHER)[:1])


def test_repeats_of_something_deterministic_count_once() -> None:
    same, as_well = np.tile(VALUES[0], (3, 1)), np.tile(OTHER[0], (3, 1))
    items = pd.concat([table("a", [0, 1, 2], ROWS, same), table("b", [0, 1, 2], ROWS, as_well)])
    pairs = pair(items, "a", "b", "loss", "row_id")
    assert (pairs.seeds, pairs.repeats, pairs.items) == (1, 2, 6)
    np.testing.assert_array_equal(pairs.cells()[0], (VALUES - OTHER)[:1])


def test_a_deterministic_control_leaves_the_arms_seeds_alone() -> None:
    items = pd.concat(
        [
            table("a", [0, 1, 2], ROWS, VALUES),
            table("base", [0, 1, 2], ROWS, np.tile(OTHER[0], (3, 1))),
        ]
    )
    assert pair(items, "a", "base", "loss", "row_id").seeds == 3


def test_seeds_that_copy_one_another_count_once_except_right_wrong_coincidences() -> None:
    copied, against = VALUES[[0, 0, 1]], OTHER[[0, 0, 1]]
    items = pd.concat([table("a", [0, 1, 2], ROWS, copied), table("b", [0, 1, 2], ROWS, against)])
    assert pair(items, "a", "b", "loss", "row_id").seeds == 2
    items["loss"] = (items["loss"] > 0).astype(int)
    assert pair(items, "a", "b", "loss", "row_id").seeds == 3


def test_clusters_gather_items() -> None:
    items = pd.concat([table("a", [0, 1], ROWS, VALUES[:2]), table("b", [0, 1], ROWS, OTHER[:2])])
    items["word"] = items["row_id"].map(dict(zip(ROWS, "xxyyyz", strict=True)))
    totals, sizes = pair(items, "a", "b", "loss", "word").cells()
    diff = VALUES[:2] - OTHER[:2]
    np.testing.assert_allclose(
        totals, np.stack([diff[:, :2].sum(1), diff[:, 2:5].sum(1), diff[:, 5]], axis=1)
    )
    np.testing.assert_array_equal(sizes, [[2, 3, 1]] * 2)
    items.iloc[0, items.columns.get_loc("word")] = "z"
    with pytest.raises(BadInput, match="'word' is not the same for a row_id"):
        pair(items, "a", "b", "loss", "word")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_place(value: float) -> None:
    broken = VALUES.copy()
    broken[1, 4] = value
    items = pd.concat([table("a", [0, 1, 2], ROWS, broken), table("b", [0, 1, 2], ROWS, OTHER)])
    with pytest.raises(BadInput, match=r"column 'loss' is .* at arm 'a', seed 1, row_id 'r4'"):
        pair(items, "a", "b", "loss", "row_id")


def test_bad_tables_are_refused_in_one_line() -> None:
    items = pd.concat([table("a", [0, 1, 2], ROWS, VALUES), table("b", [0, 1, 2], ROWS, OTHER)])
    cases = {
        "no column accuracy: its columns are arm, seed, row_id, loss": (
            "a",
            "b",
            "accuracy",
            items,
        ),
        "no arm 'c': its arms are a, b": ("a", "c", "loss", items),
        "both 'a'": ("a", "a", "loss", items),
        "row_id 'r0' twice under seed 0": ("a", "b", "loss", pd.concat([items, items.head(1)])),
        "holds str values: expected numbers": ("a", "b", "loss", items.assign(loss="much")),
        "empty row_id": ("a", "b", "loss", items.assign(row_id=None)),
        "have no seed in common": (
            "a",
            "b",
            "loss",
            items.assign(seed=items["seed"].where(items["arm"] == "a", items["seed"] + 7)),
        ),
        "have no seed and row_id in common": (
            "a",
            "b",
            "loss",
            items.assign(row_id=items["row_id"].where(items["arm"] == "a", items["row_id"] + "x")),
        ),
        "a seed in some rows and none in others": (
            "a",
            "b",
            "loss",
            items.assign(seed=items["seed"].where(items["row_id"] != "r3")),
        ),
    }
    for message, (arm, control, metric, frame) in cases.items():
        with pytest.raises(BadInput, match=message) as refused:
            pair(frame, arm, control, metric, "row_id")
        assert "\n" not in str(refused.value)
