"""From corpus rows to token ids, as this model's own tokenizer reads them.

A prompt is tokenised with the tokenizer's defaults for special tokens; the answers as they continue
the prompt, without special tokens. Whatever is left out, cut or read in part is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from whence.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from whence.heads.corpora import Row

logger = logging.getLogger(__name__)

PrependBos = Literal["default", "always", "never"]
MetricSpan = Literal["first_token", "full_target"]
MultiToken = Literal["error", "first"]
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Example:
    """One row as token ids. example: its row in the corpus; target, foil: their tokens."""

    example: int
    clean: Ids
    corrupt: Ids | None
    target: Ids
    foil: Ids


@dataclass(frozen=True)
class Examples:
    """The rows of a corpus that can be measured.

    excluded: reason → row numbers left out. bos: the id that every prompt begins with, or None.
    truncated: rows of which a prompt lost its beginning. multi_token: rows read by the first token
    of a longer target or foil.
    """

    rows: tuple[Example, ...]
    excluded: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    bos: int | None = None
    truncated: int = 0
    multi_token: int = 0

    def only(self, wanted: Sequence[int], reason: str | None = None) -> Examples:
        """Those at positions `wanted` of `rows`; the others count as excluded where a reason is."""
        kept = set(wanted)
        excluded = dict(self.excluded)
        lost = tuple(row.example for at, row in enumerate(self.rows) if at not in kept)
        if reason and lost:
            excluded[reason] = lost
        rows = tuple(self.rows[at] for at in sorted(kept))
        return Examples(rows, excluded, self.bos, self.truncated, self.multi_token)


def prepare(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    *,
    prepend_bos: PrependBos = "default",
    metric_span: MetricSpan = "first_token",
    max_seq_len: int | None = None,
    multi_token: MultiToken = "error",
) -> Examples:
    """Tokenise corpus rows.

    prepend_bos: as the tokenizer does by itself, or always, or never. max_seq_len: tokens a prompt
    may have; of a longer one the end is kept (the last token is what is read), and BOS. metric_span
    "first_token" measures the first token of target and foil, "full_target" the whole target as
    well. multi_token: what to do under first_token with answers of several tokens: refuse, or read
    their first token and say so.

    Rows whose target and foil begin with the same token have no logit difference and are left out.
    Raises BadInput for several-token answers (see above), prompts without a token, `always` where
    the tokenizer has no BOS, and where no row is left.
    """
    limit = min(max_seq_len or tokenizer.model_max_length, tokenizer.model_max_length)
    read = _Reader(tokenizer, prepend_bos, limit)
    examples, several = [], 0
    same: list[int] = []
    for row in rows:
        clean = read.prompt(row.clean, row.index, "clean")
        corrupt = None if row.corrupt is None else read.prompt(row.corrupt, row.index, "corrupt")
        target = continuation_ids(tokenizer, row.clean, row.target)
        foil = continuation_ids(tokenizer, row.clean, row.foil)
        for name, text, ids in (("target", row.target, target), ("foil", row.foil, foil)):
            if not ids:
                raise BadInput(f"row {row.index}: {name} {text!r} has no token")
            if len(ids) > 1 and metric_span == "first_token" and multi_token == "error":
                pieces = " ".join(repr(tokenizer.decode([i])) for i in ids)
                raise BadInput(
                    f"row {row.index}: {name} {text!r} is not a single token but {len(ids)} "
                    f"({pieces}): use --metric-span full_target, or keep single-token rows with "
                    "`whence heads corpora filter`"
                )
        if target[0] == foil[0]:
            same.append(row.index)
            continue
        several += metric_span == "first_token" and (len(target) > 1 or len(foil) > 1)
        examples.append(Example(row.index, clean, corrupt, target, foil))
    if same:
        logger.info("%d rows left out: target and foil begin with the same token", len(same))
    if several:
        logger.warning("%d rows have answers of several tokens; their first is read", several)
    if read.cut:
        logger.warning(
            "%d rows have prompts of more than %d tokens; their end is kept", len(read.cut), limit
        )
    if not examples:
        raise BadInput("no row is left to measure: target and foil begin alike in all of them")
    left_out = {"target and foil begin with the same token": tuple(same)} if same else {}
    return Examples(tuple(examples), left_out, read.bos, len(read.cut), several)


def continuation_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, text: str) -> Ids:
    """Tokens of `text` where it continues `prompt`, without special tokens.

    SentencePiece tokenizers put a space of their own before a text that stands alone, so ` Paris`
    alone may have two tokens where after a prompt it has one: what follows the prompt counts,
    unless the last token of the prompt itself changes.
    """
    alone = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(alone) > 1:
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        whole = tokenizer(prompt + text, add_special_tokens=False)["input_ids"]
        if whole[: len(before)] == before:
            return tuple(whole[len(before) :])
    return tuple(alone)


class _Reader:
    """Tokenises prompts under one policy and counts those it had to cut."""

    def __init__(self, tokenizer: Any, prepend_bos: PrependBos, limit: int) -> None:
        self.tokenizer, self.limit = tokenizer, limit
        self.cut: set[int] = set()
        bos = tokenizer.bos_token_id
        if prepend_bos == "always" and bos is None:
            raise BadInput("--prepend-bos always: this tokenizer has no BOS token")
        adds = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
        wanted = prepend_bos == "always" or (prepend_bos == "default" and adds)
        self.bos: int | None = bos if wanted else None

    def prompt(self, text: str, row: int, name: str) -> Ids:
        ids = list(self.tokenizer(text)["input_ids"])
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if ids and ids[-1] == eos and eos != bos and not text.endswith(self.tokenizer.eos_token):
            ids.pop()  # a tokenizer that closes every text: what follows the prompt is asked for
        if bos is not None and ids[:1] == [bos]:
            ids = ids[1:]
        if not ids:
            raise BadInput(f"row {row}: {name} prompt {text!r} has no token")
        first = [] if self.bos is None else [self.bos]
        if len(first) + len(ids) > self.limit:
            self.cut.add(row)
            ids = ids[len(first) + len(ids) - self.limit :]
        return (*first, *ids)
