"""The rows of a data set, and the token ids that a model reads of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from whence.errors import BadInput
from whence.models.alignment import align_rows
from whence.runs.manifest import REQUIRED_COLUMNS, check_rows
from whence.runs.tables import read_table
from whence.text.joined import JOINT

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

Text = Literal["aligned", "joined"]


@dataclass(frozen=True)
class TokenRow:
    """One row as the model reads it. bos: how many of its first ids are BOS."""

    row_id: str
    ids: list[int]
    bos: int
    truncated: bool


def rows_of_file(path: Path) -> pa.Table:
    """The rows of a table with row_id, prompt and completion, and whatever else it has.

    Row ids are required: scores are matched to features by them, and nothing else would tell that
    a file was sorted in between. A missing `group_id` is the row's own id. Raises BadInput, naming
    file and row, for a column that is missing and for ids or texts that are empty or doubled.
    """
    import pyarrow as pa

    table = read_table(path)
    if not table.num_rows:
        raise BadInput(f"{path}: no rows")
    for column in REQUIRED_COLUMNS:
        if column not in table.column_names:
            has = ", ".join(table.column_names) or "none"
            raise BadInput(
                f'{path}: no column "{column}"; it has {has}; rows need '
                f"{', '.join(REQUIRED_COLUMNS)} (`whence data build` makes them of chats)"
            )
    columns = {column: table[column] for column in table.column_names}
    for column in REQUIRED_COLUMNS:
        try:
            columns[column] = table[column].cast(pa.string())
        except pa.ArrowException as error:
            raise BadInput(f"{path}: column {column} does not hold text") from error
    columns.setdefault("group_id", columns["row_id"])
    rows = pa.table(columns)
    check_rows(rows, str(path))
    return rows


def token_rows(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    text: Text,
    max_tokens: int,
) -> list[TokenRow]:
    """Token ids of rows with row_id, prompt and completion, in their order.

    aligned: as finetuning and scoring see the row, its closing EOS included; what is too long loses
    its oldest prompt tokens (`whence.models.alignment`). joined: prompt, blank line and completion
    as one text with the special tokens that the tokenizer gives a text; what is too long loses its
    end. Raises BadInput as `align_rows` does, and for a row without tokens.
    """
    if text == "aligned":
        aligned = align_rows(rows, tokenizer, max_tokens)
        ids = [each.input_ids for each in aligned]
        truncated = [each.truncated for each in aligned]
    else:
        ids, truncated = _joined(rows, tokenizer, max_tokens)
    for row, its in zip(rows, ids, strict=True):
        if not its:
            raise BadInput(f"row {row['row_id']}: no tokens")
    return [
        TokenRow(str(row["row_id"]), its, _leading(its, tokenizer.bos_token_id), cut)
        for row, its, cut in zip(rows, ids, truncated, strict=True)
    ]


def _joined(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> tuple[list[list[int]], list[bool]]:
    most = min(max_tokens, tokenizer.model_max_length)
    texts = [f"{row['prompt']}{JOINT}{row['completion']}" for row in rows]
    if not texts:
        return [], []
    encoded = tokenizer(texts, verbose=False)["input_ids"]
    return [ids[:most] for ids in encoded], [len(ids) > most for ids in encoded]


def _leading(ids: Sequence[int], token: int | None) -> int:
    count = 0
    while count < len(ids) and ids[count] == token:
        count += 1
    return count
