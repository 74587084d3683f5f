"""How many tokens prompts and answers have under one tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whence.heads.corpora.rows import Row
from whence.heads.prompts import continuation_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class RowTokens:
    """One row in tokens.

    clean, corrupt: numbers of tokens with the special tokens that the tokenizer adds by itself.
    target, foil: ids as they continue the clean prompt, without special tokens.
    unknown: the tokenizer knows the target or the foil only as its unknown token.
    """

    clean: int
    corrupt: int | None
    target: tuple[int, ...]
    foil: tuple[int, ...]
    unknown: bool

    @property
    def begin_alike(self) -> bool:
        """Whether target and foil begin with one token, so that their logits cannot differ."""
        return self.target[:1] == self.foil[:1]


def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, a folder that holds a tokenizer only, a hub id, or "tiny".

    Raises BadInput as `whence.models.load.load_tokenizer` does.
    """
    from whence.models.load import load_tokenizer

    folder = Path(name).expanduser()
    alone = folder.is_dir() and not (folder / "config.json").is_file()
    if not alone or not any((folder / file).is_file() for file in TOKENIZER_FILES):
        return load_tokenizer(name)
    from transformers import AutoTokenizer

    from whence.models.hub import advised

    with advised(str(folder), None):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder.resolve()), local_files_only=True
        )
    return tokenizer


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of what the tokenizer does, wherever it was loaded from."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    told = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab())
    return hashlib.sha256(told.encode()).hexdigest()


def row_tokens(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[RowTokens]:
    """Count the tokens of every row."""
    lengths = _lengths([row.clean for row in rows] + [row.corrupt or "" for row in rows], tokenizer)
    found = []
    for at, row in enumerate(rows):
        target, foil = (
            continuation_ids(tokenizer, row.clean, text) for text in (row.target, row.foil)
        )
        found.append(
            RowTokens(
                clean=lengths[at],
                corrupt=None if row.corrupt is None else lengths[len(rows) + at],
                target=target,
                foil=foil,
                unknown=tokenizer.unk_token_id in target + foil,
            )
        )
    return found


def _lengths(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [len(ids) for ids in tokenizer(list(texts))["input_ids"]]
