"""Benjamini–Hochberg against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from whence.errors import BadInput
from whence.stats import benjamini_hochberg


@pytest.mark.parametrize("count", [1, 2, 17])
def test_matches_statsmodels(count: int) -> None:
    p = np.random.default_rng(count).beta(0.5, 3, size=count)
    assert benjamini_hochberg(list(p)) == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_comparisons_without_a_p_stay_out_of_the_family() -> None:
    q = benjamini_hochberg([0.01, None, 0.04, None])
    assert q[1] is None
    assert q[3] is None
    assert [q[0], q[2]] == pytest.approx(multipletests([0.01, 0.04], method="fdr_bh")[1])
    assert benjamini_hochberg([None]) == [None]
    assert benjamini_hochberg([]) == []


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(BadInput, match=r"p\[1\] is 1.5"):
        benjamini_hochberg([0.5, 1.5])
    with pytest.raises(BadInput, match=r"p\[0\] is nan"):
        benjamini_hochberg([float("nan")])
