"""Before a long run: where every sentence is, whether every trace fits, how many bytes it takes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whence.anchors.features.wanted import Wanted
from whence.anchors.spans.locate import Span
from whence.anchors.spans.tokens import Placed
from whence.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEADER_BYTES = 200
"""Of an array's entry in the header of a safetensors file, at most."""
INDEX_BYTES = 60
"""Of a sentence's row in sentences.parquet, beside its text."""


@dataclass(frozen=True)
class Unfit:
    """A trace that cannot be captured as asked, why, and what to do about it."""

    problem_id: str
    cause: str
    remedy: str


@dataclass(frozen=True)
class Shape:
    """What of a model decides how much is stored."""

    n_layers: int
    d_model: int
    n_heads: int


def longest_allowed(tokenizer: PreTrainedTokenizerBase, max_tokens: int | None) -> int:
    """Tokens a trace may have: as asked, and never more than the model has positions for."""
    limit = int(tokenizer.model_max_length)
    return limit if max_tokens is None else min(limit, max_tokens)


def failures_of(placed: Placed, tokenizer: PreTrainedTokenizerBase, limit: int) -> list[Unfit]:
    """Why a trace cannot be captured: one entry, or none."""
    missing = placed.failures(tokenizer, decode=False)
    if missing:
        first = missing[0]
        text = first.expected if len(first.expected) <= 60 else f"{first.expected[:59]}…"
        cause = f"{len(missing)} sentences have no place in the text; {first.chunk_idx}"
        remedy = "mend the texts (`whence anchors spans --check` lists every such sentence)"
        return [Unfit(placed.trace.problem_id, f'{cause} ("{text}"): {first.cause}', remedy)]
    if len(placed.ids) > limit:
        cause = f"{len(placed.ids):,} tokens, more than the {limit:,} that it may have"
        remedy = "take a model with more positions, or raise --max-tokens where that is the limit"
        return [Unfit(placed.trace.problem_id, cause, remedy)]
    return []


def checked_spans(placed: Placed) -> list[Span]:
    """Token spans of a trace without failures."""
    spans = [span for span in placed.tokens if span is not None]
    assert len(spans) == len(placed.tokens)
    return spans


def model_shape(model: str, revision: str | None, trust_remote_code: bool) -> Shape:
    """Layers, width and heads by config.json alone. Raises BadInput where it does not say."""
    from transformers import AutoConfig

    from whence.models.hub import advised, files_only
    from whence.models.load import model_source

    source = model_source(model)
    with advised(source, revision):
        config = AutoConfig.from_pretrained(
            source,
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=files_only(source),
        ).get_text_config()
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    numbers = [getattr(config, name, None) for name in names]
    for name, number in zip(names, numbers, strict=True):
        if not isinstance(number, int):
            raise BadInput(f"{source}: config.json says {name} = {number}; a number was expected")
    layers, width, heads = (int(number or 0) for number in numbers)
    return Shape(layers, width, heads)


def array_bytes(placed: Sequence[Placed], wanted: Wanted, shape: Shape) -> dict[str, int]:
    """Bytes of each array over all traces, by name; exact."""
    sentences = sum(len(each.tokens) for each in placed)
    tokens = sum(span.end - span.start for each in placed for span in checked_spans(each))
    return stored_bytes(sentences, tokens, wanted, shape)


def stored_bytes(sentences: int, tokens: int, wanted: Wanted, shape: Shape) -> dict[str, int]:
    """The same of so many sentences, which have so many tokens."""
    width = shape.d_model * (2 if wanted.storage_dtype == "float16" else 4)
    found = {}
    for layer in wanted.layers:
        for name in wanted.names(layer):
            if name.endswith(".vertical_heads"):
                found[name] = 4 * sentences * shape.n_heads
            elif name.endswith(".vertical"):
                found[name] = 4 * sentences
            else:
                found[name] = width * (tokens if name.endswith(".tokens") else sentences)
    return found


def index_bytes(placed: Sequence[Placed], wanted: Wanted) -> int:
    """Bytes of everything beside the arrays, at most: file headers and the table of sentences."""
    arrays = sum(len(wanted.names(layer)) for layer in wanted.layers)
    rows = sum(
        INDEX_BYTES + len(sentence.encode()) for each in placed for sentence in each.trace.sentences
    )
    return len(placed) * (HEADER_BYTES * (1 + arrays) + 200) + rows + 20_000


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk that `folder` is on, or will be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def need_room(needed: int, folder: Path) -> None:
    """Raise BadInput where the disk cannot hold `needed` bytes more."""
    free = free_bytes(folder)
    if needed > free:
        raise BadInput(
            f"{folder}: {readable(needed)} are needed and {readable(free)} are free on this disk; "
            "take fewer --layers or --pooling, --storage-dtype float16, or another --output-dir"
        )


def readable(count: float) -> str:
    """Bytes as people write them, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} B" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
