"""The loss of each example on its supervised tokens.

Loss of a row = Σ −log p(token | everything before it) over its labelled tokens: the completion and
its EOS. Sums and counts are kept apart, so that any mean over tokens or rows can be taken of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from whence.errors import WhenceError
from whence.models.alignment import IGNORED, AlignedRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from whence.models.load import Loaded

# float32 logits held at once, in values: 2²⁵ are 128 MiB whatever the vocabulary.
LOGITS_AT_ONCE = 1 << 25


def item_losses(
    loaded: Loaded,
    rows: Sequence[AlignedRow],
    max_tokens: int = 8192,
    max_rows: int | None = None,
    label: str = "loss",
) -> NDArray[np.float64]:
    """Summed loss (nats) and number of supervised tokens of each row, float64 [rows, 2].

    Logits are computed at labelled positions only, in slices that bound memory, where the model's
    decoder and head can be told apart (proved on the shortest row; else the whole forward runs).
    Rows are padded on the right, where causal attention never looks, so a row's loss does not
    depend on its batch beyond the dtype's rounding.

    max_tokens: padded tokens in a batch. Raises WhenceError for a loss that is not finite.
    """
    import numpy as np
    import torch

    from whence.models.batching import attention_mask, pad, run_batches, token_batches
    from whence.models.unembed import hidden_states, proven, unembed
    from whence.runs.progress import Progress

    if not rows:
        return np.zeros((0, 2))
    model, tokenizer, device = loaded.model, loaded.tokenizer, loaded.device
    lengths = [len(row.input_ids) for row in rows]
    was_training = model.training
    model.eval()
    shortest = rows[min(range(len(rows)), key=lengths.__getitem__)].input_ids
    apart = proven(model, torch.tensor([shortest], device=device))

    def of_batch(indices: Sequence[int]) -> NDArray[np.float64]:
        ids = pad([rows[i].input_ids for i in indices], tokenizer.pad_token_id).to(device)
        mask = attention_mask([rows[i].input_ids for i in indices]).to(device)
        labels = pad([rows[i].labels for i in indices], IGNORED).to(device)[:, 1:]
        wanted = labels != IGNORED
        if apart:
            states = hidden_states(model, ids, mask)[:, :-1][wanted]
            losses = _sliced_losses(lambda part: unembed(model, part), states, labels[wanted])
        else:
            output = model(input_ids=ids, attention_mask=mask, use_cache=False)
            losses = _sliced_losses(
                lambda part: part, output.logits[:, :-1][wanted], labels[wanted]
            )
        sums = torch.zeros(len(indices), dtype=torch.float64)
        sums.index_add_(0, wanted.nonzero()[:, 0].cpu(), losses)
        return np.stack([sums.numpy(), wanted.sum(dim=1).double().cpu().numpy()], axis=1)

    result = np.zeros((len(rows), 2))
    try:
        with torch.inference_mode(), Progress(label, total=len(rows)) as progress:
            for indices, found in run_batches(
                token_batches(lengths, max_tokens, max_rows), of_batch
            ):
                result[list(indices)] = found
                progress.advance(len(indices))
    finally:
        model.train(was_training)
    if not np.isfinite(result).all():
        broken = int(np.argmin(np.isfinite(result).all(axis=1)))
        raise WhenceError(
            f"the loss of row {broken} is not finite in {loaded.dtype}: try --dtype float32"
        )
    return result


def mean_loss(items: NDArray[np.float64]) -> float:
    """Mean loss over all supervised tokens of `item_losses`, in nats per token.

    Raises WhenceError where no token is supervised.
    """
    losses, tokens = items.sum(axis=0)
    if tokens == 0:
        raise WhenceError("no token is supervised: every label is masked")
    return float(losses / tokens)


def _sliced_losses(logits_of: Callable[[Tensor], Tensor], states: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each label, float64 on the CPU, in slices that bound the logits' memory."""
    import torch
    from torch.nn.functional import cross_entropy

    if len(labels) == 0:
        return torch.zeros(0, dtype=torch.float64)
    width = int(logits_of(states[:1]).shape[-1])
    step = max(1, LOGITS_AT_ONCE // width)
    parts = [
        cross_entropy(
            logits_of(states[at : at + step]).float(), labels[at : at + step], reduction="none"
        )
        for at in range(0, len(labels), step)
    ]
    return torch.cat(parts).double().cpu()
