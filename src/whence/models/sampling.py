"""Continuations whose randomness belongs to the row, whoever shares its batch.

A token is drawn from softmax(logits / T) by the Gumbel-max rule,

    token = argmax over v of  logits[v] / T + g[v],      g[v] = −log E[v],  E[v] ~ Exp(1)

with noise from a generator of the row's own, seeded by the row and run on the CPU. So a row draws
the same numbers alone and among others, on any device, today and after a kill. What is left is
arithmetic: two tokens that tie to within rounding may change places when the batch changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput

if TYPE_CHECKING:
    from torch import FloatTensor, LongTensor, Tensor

    from whence.models.load import Loaded


@dataclass(frozen=True)
class Draw:
    """How one row is continued. temperature 0: greedily, and `seed` does not matter."""

    temperature: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise BadInput(f"temperature {self.temperature}: expected 0 or a positive number")


GREEDY = Draw(temperature=0.0, seed=0)


class GumbelNoise:
    """Turns greedy decoding into sampling: a logits processor for a fixed batch of rows."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        import torch

        self._sampled = [row for row, draw in enumerate(draws) if draw.temperature > 0]
        self._temperatures = [draws[row].temperature for row in self._sampled]
        self._generators = [torch.Generator().manual_seed(draws[row].seed) for row in self._sampled]

    def __call__(self, input_ids: LongTensor, scores: FloatTensor) -> Tensor:
        """scores: logits, float32 [batch, vocabulary]. Returns the same, scaled and perturbed."""
        import torch

        if not self._sampled:
            return scores
        # Only the numbers are drawn here; their logarithms are cheaper where the model is. Double,
        # because the tails of float32 are too coarse for large vocabularies.
        drawn = torch.empty(len(self._sampled), scores.shape[1], dtype=torch.double)
        for row, generator in zip(drawn, self._generators, strict=True):
            row.uniform_(generator=generator)
        if scores.device.type != "mps":  # which knows no doubles
            drawn = drawn.to(scores.device)
        waits = -torch.log1p(-drawn)
        noise = -waits.clamp_min_(torch.finfo(waits.dtype).tiny).log_()
        scaled = scores.clone()
        temperatures = scores.new_tensor(self._temperatures)[:, None]
        noise = noise.float().to(scores.device)
        scaled[self._sampled] = scores[self._sampled] / temperatures + noise
        return scaled


def continuations(
    loaded: Loaded,
    rows: Sequence[Sequence[int]],
    draws: Sequence[Draw],
    *,
    max_new_tokens: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[list[int]]:
    """What the model writes behind each row of ids, as one batch: the new ids, a stop included.

    Rows are padded on the left under an attention mask. A row ends at EOS, at what else the model's
    generation settings end a turn with, or after `max_new_tokens`; all end early once `cancelled`.
    Sampling and penalties that those settings ask for are off.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    from whence.models.batching import attention_mask, pad

    # LoRA layers lie inside the base, so its own `generate` has whichever adapter is active.
    unwrap = getattr(loaded.model, "get_base_model", None)
    network: Any = unwrap() if unwrap else loaded.model
    stops = _stop_ids(loaded)
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=stops,
        pad_token_id=loaded.tokenizer.pad_token_id,
        use_cache=True,
    )
    ids = pad(rows, loaded.tokenizer.pad_token_id, side="left").to(loaded.device)
    mask = attention_mask(rows, side="left").to(loaded.device)

    def stopping(input_ids: LongTensor, _scores: Any, **_kwargs: Any) -> Tensor:
        done = torch.full((input_ids.shape[0],), cancelled(), dtype=torch.bool)
        return done.to(input_ids.device)

    with torch.inference_mode(), _generating_by(network, settings):
        written = network.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([GumbelNoise(draws)]),
            stopping_criteria=[stopping],
        )
    return [_until_stop(row, stops) for row in written[:, ids.shape[1] :].tolist()]


def _stop_ids(loaded: Loaded) -> list[int]:
    """The tokenizer's EOS, and what the model's own generation settings end a turn with."""
    own = loaded.model.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [] if own is None else [own]
    return sorted({loaded.tokenizer.eos_token_id, *listed})


def _until_stop(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    end = next((at + 1 for at, token in enumerate(ids) if token in stops), len(ids))
    return list(ids[:end])


@contextmanager
def _generating_by(network: Any, settings: Any) -> Iterator[None]:
    """Transformers fills what `settings` leave open from the model's own; here it has no others."""
    own = network.generation_config
    network.generation_config = settings
    try:
        yield
    finally:
        network.generation_config = own
