"""W_V and W_O of every query head, read off by running the model's own modules.

How an architecture packs queries, keys and values into its matrices need not be known. For a prompt
of one token the attention pattern is 1, so that for what attention reads, x [d_model],

    hook_z[head] = x @ W_V[head] + b_V[head]
    what attention gives = Σ_head hook_z[head] @ W_O[head] + b_O

and the rows of W_V are what the unit vectors give. Grouped-query heads come out as query heads, and
a LoRA adapter as part of the matrices. What is not linear is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.trace import first_tensor, given
from whence.models.unembed import NOISE

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from whence.models.anatomy import Anatomy
    from whence.models.replay import Replay

ROWS = 512
"""Unit vectors in a batch."""

# A power of two, so that scaling is exact: next to rows this long, a bias that is added in half
# precision rounds away little of the weight.
_LENGTH = 64.0


@dataclass(frozen=True)
class HeadWeights:
    """Of one layer, float32: w_v [head, d_model, d_head], b_v [head, d_head],
    w_o [head, d_head, d_model], b_o [d_model].
    """

    w_v: Tensor
    b_v: Tensor
    w_o: Tensor
    b_o: Tensor


def head_weights(replay: Replay, layer: int) -> HeadWeights:
    """What the heads of a layer read from the residual stream (after its norm), and write to it.

    Costs d_model one-token rows through the attention of that layer; no other block runs.

    Raises BadInput where the values are no linear function of what attention reads (a norm on the
    values, attention sinks): there is then no W_V.
    """
    anatomy = replay.anatomy
    heads, d_head = anatomy.n_heads, anatomy.d_head
    what = f"{type(anatomy.model).__name__}, layer {layer}"
    w_v, b_v = linear_map(_values(replay, layer), anatomy.d_model, anatomy, f"{what}: its values")
    w_o, b_o = linear_map(
        anatomy.blocks[layer].out_proj, heads * d_head, anatomy, f"{what}: its output projection"
    )
    return HeadWeights(
        w_v=w_v.unflatten(-1, (heads, d_head)).transpose(0, 1).contiguous(),
        b_v=b_v.unflatten(-1, (heads, d_head)),
        w_o=w_o.unflatten(0, (heads, d_head)),
        b_o=b_o,
    )


def linear_map(
    function: Callable[[Tensor], Tensor], width: int, anatomy: Anatomy, what: str
) -> tuple[Tensor, Tensor]:
    """Matrix [width, out] and bias [out], float32, of `function`: [rows, width] → [rows, out].

    Raises BadInput, naming `what`, unless x @ matrix + bias is what it gives for random x and 2x.
    """
    import torch

    place = anatomy.embed.weight
    with torch.inference_mode():
        bias = function(torch.zeros(1, width, dtype=place.dtype, device=place.device)).float()
        parts = []
        for start in range(0, width, ROWS):
            rows = torch.zeros(min(ROWS, width - start), width, dtype=place.dtype)
            rows[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = _LENGTH
            parts.append((function(rows.to(place.device)).float() - bias) / _LENGTH)
        matrix = torch.cat(parts)
        draws = torch.randn(4, width, generator=torch.Generator().manual_seed(0))
        draws = torch.cat([draws, 2 * draws]).to(place)
        given_back, expected = function(draws).float(), draws.float() @ matrix + bias
    noise = NOISE.get(str(place.dtype).removeprefix("torch."), 1e-4)
    # `not <=`, so that NaN counts as different
    if not bool((given_back - expected).abs().max() <= noise * given_back.abs().max()):
        raise BadInput(
            f"{what} are not a linear function of what it reads, so that it has no W_V W_O of its "
            "own (a norm on the values, or attention to more than tokens)"
        )
    return matrix.clone(), bias[0].clone()


class _ReadError(Exception):
    """The heads have been read."""


def _values(replay: Replay, layer: int) -> Callable[[Tensor], Tensor]:
    """hook_z [rows, head × d_head] of prompts of one token, as attention reads them."""
    import torch

    block = replay.anatomy.blocks[layer]

    def run(rows: Tensor) -> Tensor:
        one_token = rows[:, None]
        with (
            _reading_instead(block.attention, block.out_proj, one_token) as seen,
            suppress(_ReadError),
        ):
            replay.blocks(torch.zeros_like(one_token), layer, layer + 1)
        return seen[0].reshape(len(rows), -1)

    return run


@contextmanager
def _reading_instead(attention: Module, out_proj: Module, rows: Tensor) -> Iterator[list[Tensor]]:
    """Let `attention` read `rows`; keep what `out_proj` is given, and stop there."""
    seen: list[Tensor] = []

    def replace(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if first_tensor(args) is not None:
            return (rows, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": rows}

    def stop(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(given(args, kwargs).clone())
        raise _ReadError

    handles = [
        attention.register_forward_pre_hook(replace, with_kwargs=True),
        out_proj.register_forward_pre_hook(stop, with_kwargs=True),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
