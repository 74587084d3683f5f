"""From final hidden states to what is kept of each example (DESIGN §6).

At the last real token of the prompt, in float32, c the baseline run and a the intervened one:

    logit_diff = a[target] − a[foil]        p_target = softmax(a)[target]
    kl_div     = KL(c ‖ a) in nats          predicted = argmax a

and over the tokens of a longer target, given the tokens before each: seq_logprob = Σ log p and
seq_kl_mean, the mean of KL(c ‖ a).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.models.unembed import unembed

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from whence.heads.groups import Group
    from whence.models.anatomy import Anatomy

Readings = Mapping[str, "np.ndarray"]
"""Name → [intervention, example]. The baseline has one intervention."""

FIRST_TOKEN = ("logit_diff", "p_target", "kl_div", "predicted")
FULL_TARGET = ("seq_logprob", "seq_kl_mean")


def log_probabilities(anatomy: Anatomy, final: Tensor, where: str) -> tuple[Tensor, Tensor]:
    """Logits and log-probabilities, float32 [..., vocab], of what leaves the last block.

    final: [..., d_model] before the final norm. Raises BadInput, naming `where`, for logits that
    are not numbers (a half-precision overflow, or weights that hold NaN).
    """
    import torch

    logits = unembed(anatomy.model, anatomy.final_norm(final)).float()
    log_p = torch.log_softmax(logits, dim=-1)
    if bool(torch.isnan(log_p).any()):
        raise BadInput(
            f"{where}: the logits are not finite; half precision overflows in some models: use "
            "--dtype float32 or bfloat16, and check the weights with `whence doctor --model`"
        )
    return logits, log_p


def read(
    logits: Tensor, log_p: Tensor, group: Group, clean_log_p: Tensor, *, full_target: bool
) -> dict[str, Tensor]:
    """What is kept of each example, float64 [sets, examples of the group] on the CPU.

    logits, log_p: [sets, units, reads, vocab]; log_p is overwritten. clean_log_p: [units, reads,
    vocab].
    """
    rows = group.row
    first = logits[:, :, 0]
    target = first[:, rows, group.target[:, 0]]
    kept = {
        "logit_diff": target - first[:, rows, group.foil],
        "p_target": log_p[:, :, 0][:, rows, group.target[:, 0]].exp(),
        "predicted": first.argmax(dim=-1)[:, rows],
    }
    if full_target:
        steps = range(group.target.shape[1])
        of_steps = [log_p[:, :, step][:, rows, group.target[:, step]].double() for step in steps]
        kept["seq_logprob"] = sum(of_steps[1:], of_steps[0])
    divergence = _divergence(clean_log_p, log_p)
    kept["kl_div"] = divergence[:, :, 0][:, rows]
    if full_target:
        kept["seq_kl_mean"] = divergence.double().mean(dim=-1)[:, rows]
    return {name: value.double().cpu() for name, value in kept.items()}


def _divergence(clean: Tensor, intervened: Tensor) -> Tensor:
    """KL(c ‖ a) over the last axis, clean [units, reads, vocab] → [sets, units, reads]; ≥ 0.

    Term by term, so that equal distributions give exactly 0; done in place of `intervened`.
    """
    import torch

    difference = torch.sub(clean, intervened, out=intervened)
    # Where the clean run gives no probability at all, 0 · log 0 counts as 0.
    terms = difference.mul_(clean.exp())
    return terms.nan_to_num_(nan=0.0).sum(dim=-1).clamp_(min=0)
