"""An encoder on its way from words to numbers: model and tokenizer, token ids, logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from whence.errors import BadInput
from whence.models.batching import attention_mask, pad, run_batches, token_batches
from whence.models.hub import advised, files_only
from whence.models.load import device_named, no_progress_bars
from whence.runs.progress import Progress
from whence.text.encoder import EncoderSettings

SMALLER = "lower --batch-size or --max-length, or use a smaller --encoder"


@dataclass(frozen=True)
class OpenedEncoder:
    """A model with its tokenizer, both agreed on how to pad. limit: most tokens of a text."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    limit: int

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)


def open_encoder(
    source: str, settings: EncoderSettings, labels: int, *, fresh_head: bool = True
) -> OpenedEncoder:
    """Load model and tokenizer. Raises BadInput where there is no such model, or no such head."""
    known = {
        "revision": settings.revision,
        "trust_remote_code": settings.trust_remote_code,
        "local_files_only": files_only(source),
    }
    with advised(source, settings.revision):
        config = AutoConfig.from_pretrained(source, **known)
    brought = "AutoModelForSequenceClassification" in (getattr(config, "auto_map", None) or {})
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING and not brought:
        raise BadInput(
            f"--encoder {source}: Transformers has no sequence-classification head for "
            f"{config.model_type} models; use a BERT-like encoder or a decoder that has one"
        )
    with advised(source, settings.revision), no_progress_bars():
        tokenizer = AutoTokenizer.from_pretrained(source, **known)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=labels,
            dtype=torch.float32,
            output_loading_info=True,
            **known,
        )
    _check_filled(source, model, report, fresh_head)
    if tokenizer.pad_token_id is None:
        filler = tokenizer.eos_token or tokenizer.unk_token
        if filler is None:
            raise BadInput(f"{source}: its tokenizer has no pad, EOS or unknown token to pad with")
        tokenizer.pad_token = filler
    # A decoder's head reads the last token that is not this one: unset, it would read padding.
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    limits = [settings.max_length, tokenizer.model_max_length, positions]
    limit = min(int(each) for each in limits if each)
    return OpenedEncoder(model.to(device_named(settings.device)), tokenizer, limit)


def _check_filled(
    source: str, model: PreTrainedModel, report: Mapping[str, Any], fresh_head: bool
) -> None:
    """Raise BadInput where weights other than the new head's would be random.

    A BERT that was trained without its pooler gets a new one, as part of the head.
    """
    below = f"{model.base_model_prefix}."
    missing = sorted(
        name
        for name in report["missing_keys"]
        if not fresh_head or (name.startswith(below) and ".pooler." not in name)
    )
    if missing:
        raise BadInput(
            f"{source}: {len(missing)} weights are not in the file (first: {missing[0]}); it is "
            "not a whole model of this architecture"
        )


def token_ids(opened: OpenedEncoder, texts: Sequence[str]) -> tuple[list[list[int]], int]:
    """Token ids of each text with the tokenizer's special tokens, and how many texts were cut."""
    read = opened.tokenizer
    ids: list[list[int]] = read(list(texts), return_attention_mask=False)["input_ids"]
    long = [i for i, row in enumerate(ids) if len(row) > opened.limit]
    if long:
        cut = read(
            [texts[i] for i in long],
            truncation=True,
            max_length=opened.limit,
            return_attention_mask=False,
        )["input_ids"]
        for i, row in zip(long, cut, strict=True):
            ids[i] = row
    for number, row in enumerate(ids, start=1):
        if not row:
            raise BadInput(f"text {number} has no token that the encoder knows")
    return ids, len(long)


def predict(
    opened: OpenedEncoder, ids: Sequence[Sequence[int]], settings: EncoderSettings
) -> NDArray[np.float64]:
    """Logits of every row, float64 [rows, labels]; rows of like length share a batch."""
    model = opened.model.eval()
    found: list[NDArray[np.float64]] = [np.empty(0)] * len(ids)

    def logits(batch: Sequence[int]) -> Any:
        rows = [ids[i] for i in batch]
        with torch.inference_mode():
            said = model(
                input_ids=pad(rows, opened.pad_id).to(model.device),
                attention_mask=attention_mask(rows).to(model.device),
            )
        return said.logits.double().cpu().numpy()

    batches = token_batches(
        list(map(len, ids)), settings.batch_size * opened.limit, settings.batch_size
    )
    with Progress("reading texts", len(ids), "texts") as progress:
        for batch, rows in run_batches(batches, logits, SMALLER):
            for at, row in zip(batch, rows, strict=True):
                found[at] = row
            progress.advance(len(batch))
    return np.stack(found) if found else np.empty((0, model.config.num_labels))
