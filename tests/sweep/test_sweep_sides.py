"""What chooses and what confirms share nothing, and are the same whatever else is measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_sweeps import entry, rows

from whence.errors import BadInput
from whence.sweep.summarize.contest import Contest, contests
from whence.sweep.summarize.sides import sides_of


def _contest(*tables: pd.DataFrame, seeds: int = 0) -> Contest:
    entries = [entry("a", {}, seed=seed) for seed in range(seeds)] or [entry("a", {})]
    (found,) = contests(pd.concat(tables), entries, {each.run: "" for each in entries})
    return found


def _units(units: int) -> Contest:
    return _contest(rows("a", "p", np.arange(units)))


def test_units_are_on_one_side_each() -> None:
    found = sides_of(_units(21), "auto", 0.5, "problem")
    assert found.kind == "units"
    assert found.confirmation is not None
    chosen, kept = found.selection[0, 0], found.confirmation[0, 0]
    assert sorted([*chosen, *kept]) == list(range(21))
    assert len(kept) == 10
    assert found.chosen_on == "11 of 21 problems"


def test_a_unit_stays_where_it_is_when_others_come() -> None:
    """The order of names by their hash does not know of other names."""
    few, many = (sides_of(_units(count), "units", 0.5, "unit") for count in (40, 44))
    assert few.confirmation is not None
    assert many.confirmation is not None
    moved = set(few.confirmation[0, 0]) - set(many.confirmation[0, 0])
    assert len(moved) <= 4


def test_another_seed_is_another_half() -> None:
    first, second = (sides_of(_units(40), "units", 0.5, "unit", seed) for seed in (0, 1))
    assert first.confirmation is not None
    assert second.confirmation is not None
    assert set(first.confirmation[0, 0]) != set(second.confirmation[0, 0])


def test_validation_chooses_where_there_is_one() -> None:
    contest = _contest(rows("a", "p", [1, 2, 3], part="val"), rows("a", "p", [4, 5], part="test"))
    found = sides_of(contest, "auto", 0.5, "problem")
    assert found.kind == "parts"
    assert found.confirmation is not None
    assert found.selection[0, 0].tolist() == [1, 2, 3]
    assert found.confirmation[0, 0].tolist() == [4, 5]
    # Asked for by name, units of the test part are halved, and validation is left alone.
    halved = sides_of(contest, "units", 0.5, "problem")
    assert halved.selection.shape[2] == 1


def test_a_split_dealt_anew_is_no_validation() -> None:
    """A problem that validates under one seed and tests under another would be on both sides."""
    frame = pd.concat(
        [rows("a", "p", np.arange(4), part="val"), rows("a", "p", np.arange(4), part="test")]
    )
    frame["unit"] = [f"u{at}" for at in (0, 1, 2, 3, 2, 3, 4, 5)]
    found = sides_of(_contest(frame), "auto", 0.5, "problem")
    assert found.kind == "units"
    assert "2 of 4 test problems are validation problems" in found.notes[0]


def test_seeds() -> None:
    tables = [rows(f"a-{s}", "mlp", [s, s + 0.5], seed=s) for s in range(4)]
    tables += [rows(f"a-{s}", "still", [7.0, 8.0]) for s in range(4)]
    found = sides_of(_contest(*tables, seeds=4), "seeds", 0.5, "item")
    assert found.kind == "seeds"
    assert found.confirmation is not None
    chosen = ~np.isnan(found.selection[0]).all(axis=1)
    kept = ~np.isnan(found.confirmation[0]).all(axis=1)
    assert chosen.sum() == kept.sum() == 2
    assert not (chosen & kept).any()
    assert any("no seed changes" in note for note in found.notes)


def test_what_cannot_be() -> None:
    with pytest.raises(BadInput, match="no validation part"):
        sides_of(_units(8), "parts", 0.5, "unit")
    with pytest.raises(BadInput, match="two seeds that differ"):
        sides_of(_units(8), "seeds", 0.5, "unit")
    with pytest.raises(BadInput, match="none to keep"):
        sides_of(_units(1), "units", 0.5, "unit")
    nothing = sides_of(_units(1), "auto", 0.5, "unit")
    assert nothing.kind == "none"
    assert nothing.confirmation is None
