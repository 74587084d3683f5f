"""Rows that are too long lose the beginning of their prompt: `--max-tokens-per-row`.

The rule is finetuning's own (`whence.models.alignment`): the earliest text goes first, in the
middle of a turn if it must, and the completion stays whole, because it is what is learned. A row
whose completion leaves no room for a prompt cannot be cut, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from whence.data.sources.rows import Rows
from whence.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

# Few, because of each row the tokenizer keeps where every token stands.
ROWS_PER_READ = 200
# What Arrow means by white space, so that rows are cut as they are counted.
WORD = re.compile(r"[^\t\n\f\r ]+")


@dataclass(frozen=True)
class CutRows:
    """rows: with prompts cut and rows without room for one made unusable. lengths: of every row
    after the cut, in tokens or words. was_cut: [rows] bool. stats: what was cut, for the manifest.
    """

    rows: Rows
    lengths: np.ndarray
    was_cut: np.ndarray
    stats: dict[str, int]


def cut_rows(rows: Rows, limit: int, tokenizer: PreTrainedTokenizerBase | None) -> CutRows:
    """Bring every usable row to at most `limit` tokens of prompt and completion together.

    Tokens are the tokenizer's own, without BOS and EOS; without a tokenizer they are words. Raises
    BadInput where the tokenizer does not say where in the text its tokens are, and where no row is
    left.
    """
    import numpy as np
    import pyarrow as pa

    if tokenizer is not None and not tokenizer.is_fast:
        raise BadInput(
            f"--max-tokens-per-row: the tokenizer of {tokenizer.name_or_path} does not say where "
            "its tokens stand in a text; leave --base-model out to count words"
        )
    total = rows.table.num_rows
    usable = np.zeros(total, dtype=bool)
    usable[rows.usable] = True
    lengths = np.zeros(total, np.int64)
    was_cut = np.zeros(total, dtype=bool)
    no_room = np.zeros(total, dtype=bool)
    tokens_cut, start, prompts = 0, 0, []
    texts = rows.table.select(["prompt", "completion"])
    for batch in texts.to_batches(max_chunksize=ROWS_PER_READ):
        before, after = (
            [text or "" for text in batch.column(name).to_pylist()]
            for name in ("prompt", "completion")
        )
        read = tokenizer(before, add_special_tokens=False, verbose=False) if tokenizer else None
        of_prompt = np.array([len(ids) for ids in read["input_ids"]]) if read else count(before)
        of_completion = count(after, tokenizer)
        lengths[start : start + len(before)] = of_prompt + of_completion
        for offset in np.flatnonzero(of_prompt + of_completion > limit):
            at = start + int(offset)
            room = limit - int(of_completion[offset])
            if not usable[at]:
                continue
            text = before[offset]
            if read and 0 < room < of_prompt[offset]:
                first = read.token_to_chars(int(offset), int(of_prompt[offset]) - room)
                text = text[first.start :].lstrip()
            kept, length = _last(text, room, tokenizer)
            if not kept:
                no_room[at] = True
                continue
            tokens_cut += int(of_prompt[offset]) - length
            before[offset] = kept
            lengths[at] = length + of_completion[offset]
            was_cut[at] = True
        prompts.append(pa.array(before, pa.string()))
        start += len(before)
    left = usable & ~no_room
    if not left.any():
        raise BadInput(
            f"{rows.source.origin}: --max-tokens-per-row {limit} leaves no row, because every "
            "completion alone is as long; give it room for completion and prompt"
        )
    where = rows.table.column_names.index("prompt")
    table = rows.table.set_column(where, "prompt", pa.chunked_array(prompts, pa.string()))
    return CutRows(
        replace(rows, table=table, usable=np.flatnonzero(left)),
        lengths,
        was_cut,
        {
            "cut_to_max_tokens_per_row": int(was_cut.sum()),
            "tokens_cut": tokens_cut,
            "completion_over_max_tokens_per_row": int(no_room.sum()),
        },
    )


def count(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase | None = None) -> np.ndarray:
    """Tokens of each text, without special ones; without a tokenizer, words between white space."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if tokenizer is None:
        words = pc.count_substring_regex(pa.array(texts, pa.string()), r"\S+")
        return np.asarray(words.to_numpy(zero_copy_only=False), dtype=np.int64)
    if not texts:
        return np.empty(0, np.int64)
    ids = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return np.array([len(row) for row in ids], dtype=np.int64)


def _last(text: str, room: int, tokenizer: PreTrainedTokenizerBase | None) -> tuple[str, int]:
    """The end of `text` in at most `room` tokens, and how many it has; "" where none fits."""
    if room < 1:
        return "", 0
    if tokenizer is None:
        starts = [word.start() for word in WORD.finditer(text)]
        return text[starts[-min(room, len(starts))] :], min(room, len(starts))
    # Read by itself the rest may have more tokens than it had in the whole: so look again.
    keep = room
    while True:
        read = tokenizer(text, add_special_tokens=False, verbose=False)
        tokens = len(read["input_ids"])
        if tokens <= room:
            return (text, tokens) if text.strip() else ("", 0)
        shorter = text[read.token_to_chars(tokens - keep).start :].lstrip()
        if len(shorter) == len(text):  # the first of several tokens of one character
            keep -= 1
        if not keep or not shorter:
            return "", 0
        text = shorter
