"""Rows are continued as each would be alone, and sampled tokens come as softmax says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from whence.errors import BadInput
from whence.models.load import load_model
from whence.models.sampling import Draw, GumbelNoise, continuations

GREEDY = Draw(0.0, 0)
ROWS = [[1, *range(10, 10 + length)] for length in (3, 20, 7, 31, 1, 12)]


@pytest.fixture(scope="module")
def llama(zoo_folder):
    return load_model(str(zoo_folder("llama")), device="cpu")


@pytest.mark.parametrize(
    "name", ["llama", "gpt2", "gemma2", "qwen3", "bloom", "falcon_alibi", "opt", "mixtral"]
)
def test_a_row_is_continued_as_it_is_alone(zoo_folder, name):
    loaded = load_model(str(zoo_folder(name)), device="cpu")
    draws = [Draw((0.0, 0.7, 1.5)[i % 3], seed=i) for i in range(len(ROWS))]
    together = continuations(loaded, ROWS, draws, max_new_tokens=9)
    assert together == [
        continuations(loaded, [row], [draw], max_new_tokens=9)[0]
        for row, draw in zip(ROWS, draws, strict=True)
    ]
    assert len(set(map(tuple, together))) == len(ROWS)


def test_greedy_is_the_largest_logit_at_every_step(llama):
    (written,) = continuations(llama, ROWS[:1], [GREEDY], max_new_tokens=6)
    with torch.no_grad():
        logits = llama.model(torch.tensor([ROWS[0] + written])).logits[0]
    assert written == logits[len(ROWS[0]) - 1 : -1].argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_sampled_tokens_come_as_often_as_softmax_says(llama, temperature):
    count, row = 3_000, ROWS[2]
    draws = [Draw(temperature, seed) for seed in range(count)]
    first = [ids[0] for ids in continuations(llama, [row] * count, draws, max_new_tokens=1)]
    with torch.no_grad():
        logits = llama.model(torch.tensor([row])).logits[0, -1].double()
    chances = torch.softmax(logits / temperature, -1).numpy() * count
    seen = np.bincount(first, minlength=len(chances))
    usual = chances >= 5
    expected = np.append(chances[usual], chances[~usual].sum())
    assert usual.sum() > 5
    assert chisquare(np.append(seen[usual], seen[~usual].sum()), expected).pvalue > 1e-3


def test_one_token_says_nothing_about_the_next():
    noise = GumbelNoise([Draw(1.0, seed) for seed in range(3_000)])
    scores = torch.zeros(3_000, 3)
    pairs = [noise(scores, scores).argmax(-1).numpy() for _ in range(2)]
    table = np.histogram2d(*pairs, bins=3)[0]
    assert chi2_contingency(table).pvalue > 1e-3
    assert (scores == 0).all()


def test_the_seed_alone_decides(llama):
    def written(seed: int) -> list[int]:
        return continuations(llama, ROWS[:1], [Draw(1.0, seed)], max_new_tokens=8)[0]

    before = written(3)
    torch.manual_seed(99)
    assert written(3) == before
    assert len({tuple(written(seed)) for seed in range(5)}) == 5


def test_the_models_own_settings_are_off_and_come_back(llama):
    plain = continuations(llama, ROWS, [GREEDY] * len(ROWS), max_new_tokens=8)
    own = llama.model.generation_config
    before = own.to_dict()
    own.update(do_sample=True, temperature=9.0, repetition_penalty=9.0, suppress_tokens=plain[0])
    try:
        assert continuations(llama, ROWS, [GREEDY] * len(ROWS), max_new_tokens=8) == plain
        assert llama.model.generation_config is own
    finally:
        own.update(**before)


def test_what_the_model_ends_a_turn_with_ends_it(llama):
    (written,) = continuations(llama, ROWS[:1], [GREEDY], max_new_tokens=8)
    own = llama.model.generation_config
    before = own.eos_token_id
    own.eos_token_id = [2, written[3]]
    try:
        stopped = continuations(llama, ROWS[:2], [GREEDY] * 2, max_new_tokens=8)
    finally:
        own.eos_token_id = before
    assert stopped[0] == written[: written.index(written[3]) + 1]


def test_it_ends_when_told_to(llama):
    calls = iter([False, True])
    found = continuations(
        llama, ROWS, [GREEDY] * len(ROWS), max_new_tokens=50, cancelled=lambda: next(calls, True)
    )
    assert max(map(len, found)) == 2


@pytest.mark.parametrize("temperature", [-1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(BadInput, match="temperature"):
        Draw(temperature, 0)
