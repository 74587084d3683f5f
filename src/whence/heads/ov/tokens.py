"""Tokens as text that can be read, and compared across tokenizers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

TopTokens = list[dict[str, Any]]
"""`{"token", "id", "value"}`, the most extreme first."""


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The text of one token, its leading space included, whichever way the tokenizer marks it.

    A token that is no text by itself (half a character) is given as the tokenizer spells it.
    """
    piece = tokenizer.convert_ids_to_tokens(token)
    if piece is None:
        return f"<{token}>"
    piece = str(piece)
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    if piece.startswith("▁") and not text.startswith(" "):
        text = f" {text}"
    return piece if not text or "\ufffd" in text else text


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the tokens and their ids: equal hashes mean that logits are of the same tokens."""
    pairs = sorted((int(at), str(piece)) for piece, at in tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def extremes(values: Tensor, k: int, tokenizer: PreTrainedTokenizerBase) -> dict[str, TopTokens]:
    """The k highest and the k lowest of values [vocab]: `{"top": …, "bottom": …}`.

    Rows of a padded vocabulary, which no token of the tokenizer has, are passed over.
    """
    own = values[: len(tokenizer)]
    k = min(k, len(own))
    return {
        name: [
            {"token": token_text(tokenizer, at), "id": at, "value": float(own[at])}
            for at in own.topk(k, largest=name == "top").indices.tolist()
        ]
        for name in ("top", "bottom")
    }


def listed(tokens: Sequence[dict[str, Any]], most: int) -> str:
    """Tokens in a cell of a table, quoted so that spaces can be seen."""
    return " ".join(repr(one["token"]) for one in tokens[:most])
