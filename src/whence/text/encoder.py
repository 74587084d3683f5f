"""A text encoder, fine-tuned to predict something of a row from its words alone.

The control that asks whether a model's insides know more of a row than its text does. Any model
with a sequence-classification head in Transformers serves; a bidirectional one reads best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whence.errors import BadInput
from whence.models.settings import Loading

DEFAULT_ENCODER = "answerdotai/ModernBERT-base"
CHECKPOINT_SECONDS = 120.0

Task = Literal["classification", "regression"]


class EncoderSettings(Loading):
    """How an encoder is fine-tuned: AdamW, the rate falling to 0 in a line after a warm-up."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"device"})

    num_train_epochs: float = Field(
        default=3.0, gt=0, description="Passes of the encoder over the rows that it is fitted on."
    )
    learning_rate: float = Field(
        default=5e-5, gt=0, description="Largest learning rate of the encoder."
    )
    warmup_ratio: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the steps in which the rate grows."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="Decoupled weight decay.")
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="Gradients are scaled down to this norm; 0 never."
    )
    batch_size: int = Field(default=16, ge=1, description="Texts in a batch of the encoder.")
    max_length: int = Field(
        default=512, ge=2, description="Tokens of a text that the encoder reads; the rest is cut."
    )
    seed: int = Field(default=42, description="Seed of the split, the new head and the order.")
    device: str = Field(
        default="auto", description="cpu, cuda, cuda:N, mps; auto takes the first there is."
    )


@dataclass(frozen=True)
class Tuned:
    """values: of every text, float64 [texts]. truncated: how many texts were cut at the end.

    steps: optimizer steps of the whole training.
    """

    values: NDArray[np.float64]
    truncated: int
    steps: int


def fine_tune(
    encoder: str,
    texts: Sequence[str],
    targets: NDArray[Any],
    train: NDArray[np.bool_],
    *,
    task: Task,
    settings: EncoderSettings,
    work: Path,
    save: Path | None = None,
) -> NDArray[np.float64]:
    """What an encoder fitted on the `train` rows predicts for all rows, float64 [texts]; see
    `tune_encoder`.
    """
    return tune_encoder(
        encoder, texts, targets, train, task=task, settings=settings, work=work, save=save
    ).values


def tune_encoder(
    encoder: str,
    texts: Sequence[str],
    targets: NDArray[Any],
    train: NDArray[np.bool_],
    *,
    task: Task,
    settings: EncoderSettings,
    work: Path,
    save: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Tuned:
    """Fit an encoder on the `train` rows of `texts` and predict all of them.

    encoder: folder, hub id, or `tiny`. targets [texts]: for classification true or 1 where wanted
    (cross-entropy, a row of a class of m among n weighs n / 2m, so that both classes weigh alike);
    for regression numbers, standardised by those of the training rows. values: the logit of wanted
    minus the other; the prediction in the targets' unit. The same call gives the same values on one
    machine. work: folder for progress: a call that was cut off goes on there, one that was finished
    is answered from there. save: folder for the fitted encoder, which `score_texts` reads.

    Raises BadInput for a model that cannot be had or has no such head, and for targets that cannot
    be learned; WhenceError when the loss stops being a number or memory ends.
    """
    wanted = _targets(targets, train, len(texts), task)
    from whence.text.tuning import tune

    rows = np.asarray(train, dtype=bool)
    return tune(encoder, list(texts), wanted, rows, task, settings, work, save, checkpoint_seconds)


def score_texts(
    folder: Path, texts: Sequence[str], settings: EncoderSettings | None = None
) -> NDArray[np.float64]:
    """What an encoder saved by `tune_encoder` predicts for other texts, float64 [texts].

    Texts are cut where they were cut in training; of `settings`, device and batch_size count.
    Raises BadInput for a folder without such an encoder.
    """
    from whence.text.tuning import predict_saved

    return predict_saved(folder, list(texts), settings or EncoderSettings())


def encoder_identity(encoder: str, settings: EncoderSettings | None = None) -> Any:
    """What a record keeps of the model: its folder (hashed), or hub id and revision.

    Raises BadInput for a folder that is not there or holds no model.
    """
    from whence.models.load import model_source

    source = model_source(encoder)
    if Path(source).is_dir():
        return Path(source)
    return f"{source}@{(settings.revision if settings else None) or 'main'}"


def _targets(
    targets: NDArray[Any], train: NDArray[np.bool_], texts: int, task: Task
) -> NDArray[np.float64]:
    """The targets as numbers. Raises BadInput where nothing can be learned from them."""
    values = np.asarray(targets, dtype=np.float64)
    if not len(values) == len(train) == texts:
        raise BadInput(
            f"{texts} texts, {len(values)} targets, {len(train)} marks: one each, please"
        )
    fitted = values[np.asarray(train, dtype=bool)]
    if not np.isfinite(values).all():
        raise BadInput("a target of the encoder is not a finite number")
    if task == "classification" and not np.isin(values, (0, 1)).all():
        raise BadInput("targets of a classification are 0 or 1")
    if len(np.unique(fitted)) < 2:
        raise BadInput(
            f"the {len(fitted)} rows that the encoder is fitted on all have one target: there is "
            "nothing to learn"
        )
    return values
