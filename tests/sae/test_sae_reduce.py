"""What is kept of a row is what the definitions say, however its tokens come in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from whence.sae.extract import reduce as reduce_module
from whence.sae.extract.fit import SAMPLE_TOKENS, Fit, fit_of, sampled_rows, together
from whence.sae.extract.reduce import RowFeatures, RowReduction, active_entries
from whence.sae.sample_stats import SAMPLE_STATS


def by_definition(a: NDArray[np.float64], threshold: float) -> dict[str, float]:
    """The docstring of `whence.sae.sample_stats`, loop by loop."""
    tokens, features = a.shape
    entries = [a[t, j] for t in range(tokens) for j in range(features) if a[t, j] > threshold]
    c = [sum(a[t, j] > threshold for j in range(features)) for t in range(tokens)]
    k = [sum(a[t, j] > threshold for t in range(tokens)) for j in range(features)]
    mean = sum(entries) / len(entries) if entries else 0.0
    token_mean = sum(c) / tokens
    token_std = math.sqrt(sum((each - token_mean) ** 2 for each in c) / tokens)
    return {
        "seq_len": tokens,
        "active_entry_fraction": len(entries) / (tokens * features),
        "active_feature_fraction": sum(each > 0 for each in k) / features,
        "mean_active_activation": mean,
        "std_active_activation": math.sqrt(sum((x - mean) ** 2 for x in entries) / len(entries))
        if entries
        else 0.0,
        "max_active_activation": max(entries, default=0.0),
        "token_active_mean": token_mean,
        "token_active_std": token_std,
        "token_active_cv": token_std / (token_mean + 1e-8),
        "feature_concentration_hhi": sum((each / sum(k)) ** 2 for each in k) if sum(k) else 0.0,
    }


def random_activations(tokens: int, features: int, share: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    present = rng.random((tokens, features)) < share * rng.random(features) * 2
    return torch.from_numpy((present * rng.gamma(2.0, 3.0, present.shape)).astype(np.float32))


def reduced(activations: torch.Tensor, cuts: list[int], threshold: float) -> RowFeatures:
    row = RowReduction(activations.shape[1])
    for start, stop in zip([0, *cuts], [*cuts, len(activations)], strict=True):
        for a, b, entries in active_entries(activations[start:stop], threshold):
            row.add(b - a, entries)
    return row.finish()


@pytest.mark.parametrize("cuts", [[], [1], [5, 6, 20], list(range(1, 30))])
@pytest.mark.parametrize(("share", "threshold"), [(0.3, 0.0), (0.3, 4.0), (0.9, 0.0), (0.02, 0.0)])
def test_statistics_means_and_presence(cuts: list[int], share: float, threshold: float) -> None:
    activations = random_activations(30, 24, share)
    row = reduced(activations, cuts, threshold)
    a = activations.double().numpy()
    expected = by_definition(a, threshold)
    assert list(expected) == list(SAMPLE_STATS)
    np.testing.assert_allclose(row.stats, list(expected.values()), rtol=2e-7, atol=1e-12)
    active = a > threshold
    assert row.ids.tolist() == np.flatnonzero(active.any(axis=0)).tolist()
    means = (a * active).sum(axis=0) / len(a)
    np.testing.assert_allclose(row.means, means[row.ids], rtol=1e-7)
    assert (row.tokens, row.active_entries) == (30, int(active.sum()))


def test_nothing_active_is_all_zeros() -> None:
    row = reduced(torch.zeros(4, 6), [2], 0.0)
    assert row.stats.tolist() == [4.0] + [0.0] * 9
    assert len(row.ids) == len(row.means) == 0


def test_small_spread_around_a_large_mean_is_not_lost() -> None:
    """Where a sum of squares in float32 would give nonsense."""
    activations = torch.full((40, 3), 4096.0) + torch.arange(120).reshape(40, 3) % 7 / 1024
    row = reduced(activations, [1, 7, 33], 0.0)
    spread = float(np.std(activations.double().numpy()))
    assert row.stats[SAMPLE_STATS.index("std_active_activation")] == pytest.approx(spread, rel=1e-6)


def test_much_that_is_active_comes_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    activations = random_activations(30, 24, 0.6)
    whole = reduced(activations, [], 0.0)
    monkeypatch.setattr(reduce_module, "ENTRIES_AT_ONCE", 20)
    runs = list(active_entries(activations, 0.0))
    assert len(runs) > 10
    assert [run[:2] for run in runs] == sorted(run[:2] for run in runs)
    assert [0, *(stop for _, stop, _ in runs)] == [*(start for start, _, _ in runs), 30]
    again = reduced(activations, [], 0.0)
    np.testing.assert_allclose(again.stats, whole.stats, rtol=1e-6)
    np.testing.assert_array_equal(again.ids, whole.ids)
    np.testing.assert_allclose(again.means, whole.means, rtol=1e-6)


def test_fits_of_pieces_are_the_fit_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    read = 50.0 + rng.normal(size=(60, 8)) * np.arange(1, 9)
    rebuilt = read + 0.3 * rng.normal(size=read.shape)
    parts = [
        fit_of(read[a:b], rebuilt[a:b], active)
        for a, b, active in [(0, 1, 4), (1, 20, 70), (20, 60, 100)]
    ]
    whole = together(parts)
    assert isinstance(whole, Fit)
    apart = read - read.mean(axis=0)
    error = ((read - rebuilt) ** 2).sum()
    assert whole.explained_variance == pytest.approx(1 - error / (apart**2).sum(), rel=1e-9)
    assert whole.mse == pytest.approx(((read - rebuilt) ** 2).mean(), rel=1e-9)
    assert whole.l0 == pytest.approx(174 / 60)
    np.testing.assert_allclose(whole.mean, read.mean(axis=0))
    assert together([]) is None
    assert fit_of(read[:1], rebuilt[:1], 0).explained_variance is None


def test_rows_looked_at_are_drawn_and_bounded() -> None:
    lengths = [100] * 1000
    chosen = sampled_rows(lengths)
    assert chosen == sampled_rows(lengths)
    assert SAMPLE_TOKENS <= 100 * len(chosen) < SAMPLE_TOKENS + 100
    assert max(chosen) > 700
    assert sampled_rows([5, 5]) == {0, 1}
