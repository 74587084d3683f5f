"""Numeric proofs that a loaded model means what Whence takes it to mean.

One prompt has one answer: its next-token logits may depend on its dtype and on nothing else that a
batch brings along. What is measured here, for next-token logits [vocabulary] at the last real
token:

    floor = the largest |Δ| that arithmetic alone makes: every embedding moved by one unit in the
            last place and, in half precision, the same weights widened to float32
    batch = the largest |Δ| between a prompt alone and the same prompt in a batch: of copies and of
            other prompts in another order, padded on the right, padded on the left

A batch is neutral when its |Δ| stays within `TOLERANCE` floors.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.models.batching import (
    Side,
    attention_mask,
    is_out_of_memory,
    last_real_token,
    pad,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from whence.models.load import Loaded

TOLERANCE = 8.0
"""Floors that a batch may move a logit. Seventeen architectures with random weights stay below 1.4
on a CPU, in float32 and bfloat16; wrong positions move GPT-2 by 58 floors in bfloat16 and by a
million in float32. What lies between is room for the kernels of other devices.
"""

PROMPTS = (
    "Yes",
    "The capital of France is",
    "Two plus two is four. Three plus three is six. Four plus four is",
    "A fox came to the river every morning. It drank, looked at the other side, and went home. "
    "One day there was a bridge, and the fox",
)
_LONGEST = 64  # tokens: enough to pad against, little enough for a vocabulary of 262,000


@dataclass(frozen=True)
class TokenizerBehaviour:
    """What a tokenizer does unasked. Ids are None where it has no such token."""

    vocabulary: int
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    adds_bos: bool
    adds_eos: bool
    padding_side: str
    pads_with_eos: bool
    has_chat_template: bool


@dataclass(frozen=True)
class Floor:
    """Largest |Δ logit| where nothing but arithmetic changed.

    last_place: embeddings moved by one unit in the last place. widened: against float32 weights;
    None in float32 itself, and where the widened model did not fit in memory.
    """

    last_place: float
    widened: float | None

    @property
    def value(self) -> float:
        return _maximum([self.last_place, self.widened or 0.0])

    def covers(self, moved: float) -> bool:
        """Whether a |Δ logit| is within what arithmetic explains. NaN never is."""
        return moved <= TOLERANCE * self.value


@dataclass(frozen=True)
class BatchEffect:
    """Largest |Δ logit| of a prompt in a batch against the same prompt alone.

    unpadded: among copies of itself and among others of its length, in two orders. right, left:
    padded on that side, with position ids counted from the attention mask as generation does.
    left_unplaced: without position ids, None where the model takes none.
    """

    unpadded: float
    right: float
    left: float
    left_unplaced: float | None


@dataclass(frozen=True)
class Weights:
    """Parameters of the model, those not finite by name, and its linear layers by last name."""

    parameters: int
    not_finite: tuple[str, ...]
    linear_layers: dict[str, int]


def tokenizer_behaviour(tokenizer: PreTrainedTokenizerBase) -> TokenizerBehaviour:
    """Read off one encoded sentence what the tokenizer adds at its ends."""
    ids = list(tokenizer(PROMPTS[1])["input_ids"])
    pad_id, eos_id, bos_id = (
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
        tokenizer.bos_token_id,
    )
    return TokenizerBehaviour(
        vocabulary=len(tokenizer),
        bos_id=bos_id,
        eos_id=eos_id,
        pad_id=pad_id,
        adds_bos=bool(ids) and bos_id is not None and ids[0] == bos_id,
        adds_eos=bool(ids) and eos_id is not None and ids[-1] == eos_id,
        padding_side=tokenizer.padding_side,
        pads_with_eos=pad_id is not None and pad_id == eos_id,
        has_chat_template=bool(getattr(tokenizer, "chat_template", None)),
    )


def prompt_ids(tokenizer: PreTrainedTokenizerBase, context: int | None) -> list[list[int]]:
    """Ids of four prompts of unequal length, cut to the context, without a trailing EOS.

    A prompt of which the tokenizer makes nothing is left out.
    """
    rows = []
    for prompt in PROMPTS:
        ids = list(tokenizer(prompt)["input_ids"])
        if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids = ids[:-1]
        rows.append(ids[: min(_LONGEST, context or _LONGEST)])
    return [row for row in rows if row]


def context_length(config: Any) -> int | None:
    """Longest sequence the model has positions for; None where nothing bounds it (ALiBi)."""
    text = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        length = getattr(text, name, None)
        if isinstance(length, int):
            return length
    return None


def weights(model: Any) -> Weights:
    """Count parameters, name those that hold NaN or infinity, and find where LoRA can attach."""
    import torch
    from transformers.pytorch_utils import Conv1D

    named = dict(model.named_parameters())
    unembedding = model.get_output_embeddings()
    layers = Counter(
        name.rpartition(".")[2]
        for name, module in _under_adapters(model)
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not unembedding
    )
    return Weights(
        parameters=sum(p.numel() for p in named.values()),
        not_finite=tuple(n for n, p in named.items() if not bool(torch.isfinite(p).all())),
        linear_layers=dict(layers),
    )


def _under_adapters(model: Any) -> Iterator[tuple[str, Any]]:
    """Modules by name, as they are called without a LoRA adapter around them."""
    for name, module in model.named_modules():
        if ".lora_" not in name:
            yield name.removesuffix(".base_layer"), module


def next_token_logits(
    loaded: Loaded, rows: Sequence[Sequence[int]], side: Side = "right", *, place: bool = True
) -> Tensor:
    """Logits after each row's last real token, the rows padded into one batch.

    place: give position ids counted from the attention mask to a model that takes them.
    Returns float32 [rows, vocabulary] on the CPU.
    """
    import torch

    mask = attention_mask(rows, side)
    given: dict[str, Tensor] = {
        "input_ids": pad(rows, loaded.tokenizer.pad_token_id, side),
        "attention_mask": mask,
    }
    if place and takes(loaded.model, "position_ids"):
        given["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = loaded.model(**{k: v.to(loaded.device) for k, v in given.items()}).logits
    at = last_real_token(mask).to(logits.device)
    return logits[torch.arange(len(rows), device=logits.device), at].float().cpu()


def takes(model: Any, argument: str) -> bool:
    """Whether the model's forward pass, under an adapter or not, has an argument of this name."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return argument in inspect.signature(inner.forward).parameters


def batch_effect(loaded: Loaded, rows: Sequence[Sequence[int]]) -> BatchEffect:
    """Put rows of unequal length into batches, and compare each with itself alone."""
    alone = _alone(loaded, rows)
    unplaced = None
    if takes(loaded.model, "position_ids"):
        unplaced = _largest(next_token_logits(loaded, rows, "left", place=False), alone)
    return BatchEffect(
        unpadded=_unpadded(loaded, rows),
        right=_largest(next_token_logits(loaded, rows, "right"), alone),
        left=_largest(next_token_logits(loaded, rows, "left"), alone),
        left_unplaced=unplaced,
    )


def _unpadded(loaded: Loaded, rows: Sequence[Sequence[int]]) -> float:
    length = min(map(len, rows))
    equal = [list(row[:length]) for row in rows]
    alone = _alone(loaded, equal)
    moved = [
        _largest(next_token_logits(loaded, equal), alone),
        _largest(next_token_logits(loaded, equal[::-1]).flip(0), alone),
    ]
    longest = max(rows, key=len)
    single = _alone(loaded, [longest])
    for copies in (1, 2, 4, 8):
        moved.append(_largest(next_token_logits(loaded, [longest] * copies), single))
    return _maximum(moved)


def noise_floor(loaded: Loaded, rows: Sequence[Sequence[int]]) -> Floor:
    """Measure how far logits move when only the arithmetic does. Restores the model exactly."""
    import torch

    return Floor(
        last_place=_last_place(loaded, rows),
        widened=None if loaded.dtype == torch.float32 else _widened(loaded, rows),
    )


def _last_place(loaded: Loaded, rows: Sequence[Sequence[int]], draws: int = 3) -> float:
    """Largest |Δ logit| when every embedding moves by one unit in the last place, up or down."""
    import torch

    generator = torch.Generator().manual_seed(0)
    step = torch.finfo(loaded.dtype).eps

    def nudge(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        signs = torch.randint(0, 2, embedded.shape, generator=generator) * 2 - 1
        return embedded * (1 + step * signs.to(embedded))

    before = _alone(loaded, rows)
    handle = loaded.model.get_input_embeddings().register_forward_hook(nudge)
    try:
        return _maximum([_largest(_alone(loaded, rows), before) for _ in range(draws)])
    finally:
        handle.remove()


def _widened(loaded: Loaded, rows: Sequence[Sequence[int]]) -> float | None:
    """Largest |Δ logit| against the same weights computed in float32."""
    narrow = _alone(loaded, rows)
    try:
        with _in_float32(loaded.model):
            wide = _alone(loaded, rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return _largest(narrow, wide)


@contextmanager
def _in_float32(model: Any) -> Iterator[None]:
    """Widen the parameters while the block runs. Narrowing them again gives the very same bits.

    Buffers stay: those that matter (rotary frequencies) are in float32 already.
    """
    import torch

    narrow = [(p, p.data) for p in model.parameters() if p.dtype in (torch.bfloat16, torch.float16)]
    try:
        for parameter, data in narrow:
            parameter.data = data.float()
        yield
    finally:
        for parameter, data in narrow:
            parameter.data = data


def _alone(loaded: Loaded, rows: Sequence[Sequence[int]]) -> Tensor:
    import torch

    return torch.cat([next_token_logits(loaded, [row]) for row in rows])


def _largest(a: Tensor, b: Tensor) -> float:
    """Largest |a − b|; NaN where either holds one, so that nothing broken passes for equal."""
    return float((a - b).abs().max())


def _maximum(values: Sequence[float]) -> float:
    """The largest, and NaN when there is one (Python's `max` may lose it)."""
    return math.nan if any(map(math.isnan, values)) else max(values)
