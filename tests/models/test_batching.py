"""Batches hold every row once, within their budget; padding never hides where a row ends."""

from __future__ import annotations

import random

import pytest

from whence.errors import BadInput, WhenceError
from whence.models.batching import (
    attention_mask,
    is_out_of_memory,
    last_real_token,
    pad,
    run_batches,
    token_batches,
)


@pytest.mark.parametrize("seed", range(5))
def test_batches_hold_each_row_once_within_the_budget(seed):
    rng = random.Random(seed)
    lengths = [rng.randint(1, 90) for _ in range(rng.randint(1, 60))]
    batches = token_batches(lengths, max_tokens=100, max_rows=7)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= 7
        assert len(batch) * max(lengths[i] for i in batch) <= 100
    widths = [lengths[batch[0]] for batch in batches]
    assert widths == sorted(widths, reverse=True)


def test_a_row_beyond_the_budget_stands_alone():
    assert token_batches([500, 3, 3], max_tokens=10) == [[0], [1, 2]]
    assert token_batches([], max_tokens=10) == []
    with pytest.raises(BadInput):
        token_batches([1], max_tokens=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_last_real_token_is_found_on_either_side(side):
    rows = [[5, 6, 7], [8], [9, 4]]
    ids, mask = pad(rows, 0, side), attention_mask(rows, side)
    assert ids.shape == mask.shape == (3, 3)
    last = last_real_token(mask)
    assert [int(ids[i, at]) for i, at in enumerate(last)] == [7, 8, 4]
    assert (ids * mask).sum() == sum(map(sum, rows))


def test_a_row_of_padding_has_no_last_token():
    with pytest.raises(BadInput, match="no real token"):
        last_real_token(attention_mask([[1], []]))


def test_a_batch_that_runs_out_of_memory_is_halved_and_stays_halved():
    import torch

    tried = []

    def fits_three(indices):
        tried.append(len(indices))
        if len(indices) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
        return [i * 10 for i in indices]

    batches = [list(range(8)), list(range(8, 14))]
    done = list(run_batches(batches, fits_three))
    assert [i for indices, _ in done for i in indices] == list(range(14))
    assert all(result == [i * 10 for i in indices] for indices, result in done)
    assert tried[:3] == [8, 4, 2]
    assert max(tried[3:]) <= 2


def test_a_single_row_without_memory_ends_in_one_line():
    def never(indices):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB")

    with pytest.raises(WhenceError, match="out of memory on a single row") as caught:
        list(run_batches([[0, 1]], never))
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_taken_for_memory():
    def broken(indices):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_batches([[0, 1]], broken))
    assert not is_out_of_memory(ValueError("out of memory"))
