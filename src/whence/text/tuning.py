"""The training of a text encoder by Transformers' trainer, and what it then says of every text."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from whence.errors import BadInput, WhenceError
from whence.models.batching import attention_mask, is_out_of_memory, pad
from whence.models.load import model_source, no_progress_bars
from whence.models.watch import Watch, last_checkpoint
from whence.runs.fingerprint import fingerprint, hash_path
from whence.runs.jsonfile import read_json, write_json
from whence.text.encoder import EncoderSettings, Task, Tuned
from whence.text.reader import SMALLER, OpenedEncoder, open_encoder, predict, token_ids

FITTED = "encoder.json"
"""What a saved encoder gets last: task, unit of its targets, where its texts were cut."""
FINISHED = "tuned.json"
ADVICE = "lower --learning-rate or raise --warmup-ratio"


def tune(
    encoder: str,
    texts: list[str],
    targets: NDArray[np.float64],
    train: NDArray[np.bool_],
    task: Task,
    settings: EncoderSettings,
    work: Path,
    save: Path | None,
    checkpoint_seconds: float,
) -> Tuned:
    """See `whence.text.encoder.tune_encoder`. targets: float64 [texts], checked."""
    source = model_source(encoder)
    # Progress of another call must never be taken for this one's, whoever shares the folder.
    place = work / _key(source, texts, targets, train, task, settings)
    finished = place / FINISHED
    if finished.is_file() and (save is None or (save / FITTED).is_file()):
        found = read_json(finished)
        return Tuned(np.array(found["values"]), found["truncated"], found["steps"])
    set_seed(settings.seed)  # the new head is random
    opened = open_encoder(source, settings, 1 if task == "regression" else 2)
    ids, truncated = token_ids(opened, texts)
    centre, scale = 0.0, 1.0
    if task == "regression":
        centre, scale = float(targets[train].mean()), float(targets[train].std())
    labels = (targets - centre) / scale
    rows = [{"input_ids": ids[i], "labels": labels[i]} for i in np.flatnonzero(train)]
    loss = _squared_error if task == "regression" else _cross_entropy(labels[train])
    steps = _fit(opened, rows, loss, settings, place / "checkpoints", checkpoint_seconds)
    values = _values(predict(opened, ids, settings), centre, scale)
    if save is not None:
        with no_progress_bars():
            opened.model.save_pretrained(save)
        opened.tokenizer.save_pretrained(save)
        about = {"task": task, "centre": centre, "scale": scale, "max_length": opened.limit}
        write_json(save / FITTED, about)
    place.mkdir(parents=True, exist_ok=True)
    write_json(finished, {"values": values, "truncated": truncated, "steps": steps})
    shutil.rmtree(place / "checkpoints", ignore_errors=True)
    return Tuned(values, truncated, steps)


def predict_saved(folder: Path, texts: list[str], settings: EncoderSettings) -> NDArray[np.float64]:
    """Values of texts by a saved encoder, float64 [texts]."""
    if not (folder / FITTED).is_file():
        raise BadInput(
            f"{folder}: no {FITTED}; expected an encoder saved by `whence data classify`"
        )
    about = read_json(folder / FITTED)
    labels = 1 if about["task"] == "regression" else 2
    cut = settings.model_copy(update={"max_length": about["max_length"]})
    opened = open_encoder(str(folder.resolve()), cut, labels, fresh_head=False)
    raw = predict(opened, token_ids(opened, texts)[0], settings)
    return _values(raw, about["centre"], about["scale"])


def _values(raw: NDArray[np.float64], centre: float, scale: float) -> NDArray[np.float64]:
    """Of logits [texts, labels]: wanted minus other, or the one number in the targets' unit."""
    values: NDArray[np.float64] = (
        raw[:, 1] - raw[:, 0] if raw.shape[1] == 2 else raw[:, 0] * scale + centre
    )
    return values


def _key(
    source: str,
    texts: Sequence[str],
    targets: NDArray[np.float64],
    train: NDArray[np.bool_],
    task: Task,
    settings: EncoderSettings,
) -> str:
    names = EncoderSettings.model_fields.keys() - EncoderSettings.not_identity
    known = {name: getattr(settings, name) for name in names}
    model = hash_path(Path(source)) if Path(source).is_dir() else source
    return fingerprint([model, list(texts), targets, train, task, known])[:16]


def _fit(
    opened: OpenedEncoder,
    rows: list[dict[str, Any]],
    loss: Callable[..., Any],
    settings: EncoderSettings,
    checkpoints: Path,
    checkpoint_seconds: float,
) -> int:
    """Train the model in place, going on from the newest checkpoint; returns the steps."""

    def collate(batch: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ids = [row["input_ids"] for row in batch]
        labels = torch.tensor([row["labels"] for row in batch], dtype=torch.float32)
        return {
            "input_ids": pad(ids, opened.pad_id),
            "attention_mask": attention_mask(ids),
            "labels": labels,
        }

    trainer = Trainer(
        model=opened.model,
        args=_arguments(opened.model.device, settings, checkpoints),
        train_dataset=rows,
        data_collator=collate,
        compute_loss_func=loss,
        callbacks=[Watch(checkpoints, checkpoint_seconds, "text encoder", ADVICE)],
    )
    trainer.remove_callback(PrinterCallback)
    last = last_checkpoint(checkpoints)
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise WhenceError(f"out of memory in fine-tuning the text encoder: {SMALLER}") from error
    return int(trainer.state.global_step)


def _arguments(
    device: torch.device, settings: EncoderSettings, checkpoints: Path
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        seed=settings.seed,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.num_train_epochs,
        per_device_train_batch_size=settings.batch_size,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type="linear",
        bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False),
        use_cpu=device.type == "cpu",
        remove_unused_columns=False,
        logging_nan_inf_filter=False,
        logging_steps=1,
        # Checkpoints are asked for by the clock, in `Watch`.
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device.type == "cuda",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # several GPUs would be driven by DataParallel
    return arguments


def _cross_entropy(labels: NDArray[np.float64]) -> Callable[..., Any]:
    """Cross-entropy in which a row of a class of m among n rows weighs n / 2m.

    Divided by the rows of a batch, not by their weights: a batch that happens to have one class
    alone must not weigh as if the classes were even.
    """
    wanted = float(labels.mean())
    weights = torch.tensor([0.5 / (1 - wanted), 0.5 / wanted])

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        classes = labels.long()
        each = torch.nn.functional.cross_entropy(
            outputs.logits.float(), classes, weights.to(classes.device), reduction="sum"
        )
        return each / (len(classes) if num_items_in_batch is None else num_items_in_batch)

    return loss


def _squared_error(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    each = (outputs.logits.float()[:, 0] - labels).square().sum()
    return each / (len(labels) if num_items_in_batch is None else num_items_in_batch)
