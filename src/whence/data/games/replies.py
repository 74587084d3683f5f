"""What players said: the clue or the guess in a reply, however it is dressed."""

from __future__ import annotations

import re
import unicodedata

from whence.data.evaluate.guesses import plain_word

THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
THOUGHT_END = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
ARTICLES = frozenset({"a", "an", "the", "to"})
DRESSING = ' \t*_`"“”«»<>'


def read_clue(reply: str) -> str:
    """The clue in a describer's reply, or "" when there is none.

    Thoughts (`<think>`) are dropped. The clue is what stands behind the first `CLUE:` on its line
    (or on the next, where that line ends there), else the first line with anything on it.
    """
    clue = _said(reply, "CLUE")
    return clue if WORD.search(clue) and clue.casefold() != "some text" else ""


def read_guess(reply: str, words: int = 1) -> str:
    """The guessed word in a guesser's reply, or "" when there is none.

    Found as a clue is, behind `GUESS:`. An article before the word is dropped; what comes behind it
    after punctuation ("winter (the season)") is no part of it. More than `words` words in a row are
    no guess but a sentence.
    """
    said = _said(reply, "GUESS")
    found = list(WORD.finditer(said))
    row = []
    for i, match in enumerate(found):
        if i and said[found[i - 1].end() : match.start()].strip(DRESSING):
            break
        row.append(match.group())
    if len(row) > 1 and row[0].casefold() in ARTICLES:
        row = row[1:]
    return " ".join(row) if 0 < len(row) <= words else ""


def same_word(guess: str, target: str) -> bool:
    """Whether a guess is the target, by the rule of the word judge: case and punctuation aside."""
    return bool(plain_word(guess)) and plain_word(guess) == plain_word(target)


def _said(reply: str, label: str) -> str:
    """What follows the first `LABEL:` on its line or the next; else the first line that is not
    blank; outer stars, quotes and brackets gone, letters and their accents in one (NFC).
    """
    text = THOUGHT_END.sub("", THOUGHT.sub("", unicodedata.normalize("NFC", reply))).strip()
    named = re.search(rf"\b{label}\b[*_`\"]*\s*[:：]([^\r\n]*)(?:\s*\n([^\r\n]*))?", text, re.I)
    if named:
        return named.group(1).strip(DRESSING) or (named.group(2) or "").strip(DRESSING)
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0].strip(DRESSING) if lines else ""
