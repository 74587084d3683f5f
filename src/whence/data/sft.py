"""TRL's trainer, driven so that it trains on exactly the ids and labels it is given.

Three things TRL and Transformers do by default are undone here: without a fused GPU kernel TRL
computes logits at every position, prompt included (1.6 × the time of a whole step on a small
model on CPU); a NaN loss is replaced by the mean of earlier ones; a cut-off checkpoint is resumed
from as if it were whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from whence.errors import BadInput, WhenceError
from whence.models.alignment import IGNORED, AlignedRow
from whence.models.batching import is_out_of_memory
from whence.models.unembed import hidden_states, proven, unembed
from whence.models.watch import Watch, last_checkpoint

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from whence.data.train import LoraSettings, OptimSettings
    from whence.models.load import Loaded

ADVICE = "lower --learning-rate, raise --warmup-ratio, or use --dtype float32"


@dataclass(frozen=True)
class Fit:
    """What the trainer did. curve: one {step, loss, learning_rate, grad_norm} per optimizer step.

    supervised_first_batch, supervised_first_epoch: labels that reached the model, by its own count;
    None for an epoch that began before a resume.
    """

    curve: list[dict[str, float]]
    steps: int
    rows: int
    tokens: int
    supervised_first_batch: int | None
    supervised_first_epoch: int | None
    resumed_at_step: int
    seconds: float


def new_adapter(base: PreTrainedModel, lora: LoraSettings, seed: int) -> PeftModel:
    """Wrap the base with a fresh LoRA adapter, random from `seed` alone.

    Raises BadInput for target modules that the model does not have, or that cannot be trained.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    targets = lora.target_modules
    config = LoraConfig(
        r=lora.lora_r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=targets[0] if targets == ("all-linear",) else list(targets),
        task_type=TaskType.CAUSAL_LM,
    )
    set_seed(seed)
    try:
        wrapped = get_peft_model(base, config)
    except ValueError as error:
        linear = {n.rpartition(".")[2] for n, m in base.named_modules() if hasattr(m, "weight")}
        raise BadInput(
            f"--target-modules {' '.join(targets)}: cannot be adapted in this model; use "
            f"all-linear, or some of {', '.join(sorted(linear))}"
        ) from error
    if hasattr(wrapped.get_base_model().get_output_embeddings(), "lora_A"):
        wrapped.unload()
        raise BadInput("--target-modules: the output head cannot be adapted; leave it out")
    return wrapped


def fit(
    wrapped: Loaded,
    rows: Sequence[AlignedRow],
    *,
    optim: OptimSettings,
    seed: int,
    checkpoints: Path | None,
    checkpoint_seconds: float,
    label: str,
) -> Fit:
    """Train the adapter around `wrapped.model` on rows in random order.

    checkpoints: folder to save into every `checkpoint_seconds` and to go on from; None saves none.
    A run that was cut off goes on with the same data order and the same random numbers, so it ends
    with the same adapter. Raises WhenceError at the first loss that is not finite, and where a
    batch does not fit in memory.
    """
    collator = _CountingCollator(wrapped.tokenizer.pad_token_id)
    watch = Watch(checkpoints, checkpoint_seconds, label, ADVICE)
    data = Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    )
    trainer = _CompletionTrainer(
        model=wrapped.model,
        args=_arguments(wrapped, optim, seed, checkpoints),
        train_dataset=data,
        processing_class=wrapped.tokenizer,
        data_collator=collator,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    shortest = min(rows, key=lambda row: len(row.input_ids)).input_ids
    trainer.labelled_only = wrapped.device.type != "cuda" and proven(
        wrapped.model.eval(), torch.tensor([shortest], device=wrapped.device)
    )
    last = None if checkpoints is None else last_checkpoint(checkpoints)
    started = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise WhenceError(
            f"out of memory with {optim.per_device_train_batch_size} rows in a batch: lower "
            "--per-device-train-batch-size and raise --gradient-accumulation-steps by as much "
            "(the same training), add --gradient-checkpointing, or lower --max-length"
        ) from error
    resumed_at = 0 if last is None else int(last.name.rpartition("-")[2])
    batches = math.ceil(len(rows) / optim.per_device_train_batch_size)
    counted = collator.supervised[:batches]
    curve = [
        {key: float(entry[key]) for key in ("step", "loss", "learning_rate", "grad_norm")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return Fit(
        curve=curve,
        steps=trainer.state.global_step,
        rows=len(trainer.train_dataset),
        tokens=collator.tokens,
        supervised_first_batch=None if resumed_at or not counted else counted[0],
        supervised_first_epoch=None if resumed_at or len(counted) < batches else sum(counted),
        resumed_at_step=resumed_at,
        seconds=time.monotonic() - started,
    )


@contextmanager
def restored(base: PreTrainedModel) -> Iterator[None]:
    """Leave a model as it was: attributes, configurations, hooks, gradient flags, evaluation mode.

    TRL patches `forward`, tags the model, edits its configurations and hooks its embeddings; PEFT
    freezes parameters. The weights themselves are never touched, so nothing of them is copied.
    """
    holders = [base, base.config, base.config.get_text_config(), base.generation_config]
    before = [dict(vars(holder)) for holder in holders if holder is not None]
    hooks = {module: dict(module._forward_hooks) for module in base.modules()}
    trainable = [parameter for parameter in base.parameters() if parameter.requires_grad]
    try:
        yield
    finally:
        if base.is_activation_checkpointing:
            base.activation_checkpointing_disable()
        for module, own in hooks.items():
            module._forward_hooks.clear()
            module._forward_hooks.update(own)
        for holder, attributes in zip([h for h in holders if h is not None], before, strict=True):
            vars(holder).clear()
            vars(holder).update(attributes)
        for parameter in trainable:
            parameter.requires_grad_(True)
        base.eval()


def _arguments(
    wrapped: Loaded, optim: OptimSettings, seed: int, checkpoints: Path | None
) -> SFTConfig:
    arguments = SFTConfig(
        output_dir=str(checkpoints or "."),
        seed=seed,
        learning_rate=optim.learning_rate,
        num_train_epochs=optim.num_train_epochs,
        max_steps=-1 if optim.max_steps is None else optim.max_steps,
        per_device_train_batch_size=optim.per_device_train_batch_size,
        gradient_accumulation_steps=optim.gradient_accumulation_steps,
        warmup_steps=optim.warmup_ratio,
        lr_scheduler_type=optim.lr_scheduler_type,
        weight_decay=optim.weight_decay,
        max_grad_norm=optim.max_grad_norm,
        gradient_checkpointing=optim.gradient_checkpointing,
        bf16=wrapped.dtype == torch.bfloat16 and wrapped.device.type != "cpu",
        fp16=False,
        use_cpu=wrapped.device.type == "cpu",
        # Rows come truncated and labelled: TRL's own preparation would only copy them.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        # Transformers would put the running mean in a NaN's place.
        logging_nan_inf_filter=False,
        logging_steps=1,
        # Checkpoints are asked for by the clock, in `Watch`.
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=wrapped.device.type == "cuda",
    )
    if arguments.n_gpu > 1:
        # Several visible GPUs would be driven by DataParallel, which TRL refuses. One process
        # uses the device that the model is on.
        arguments._n_gpu = 1
    return arguments


class _CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose loss computes logits at labelled positions only.

    On CUDA TRL's fused kernel does that already; elsewhere it would compute them at every position.
    """

    labelled_only = False

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        wrapped_for_several = model is not self.model
        if not self.labelled_only or wrapped_for_several or return_outputs or self.aux_loss_enabled:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"][:, 1:]
        wanted = labels != IGNORED
        states = hidden_states(model, inputs["input_ids"], inputs["attention_mask"])[:, :-1]
        logits = unembed(model, states[wanted]).float()
        total = torch.nn.functional.cross_entropy(logits, labels[wanted], reduction="sum")
        items = wanted.sum() if num_items_in_batch is None else num_items_in_batch
        return total / items

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Transformers' own way asks the hub about the base model at every checkpoint.
        self.model.save_pretrained(output_dir, save_embedding_layers=False)


class _CountingCollator(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """TRL's collator, counting what passes: supervised tokens of each batch, and all tokens."""

    def __init__(self, pad_token_id: int) -> None:
        super().__init__(pad_token_id=pad_token_id)
        self.supervised: list[int] = []
        self.tokens = 0

    def torch_call(self, examples: list[Mapping[str, Any]]) -> Any:
        batch = super().torch_call(examples)
        self.supervised.append(int((batch["labels"][:, 1:] != IGNORED).sum()))
        self.tokens += int(batch["attention_mask"].sum())
        return batch
