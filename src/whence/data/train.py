"""One adapter trained around a shared base: settings, the training itself, what it saw.

`whence data finetune` calls this once; an experiment calls it for every arm and seed on one load of
the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from whence.data.evaluate.item_loss import item_losses, mean_loss
from whence.errors import BadInput, WhenceError
from whence.models.alignment import AlignedRow
from whence.runs.config import Config

if TYPE_CHECKING:
    from whence.data.sft import Fit
    from whence.models.load import Loaded

EVAL_TOKENS = 8192
CHECKPOINT_SECONDS = 120.0


class LoraSettings(Config):
    """Low-rank adapter (Hu et al. 2021): W + (alpha / r) · B A, B starting at zero."""

    lora_r: int = Field(default=16, ge=1, description="Rank of the adapter.")
    lora_alpha: float = Field(
        default=32, gt=0, description="Scale of the adapter; its update is multiplied by alpha / r."
    )
    lora_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Dropout on the adapter's input. Off, so that the gradients that are "
        "attributed are those that trained.",
    )
    target_modules: tuple[str, ...] = Field(
        default=("all-linear",),
        min_length=1,
        description="Names of modules to adapt; all-linear is every projection of attention and "
        "MLP, in any architecture, and never the output head.",
    )


class OptimSettings(Config):
    """AdamW and its schedule."""

    learning_rate: float = Field(default=2e-4, gt=0, description="Largest learning rate.")
    num_train_epochs: float = Field(default=1.0, gt=0, description="Passes over the rows.")
    max_steps: int | None = Field(
        default=None, ge=1, description="Optimizer steps; replaces --num-train-epochs."
    )
    per_device_train_batch_size: int = Field(default=4, ge=1, description="Rows in a batch.")
    gradient_accumulation_steps: int = Field(
        default=4, ge=1, description="Batches in an optimizer step."
    )
    warmup_ratio: float = Field(
        default=0.03, ge=0, lt=1, description="Share of the steps in which the rate grows."
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"
    ] = Field(default="cosine", description="How the learning rate falls after the warm-up.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay.")
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="Gradients are scaled down to this norm; 0 never."
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute activations in the backward pass: less memory, slower.",
    )


@dataclass(frozen=True)
class TrainMetrics:
    """What a training run did and saw, as in `train_metrics.json`.

    loss_curve: one entry an optimizer step. eval_loss_*: nats per supervised token, None without an
    eval split. supervised_tokens: of all rows, by their labels; supervised_tokens_first_batch: by
    what reached the model. rows: given; rows_trained: after the trainer's own filtering.
    tokens_per_second: real (unpadded) tokens, forward and backward. resumed_at_step: where an
    interrupted run went on (0: never); seconds and tokens_per_second are then of the last attempt.
    """

    steps: int
    rows: int
    rows_trained: int
    truncated_rows: int
    supervised_tokens: int
    supervised_tokens_first_batch: int | None
    train_loss: float
    eval_loss_before: float | None
    eval_loss_after: float | None
    eval_rows: int
    trainable_parameters: int
    target_modules: list[str]
    pad_token_id: int
    bos_token_id: int | None
    eos_token_id: int
    resumed_at_step: int
    seconds: float
    tokens_per_second: float
    loss_curve: list[dict[str, float]]


def train_adapter(
    base: Loaded,
    rows: Sequence[AlignedRow],
    eval_rows: Sequence[AlignedRow] | None = None,
    *,
    lora: LoraSettings,
    optim: OptimSettings,
    seed: int,
    output: Path,
    resume_adapter: Path | None = None,
    checkpoints: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    label: str = "finetune",
) -> TrainMetrics:
    """Train a LoRA adapter around a loaded base and save it into `output`.

    The base is shared, not copied: afterwards it is the plain model it was, weights bit for bit.
    The same rows, settings and seed give the same adapter. checkpoints: folder to save progress in
    and to continue from; None, for short runs, saves nothing.

    Raises BadInput for an adapter of another base or modules the model does not have, WhenceError
    when the loss stops being a number or the trainer's labels are not those of `rows`.
    """
    from whence.data.sft import fit, new_adapter, restored
    from whence.models.adapters import attach_adapter, save_adapter

    if not rows:
        raise BadInput("no rows to train on")
    with restored(base.model):
        if resume_adapter is None:
            model = new_adapter(base.model, lora, seed)
        else:
            model = attach_adapter(base, resume_adapter, trainable=True).model
        wrapped = replace(base, model=model, adapter=output)
        try:
            before = _eval_loss(wrapped, eval_rows, f"{label}: eval before")
            done = fit(
                wrapped,
                rows,
                optim=optim,
                seed=seed,
                checkpoints=checkpoints,
                checkpoint_seconds=checkpoint_seconds,
                label=label,
            )
            supervised = _check_supervised(rows, done)
            after = _eval_loss(wrapped, eval_rows, f"{label}: eval after")
            output.mkdir(parents=True, exist_ok=True)
            save_adapter(model, base, output)
            parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
            targets = sorted(model.peft_config[model.active_adapter].target_modules)
        finally:
            model.unload()
    return TrainMetrics(
        steps=done.steps,
        rows=len(rows),
        rows_trained=done.rows,
        truncated_rows=sum(row.truncated for row in rows),
        supervised_tokens=supervised,
        supervised_tokens_first_batch=done.supervised_first_batch,
        train_loss=sum(entry["loss"] for entry in done.curve) / len(done.curve),
        eval_loss_before=before,
        eval_loss_after=after,
        eval_rows=len(eval_rows or ()),
        trainable_parameters=parameters,
        target_modules=targets,
        pad_token_id=base.tokenizer.pad_token_id,
        bos_token_id=base.tokenizer.bos_token_id,
        eos_token_id=base.tokenizer.eos_token_id,
        resumed_at_step=done.resumed_at_step,
        seconds=round(done.seconds, 3),
        tokens_per_second=round(done.tokens / max(done.seconds, 1e-9), 1),
        loss_curve=done.curve,
    )


def _eval_loss(loaded: Loaded, rows: Sequence[AlignedRow] | None, label: str) -> float | None:
    return mean_loss(item_losses(loaded, rows, EVAL_TOKENS, label=label)) if rows else None


def _check_supervised(rows: Sequence[AlignedRow], done: Fit) -> int:
    """Supervised tokens of all rows. Raises WhenceError where the trainer saw other ones.

    TRL drops and relabels rows silently when its columns are not what it expects.
    """
    supervised = sum(row.supervised for row in rows)
    if done.rows != len(rows):
        raise WhenceError(f"the trainer kept {done.rows} of {len(rows)} rows")
    if done.supervised_first_epoch not in (None, supervised):
        raise WhenceError(
            f"the trainer took the first epoch's loss over {done.supervised_first_epoch} tokens; "
            f"the rows' labels have {supervised}"
        )
    return supervised
