"""What a ranking leans on, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from whence.data.score.diagnostics import composition, correlations, score_statistics


def test_composition_compares_the_top_with_the_pool() -> None:
    ranked = pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(10)],
            "prompt": "p",
            "completion": "c",
            "group_id": "g",
            "kind": ["useful"] * 3 + ["other"] * 6 + [None],
            "turns": [1, 2] * 5,
            "reward": np.arange(10) + 0.5,
            "good": [True] + [False] * 9,
            "messages": [["a", "b"]] * 10,
        }
    )
    # Eleven distinct numbers make a measure of a column of numbers.
    ranked = pd.concat([ranked, ranked.assign(reward=ranked.reward + 0.25)], ignore_index=True)
    found = composition(ranked, sizes=(4, 20))
    assert list(found) == ["4"]
    top = found["4"]
    assert set(top) == {"kind", "turns", "reward", "good"}
    assert top["kind"]["useful"] == {"rows": 3, "share": 0.75, "pool_share": 0.3}
    assert top["kind"]["(missing)"] == {"rows": 0, "share": 0.0, "pool_share": 0.1}
    assert top["turns"]["1"]["rows"] == 2
    assert top["good"]["True"]["rows"] == 1
    assert top["reward"]["top"] == {"mean": 2.0, "median": 2.0}
    assert top["reward"]["pool"]["mean"] == pytest.approx(5.125)


def test_correlations_are_null_where_nothing_varies() -> None:
    scored = pd.DataFrame(
        {
            "score": [1.0, 2.0, 3.0, 9.0],
            "length_tokens": [4, 3, 2, 1],
            "supervised_tokens": [5, 5, 5, 5],
            "loss": [1.0, 2.0, 3.0, 4.0],
        }
    )
    found = correlations(scored)
    assert found["length_tokens"]["spearman"] == pytest.approx(-1)
    assert found["loss"]["pearson"] == pytest.approx(np.corrcoef(scored.score, scored.loss)[0, 1])
    assert found["supervised_tokens"] == {"pearson": None, "spearman": None}


def test_score_statistics() -> None:
    values = np.linspace(-1, 3, 101)
    found = score_statistics(values)
    assert found["mean"] == pytest.approx(1)
    assert found["std"] == pytest.approx(values.std(ddof=1))
    assert (found["min"], found["median"], found["max"]) == (-1, 1, 3)
    assert found["share_above_zero"] == pytest.approx(75 / 101)
