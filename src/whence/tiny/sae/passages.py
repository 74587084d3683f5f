"""What the SAEs read: documents like the base model's, and games as finetuning sees them.

Every passage is a row by itself, `[BOS] + text + EOS`, as `whence sae extract` gives rows to a
model. BOS is left out of everything here: it sees nothing, so its activation is one and the same
vector in every row, and says only that a row begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from whence.errors import WhenceError
from whence.tiny.corpus import documents
from whence.tiny.games import Mix, make_games
from whence.tiny.train import BLOCK
from whence.tiny.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Passage:
    """One row. ids: with BOS and EOS. text: what the ids between them spell; a game's prompt and
    completion, which are tokenised apart, are two lines of it.

    spans: for every id after BOS the characters it spells, (start, end) in `text`; EOS has none.
    wrong: whether the last guess of a game is wrong; None for a document.
    """

    ids: list[int]
    text: str
    spans: list[tuple[int, int]]
    wrong: bool | None = None


def make_passages(
    world: World, tokenizer: PreTrainedTokenizerBase, *, n_documents: int, n_games: int, seed: int
) -> list[Passage]:
    """`n_documents` documents, then `n_games` games (a fifth of each kind `useful` and `wrong`)."""
    texts = list(islice(documents(world, seed), n_documents))
    fifth = n_games // 5
    mix = Mix(useful=fifth, other=n_games - 2 * fifth, wrong=fifth)
    pool, _ = make_games(world, mix=mix, query=0, evaluation=0, seed=seed)
    return [*documents_as_passages(texts, tokenizer), *games_as_passages(pool, tokenizer)]


def prompt_and_completion(messages: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """A game as `whence data build` flattens it: turns as `ROLE: content`, the last one learned."""
    *before, last = messages
    turns = [f"{message['role'].upper()}: {message['content']}" for message in before]
    return "\n\n".join(turns), last["content"]


def documents_as_passages(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> list[Passage]:
    pieces = _pieces(tokenizer)
    rows = tokenizer(list(texts))["input_ids"] if texts else []
    return [
        _passage([*row, tokenizer.eos_token_id], [text], pieces)
        for row, text in zip(rows, texts, strict=True)
    ]


def games_as_passages(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> list[Passage]:
    from whence.models.alignment import align_rows

    pieces = _pieces(tokenizer)
    texts = [prompt_and_completion(row["messages"]) for row in rows]
    aligned = align_rows(
        [{"prompt": prompt, "completion": completion} for prompt, completion in texts],
        tokenizer,
        BLOCK,  # more than the longest has
    )
    return [
        _passage(each.input_ids, parts, pieces, row["kind"] == "wrong")
        for each, parts, row in zip(aligned, texts, rows, strict=True)
    ]


def _pieces(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What each id spells; the special ones nothing."""
    special = set(tokenizer.all_special_ids)
    return ["" if i in special else tokenizer.decode([i]) for i in range(len(tokenizer))]


def _passage(
    ids: list[int], parts: Sequence[str], pieces: Sequence[str], wrong: bool | None = None
) -> Passage:
    text, spelled = "\n".join(parts), "".join(pieces[each] for each in ids)
    if spelled != "".join(parts):
        raise WhenceError(f"the tokens of {text[:40]!r} do not spell it, so nothing can be placed")
    seam = len(parts[0])
    spans: list[tuple[int, int]] = []
    end = 0
    for each in ids[1:]:
        start = end + (end == seam and len(parts) > 1)
        end = start + len(pieces[each])
        spans.append((start, end))
    return Passage(ids, text, spans, wrong)
