"""What a head adds to the logits at the last token: directly, and through the norms on the way.

At the last real token of prompt i, in float32,

    o_i = z_i @ W_O [d_model]       the head's OV output, before any norm that follows attention
    direct = mean_i(o_i) @ W_U      logits, norms left out
    normed = N(A(mean_i(o_i))) @ W_U

where N is the final norm with its scale held at what it is for the mean of the prompts' final
residual streams, and A the norm after attention (Gemma 2 and 3, OLMo 2; nothing elsewhere) held
likewise at the mean of what attention gives. A bias of a norm or of the unembedding belongs to no
head and is left out; so are a scale and a cap that the model puts on its logits afterwards. Where
the norms are RMSNorms and nothing follows attention, direct and normed differ by the norm's weights
and one positive factor.

Direct logit attribution, the field's name for it, takes each prompt by itself:

    direct_logit_diff_i = N_i(A_i(o_i)) · (W_U[target] − W_U[foil])

with N_i and A_i held at prompt i's own values. Over all heads, MLPs, biases and the embedding, it
adds up to the logit difference exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.heads.ov.circuit import project
from whence.heads.ov.frozen_norm import FrozenNorm, freeze_norm

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.nn import Module

    from whence.heads.ov.reads import LastTokens
    from whence.heads.prompts import Example
    from whence.models.anatomy import Anatomy
    from whence.models.value_weights import HeadWeights


@dataclass(frozen=True)
class HeadOutput:
    """Of one head. mean [d_model]: mean OV output; mean_length: mean length of the prompts' own.

    direct, normed [vocab]: its logits, as the head of this file says. logit_diff [example]: direct
    logit attribution; None where a block does not simply add what its attention gives.
    """

    mean: Tensor
    mean_length: float
    direct: Tensor
    normed: Tensor
    logit_diff: np.ndarray | None


class Outputs:
    """The head outputs of one layer at the last tokens, with the norms after them held fixed."""

    def __init__(
        self, anatomy: Anatomy, layer: int, weights: HeadWeights, last: LastTokens
    ) -> None:
        self.anatomy, self.last = anatomy, last
        self.z, self.w_o = last.z[layer], weights.w_o.cpu()
        block = anatomy.blocks[layer]
        given = self.z.flatten(1) @ self.w_o.flatten(0, 1) + weights.b_o.cpu()
        self.adds = block.attn_out is not None
        after = norm_after_attention(anatomy, layer)
        self.own = [_held(anatomy.final_norm, last.final)]
        self.of_mean = [_held(anatomy.final_norm, last.final.mean(0, keepdim=True))]
        if after is not None:
            self.own.insert(0, _held(after, given))
            self.of_mean.insert(0, _held(after, given.mean(0, keepdim=True)))

    def head(self, head: int, examples: Sequence[Example]) -> HeadOutput:
        """One head's output, and its attribution for each example."""
        import torch

        each = self.z[:, head] @ self.w_o[head]
        mean = each.mean(0)
        reached = mean[None]
        for norm in self.of_mean:
            reached = norm(reached)
        unembedding = self.anatomy.unembedding.weight
        direct, normed = project(torch.cat([mean[None], reached]), unembedding)
        return HeadOutput(
            mean=mean,
            mean_length=float(each.norm(dim=-1).mean()),
            direct=direct,
            normed=normed,
            logit_diff=self._logit_diff(each, examples) if self.adds else None,
        )

    def _logit_diff(self, each: Tensor, examples: Sequence[Example]) -> np.ndarray:
        import torch

        for norm in self.own:
            each = norm(each)
        rows = {prompt: row for row, prompt in enumerate(self.last.prompts)}
        at = torch.tensor([rows[example.clean] for example in examples])
        weight = self.anatomy.unembedding.weight.detach()
        ids = torch.tensor([(e.target[0], e.foil[0]) for e in examples], device=weight.device)
        answers = weight[ids].float().cpu()
        differences: np.ndarray = (each[at] * (answers[:, 0] - answers[:, 1])).sum(-1).numpy()
        return differences


def norm_after_attention(anatomy: Anatomy, layer: int) -> Module | None:
    """The norm between attention and the residual stream of a block, None where there is none."""
    import torch

    block = anatomy.blocks[layer]
    if block.attn_out in (None, block.attention, block.out_proj):
        return None
    # GPT-NeoX has a dropout there, which does nothing outside training.
    passes = isinstance(block.attn_out, torch.nn.Dropout | torch.nn.Identity)
    return None if passes else block.attn_out


def _held(norm: Module, at: Tensor) -> FrozenNorm:
    device = next((parameter.device for parameter in norm.parameters()), at.device)
    frozen = freeze_norm(norm, at.to(device))
    return FrozenNorm(frozen.gain.cpu(), frozen.centred)
