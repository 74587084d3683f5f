"""Token ids and labels of many rows, held end to end so that a large pool stays small in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from whence.data.score.logs import logs_left_alone
from whence.errors import BadInput
from whence.models.alignment import IGNORED, AlignedRow, align_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

TokenizationMode = Literal["finetune_raw", "bergson_chat"]

ROWS_AT_ONCE = 500
"""Rows tokenised together: Python lists of ids cost ten times the arrays they end in."""


@dataclass(frozen=True)
class TokenRows:
    """Rows of token ids and labels in one flat array each.

    ids, labels: int32 [tokens of all rows]. starts: int64 [rows + 1]; row i is ids[starts[i] :
    starts[i + 1]]. truncated: bool [rows], whether the row lost tokens to the length limit.
    """

    ids: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.truncated)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row, int64 [rows]."""
        import numpy as np

        lengths: np.ndarray = np.diff(self.starts)
        return lengths

    @property
    def supervised(self) -> np.ndarray:
        """Tokens per row that the loss is taken over, int64 [rows]: none precedes the first."""
        import numpy as np

        counted = np.concatenate([[0], np.cumsum(self.labels != IGNORED)])
        first = (self.labels[self.starts[:-1]] != IGNORED).astype(np.int64)
        tokens: np.ndarray = np.diff(counted[self.starts]) - first
        return tokens

    def take(self, indices: Sequence[int]) -> TokenRows:
        """The rows at `indices`, in that order."""
        import numpy as np

        spans = [slice(self.starts[i], self.starts[i + 1]) for i in indices]
        return TokenRows(
            ids=np.concatenate([self.ids[span] for span in spans]),
            labels=np.concatenate([self.labels[span] for span in spans]),
            starts=np.concatenate([[0], np.cumsum(self.lengths[list(indices)])]),
            truncated=self.truncated[list(indices)],
        )

    def padded(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Input ids, labels and attention mask, padded on the right; each int64 [rows, longest].

        The padding id is 0: nothing sees it, since attention is causal and its label is −100.
        """
        import torch

        longest = int(self.lengths[list(indices)].max())
        ids = torch.zeros(len(indices), longest, dtype=torch.long)
        labels = torch.full((len(indices), longest), IGNORED, dtype=torch.long)
        mask = torch.zeros(len(indices), longest, dtype=torch.long)
        for at, index in enumerate(indices):
            start, end = int(self.starts[index]), int(self.starts[index + 1])
            ids[at, : end - start] = torch.from_numpy(self.ids[start:end])
            labels[at, : end - start] = torch.from_numpy(self.labels[start:end])
            mask[at, : end - start] = 1
        return ids, labels, mask


def tokenize_rows(
    rows: pd.DataFrame,
    tokenizer: PreTrainedTokenizerBase,
    *,
    mode: TokenizationMode,
    max_length: int,
) -> TokenRows:
    """Token ids and labels of rows with columns `row_id, prompt, completion`.

    `finetune_raw` is the alignment rule: exactly what finetuning trained on. `bergson_chat` is
    Bergson's own path through the tokenizer's chat template, for comparison with it.

    Raises BadInput, naming rows, where a row has no labelled token: it has no gradient, so its
    score would be a zero that means nothing.
    """
    import numpy as np

    if mode == "bergson_chat" and not getattr(tokenizer, "chat_template", None):
        raise BadInput(
            f"--tokenization-mode bergson_chat: the tokenizer of {tokenizer.name_or_path} has no "
            "chat template; use finetune_raw, which needs none"
        )
    ids: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    truncated: list[bool] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows.iloc[start : start + ROWS_AT_ONCE]
        aligned = (
            align_rows(some, tokenizer, max_length)
            if mode == "finetune_raw"
            else _through_chat_template(some, tokenizer, max_length)
        )
        ids += [np.array(row.input_ids, dtype=np.int32) for row in aligned]
        labels += [np.array(row.labels, dtype=np.int32) for row in aligned]
        truncated += [row.truncated for row in aligned]
    if not ids:
        raise BadInput("there are no rows to score or to ask with: the split is empty")
    tokens = TokenRows(
        ids=np.concatenate(ids),
        labels=np.concatenate(labels),
        starts=np.concatenate([[0], np.cumsum([len(row) for row in ids])]),
        truncated=np.array(truncated),
    )
    if (silent := np.flatnonzero(tokens.supervised == 0)).size:
        raise BadInput(
            f"{silent.size} rows have no labelled token within --max-length {max_length} "
            f"({named(rows['row_id'].iloc[silent])}): raise it or leave them out of the split"
        )
    return tokens


def named(row_ids: Sequence[str], most: int = 5) -> str:
    """The first few row ids, for a one-line message."""
    listed = ", ".join(str(row_id) for row_id in list(row_ids)[:most])
    return listed + (", …" if len(row_ids) > most else "")


def _through_chat_template(
    rows: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[AlignedRow]:
    with logs_left_alone():
        from bergson import DataConfig
        from bergson.data import tokenize

    limit = min(max_length, tokenizer.model_max_length)
    columns = DataConfig(prompt_column="prompt", completion_column="completion")

    def encode(part: pd.DataFrame) -> list[AlignedRow]:
        batch = {name: part[name].tolist() for name in ("prompt", "completion")}
        # Bergson prints the whole text of a row that it cannot find again.
        with contextlib.redirect_stdout(io.StringIO()):
            encoded = tokenize(batch, args=columns, tokenizer=tokenizer)
        return [
            AlignedRow(ids[:limit], labels[:limit], truncated=len(ids) > limit)
            for ids, labels in zip(encoded["input_ids"], encoded["labels"], strict=True)
        ]

    try:
        return encode(rows)
    except RuntimeError as error:
        for at in range(len(rows)):
            try:
                encode(rows.iloc[at : at + 1])
            except RuntimeError:
                raise BadInput(
                    f"row {rows['row_id'].iloc[at]}: its completion is not found again in the "
                    "text that the chat template makes (templates strip white space); "
                    "use --tokenization-mode finetune_raw"
                ) from error
        raise
