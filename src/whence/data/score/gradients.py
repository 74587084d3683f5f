"""One forward and backward pass per batch, with Bergson's collectors listening at the LoRA weights.

Bergson forms each row's gradient in hooks on the adapter's linear layers. Only the gradients of
activations have to flow past them, so no weight needs one: Bergson's own loop lets them start at
the embedding matrix and so pays for the gradient of a [vocabulary, width] matrix in every batch,
through the LM head too where the two are tied. Here they start at the embedding's *output*, and
logits are computed only at positions that predict a labelled token.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from whence.data.score.logs import logs_left_alone
from whence.data.score.tokens import TokenRows
from whence.errors import BadInput
from whence.models.alignment import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.load import Loaded


@contextmanager
def ready_for_gradients(loaded: Loaded) -> Iterator[set[str]]:
    """Let gradients reach the adapter's layers; yields their names below `model.base_model`.

    The model is in evaluation mode meanwhile and is left as it was found. Raises BadInput where the
    adapter has no linear LoRA layer.
    """
    with logs_left_alone():
        from bergson.gradients import LayerAdapter
        from bergson.utils.worker_utils import extract_peft_target_modules

    model: Any = loaded.model
    # Prints each adapter weight that is no module of its own (DoRA magnitudes, saved heads).
    with contextlib.redirect_stdout(io.StringIO()):
        names = extract_peft_target_modules(model)
    modules = dict(model.base_model.named_modules())
    targets = {n for n in names if isinstance(modules[n], LayerAdapter.supported_modules)}
    if not targets:
        raise BadInput(f"{loaded.adapter}: the adapter has no linear LoRA layer to attribute to")
    wanted = {name: weight.requires_grad for name, weight in model.named_parameters()}
    training = model.training
    model.eval().requires_grad_(False)
    # Bergson stores gradients in the type of a weight that requires one: let it be a small one of
    # those attributed to.
    modules[min(targets)].weight.requires_grad_(True)
    hook = model.get_input_embeddings().register_forward_hook(
        lambda _module, _inputs, output: output.requires_grad_(True)
    )
    try:
        yield targets
    finally:
        hook.remove()
        model.train(training).zero_grad()
        for name, weight in model.named_parameters():
            weight.requires_grad_(wanted[name])


def collect(
    loaded: Loaded,
    collector: Any,
    rows: TokenRows,
    batches: Sequence[Sequence[int]],
    reduction: Literal["mean", "sum"],
    advance: Callable[[int], None],
) -> None:
    """Run every batch of `rows` through the model with `collector`, a Bergson collector, hooked in.

    The collector is told each row's mean loss per labelled token, whatever the reduction that its
    gradients come from. `advance` hears the number of rows done. Call within `ready_for_gradients`.
    Raises BadInput where the adapter has layers at which rows cannot be told apart.
    """
    import torch

    with _refusing_flattened_inputs(loaded), collector:
        for batch in batches:
            ids, labels, mask = (part.to(loaded.device) for part in rows.padded(batch))
            # Every real position but a row's last carries gradient.
            collector.with_batch(torch.nn.functional.pad(mask[:, 1:], (0, 1)).bool())
            losses, tokens = _summed_losses(loaded.model, ids, labels, mask)
            means = losses / tokens
            (means if reduction == "mean" else losses).sum().backward()
            loaded.model.zero_grad()
            collector.process_batch(list(batch), losses=means.detach())
            advance(len(batch))


@contextmanager
def _refusing_flattened_inputs(loaded: Loaded) -> Iterator[None]:
    """Turn Bergson's assertion about a layer's input (OPT flattens its batches) into one line."""
    try:
        yield
    except AssertionError as error:
        if "[N, S, I]" not in str(error):
            raise
        raise BadInput(
            f"{loaded.adapter}: a layer of {loaded.source} is given all rows of a batch as one, so "
            "rows have no gradients of their own there; train the adapter on other target modules, "
            "such as the attention's"
        ) from error


def _summed_losses(model: Any, ids: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's cross entropy summed over its labelled tokens, and their number: [rows] both."""
    import torch

    targets = labels[:, 1:]
    # Positions at which some row of the batch predicts a labelled token.
    positions = (targets != IGNORED).any(dim=0).nonzero()[:, 0]
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if "logits_to_keep" in inspect.signature(model.get_base_model().forward).parameters:
        logits = model(**inputs, logits_to_keep=positions).logits
    else:
        logits = model(**inputs).logits[:, positions]
    targets = targets[:, positions]
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED
    )
    return losses.view_as(targets).sum(dim=1), (targets != IGNORED).sum(dim=1)
