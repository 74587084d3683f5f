"""Greedy answers to word games, and whether they are right."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.models.alignment import prompt_ids
from whence.models.sampling import GREEDY, continuations

if TYPE_CHECKING:
    import pandas as pd

    from whence.models.load import Loaded

WON = frozenset({"success", "won", "win"})
LOST = frozenset({"failure", "fail", "failed", "loss", "lose", "lost", "aborted"})

GUESS = re.compile(r"GUESS\s*:[ \t]*([^\r\n]*)", re.IGNORECASE)


def guess_words(
    loaded: Loaded,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 16,
    max_length: int = 2048,
    batch_size: int = 32,
    label: str = "answers",
) -> list[str]:
    """Greedy continuations of `prompts`, in their order, without special tokens.

    Prompts are tokenised as for training, sorted by length, padded on the left under an attention
    mask and decoded with a key-value cache until EOS. Greedy means greedy: sampling and penalties
    that the model's own generation settings ask for are off, so an answer does not depend on what
    else is in its batch.
    """
    from whence.models.batching import run_batches, token_batches
    from whence.runs.progress import Progress

    model, tokenizer = loaded.model, loaded.tokenizer
    room = min(max_length, tokenizer.model_max_length) - max_new_tokens
    if room < 1:
        raise BadInput(
            f"--max-length {max_length} leaves no room beside --max-new-tokens {max_new_tokens}"
        )
    rows = [
        prompt.cut(room) or [tokenizer.eos_token_id] for prompt in prompt_ids(prompts, tokenizer)
    ]

    def answer(indices: Sequence[int]) -> list[str]:
        written = continuations(
            loaded,
            [rows[i] for i in indices],
            [GREEDY] * len(indices),
            max_new_tokens=max_new_tokens,
        )
        texts: list[str] = tokenizer.batch_decode(written, skip_special_tokens=True)
        return texts

    answers = [""] * len(rows)
    was_training = model.training
    model.eval()
    batches = token_batches([len(row) for row in rows], batch_size * max_length, batch_size)
    try:
        with Progress(label, total=len(rows)) as progress:
            for indices, texts in run_batches(batches, answer):
                for index, text in zip(indices, texts, strict=True):
                    answers[index] = text
                progress.advance(len(indices))
    finally:
        model.train(was_training)
    return answers


def parse_guess(text: str) -> str | None:
    """What stands behind the first `GUESS:` on its line, case and punctuation gone; else None."""
    found = GUESS.search(text)
    word = plain_word(found.group(1)) if found else ""
    return word or None


def is_correct(text: str, target: str) -> bool:
    """Whether an answer names the target: its guess, or without `GUESS:` its first line, is it.

    Case, punctuation and the number of spaces do not count; anything besides the word does.
    """
    guess = parse_guess(text)
    if guess is None:
        lines = [line for line in text.splitlines() if line.strip()]
        guess = plain_word(lines[0]) if lines else ""
    return bool(guess) and guess == plain_word(target)


def target_words(rows: pd.DataFrame) -> list[str]:
    """The word that each row asks for: column `target_word`, else the guess of its completion.

    Raises BadInput naming the row that has neither, and one whose column `outcome` says that the
    game was lost: its last guess is a wrong word.
    """
    given, outcomes = (
        rows[name].tolist() if name in rows.columns else [None] * len(rows)
        for name in ("target_word", "outcome")
    )
    targets = []
    for row_id, word, outcome, completion in zip(
        rows["row_id"], given, outcomes, rows["completion"], strict=True
    ):
        known = isinstance(word, str) and plain_word(word)
        target = word if known else parse_guess(completion)
        if not known and target is not None and _is_lost(outcome):
            raise BadInput(
                f'row {row_id}: has no target word, and its last guess "{target}" is not it, as '
                f"the game's outcome is {outcome}; expected a column target_word (whence data "
                "build --preset playpen --instances FILE writes it)"
            )
        if target is None:
            raise BadInput(
                f'row {row_id}: no target word; expected a column target_word or "GUESS: word" in '
                "the completion"
            )
        targets.append(target)
    return targets


def is_won(outcome: str | None) -> bool:
    """Whether an outcome, as data sets of games write it, is that the game was won."""
    return outcome is not None and outcome.strip().casefold() in WON


def _is_lost(outcome: object) -> bool:
    return isinstance(outcome, str) and outcome.strip().casefold() in LOST


def plain_word(text: str) -> str:
    """Case folded, punctuation and symbols gone, single spaces."""
    kept = (
        " " if unicodedata.category(char)[0] in "PSZC" else char
        for char in unicodedata.normalize("NFKC", text).casefold()
    )
    return " ".join("".join(kept).split())
