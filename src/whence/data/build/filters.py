"""Which rows may be drawn: short enough, good enough, and no text twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.data.build.cut import CutRows, count
from whence.data.sources.rows import Rows
from whence.errors import BadInput
from whence.runs.fingerprint import text_digest

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

TOKENS_COLUMN = "conversation_tokens"
REWARD_COLUMN = "reward_model_score"
ROWS_PER_READ = 1_000


@dataclass(frozen=True)
class Filtered:
    """kept: ascending indices into the rows' table. lengths: of every row, in the unit named by
    `stats["length_unit"]`. stats: what was read and how many rows each filter left out, in order.
    """

    kept: np.ndarray
    lengths: np.ndarray
    stats: dict[str, Any]


def filter_rows(
    rows: Rows,
    *,
    max_tokens: int,
    min_reward: float | None,
    tokenizer: PreTrainedTokenizerBase | None,
    digests: Sequence[bytes | None],
    seen: set[bytes],
    cut: CutRows | None = None,
) -> Filtered:
    """Apply the filters in order: length, reward, doubles.

    Where rows were cut (`cut`, whose rows these are), their length is what is left of them: a row
    cut to less than `max_tokens` is not left out for what it was.

    `digests` are the `text_digests` of the rows. `seen` has those met before, in this source or
    another, and is added to: of rows with the same prompt and completion the first is kept, so that
    nothing is trained on and then evaluated. Raises BadInput when the reward column is asked for
    and is absent or does not hold numbers.
    """
    import numpy as np

    lengths, unit = row_lengths(rows, tokenizer, cut)
    source = rows.source
    kept = rows.usable[lengths[rows.usable] <= max_tokens]
    too_long = len(rows.usable) - len(kept)
    low_reward = 0
    if min_reward is not None:
        rewards = _numbers(rows, REWARD_COLUMN, "--min-reward-model-score")
        good = rewards[kept] >= min_reward  # a missing reward (NaN) is not good
        low_reward = int((~good).sum())
        kept = kept[good]
    first = np.array([_is_new(digests[index], seen) for index in kept], dtype=bool)
    doubles = int((~first).sum())
    kept = kept[first]
    return Filtered(
        kept,
        lengths,
        {
            "source": source.file,
            "rows_available": source.available,
            **source.left_out,
            "rows_read": source.table.num_rows,
            "no_assistant_turn": rows.no_assistant_turn,
            "empty_prompt_or_completion": rows.empty,
            "flattened": source.table.num_rows - rows.no_assistant_turn - rows.empty,
            **(cut.stats if cut else {}),
            "over_max_conversation_tokens": too_long,
            "under_min_reward_model_score": low_reward,
            "exact_duplicates": doubles,
            "kept": len(kept),
            "length_unit": unit,
        },
    )


def row_lengths(
    rows: Rows, tokenizer: PreTrainedTokenizerBase | None, cut: CutRows | None = None
) -> tuple[np.ndarray, str]:
    """Length of every row, and the unit it is in.

    The column `conversation_tokens` where the source has it. Else, where it has gaps, and for rows
    that were cut, tokens of prompt and completion by `tokenizer`; without one, words separated by
    white space.
    """
    import numpy as np
    import pyarrow as pa

    counted = f"tokens of {tokenizer.name_or_path}" if tokenizer else "words"
    if TOKENS_COLUMN not in rows.table.column_names:
        return cut.lengths if cut else _count(rows.table, tokenizer), counted
    known = _numbers(rows, TOKENS_COLUMN, "--withhold")
    gaps = np.isnan(known)
    exceptions = []
    if gaps.any():
        exceptions.append(f"{gaps.sum()} rows that lack it")
        known[gaps] = (
            cut.lengths[gaps] if cut else _count(rows.table.filter(pa.array(gaps)), tokenizer)
        )
    if cut and cut.was_cut.any():
        exceptions.append(f"{cut.was_cut.sum()} rows that were cut")
        known[cut.was_cut] = cut.lengths[cut.was_cut]
    unit = f"{TOKENS_COLUMN} ({counted} in {' and '.join(exceptions)})"
    return known.astype(np.int64), unit if exceptions else TOKENS_COLUMN


def _count(table: pa.Table, tokenizer: PreTrainedTokenizerBase | None) -> np.ndarray:
    import numpy as np
    import pyarrow.compute as pc

    counted = [np.empty(0, np.int64)]
    for batch in table.select(["prompt", "completion"]).to_batches(max_chunksize=ROWS_PER_READ):
        texts = [pc.fill_null(column, "").to_pylist() for column in batch.columns]
        counted.append(count(texts[0], tokenizer) + count(texts[1], tokenizer))
    return np.concatenate(counted)


def _numbers(rows: Rows, column: str, flag: str) -> np.ndarray:
    import numpy as np
    import pyarrow as pa

    if column not in rows.table.column_names:
        raise BadInput(f'{rows.source.origin}: no column "{column}", which {flag} needs')
    try:
        values = rows.table[column].cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise BadInput(f'{rows.source.origin}: column "{column}" does not hold numbers') from error
    return np.array(values.to_numpy(), dtype=np.float64)


def text_digests(rows: Rows) -> list[bytes | None]:
    """16 bytes for every row that stand for its exact prompt and completion; None if unusable."""
    usable = set(rows.usable.tolist())
    digests: list[bytes | None] = []
    # Batches and not `take`: on a column in pieces, every take copies the whole column first.
    texts = rows.table.select(["prompt", "completion"])
    for batch in texts.to_batches(max_chunksize=ROWS_PER_READ):
        for row in batch.to_pylist():
            good = len(digests) in usable
            digests.append(text_digest(row["prompt"], row["completion"]) if good else None)
    return digests


def _is_new(digest: bytes | None, seen: set[bytes]) -> bool:
    assert digest is not None, "only usable rows are kept, and those have a digest"
    new = digest not in seen
    seen.add(digest)
    return new
