"""What players are told: opening prompts of both, and what is said when a reply will not do."""

from __future__ import annotations

from collections.abc import Sequence

from whence.data.games.rules import Violation
from whence.data.instances import Instance, TabooExperiment

DESCRIBER_PROMPT = """\
We play a word guessing game together. You describe a target word, and another player has $N$ \
tries to guess it. You both win if the word is guessed.

Rules:
1. Answer in the form: CLUE: <some text>. The other player's guesses begin with GUESS.
2. The target word, parts of it and other forms of it must not occur in a clue.
3. Neither must any of the related words below, nor other forms of them.
If a clue breaks these rules, you both lose.

The target word is:

$TARGET_WORD$

Related words are:

$REL_WORD$

Keep clues short and to the point."""

GUESSER_PROMPT = """\
We play a word guessing game together. Another player describes a target word, and you have $N$ \
tries to guess it. You both win if you guess it. After each wrong try comes another description, \
which begins with CLUE.

Answer with one word in the form: GUESS: <a word>"""


def describer_opening(experiment: TabooExperiment, instance: Instance, max_turns: int) -> str:
    """The describer's first message, from the experiment's template or the built-in one."""
    template = experiment.describer_prompt or DESCRIBER_PROMPT
    related = "\n".join(f"- {word}" for word in instance.related_words)
    # The words last: a template's placeholder in a word must stay as it is.
    filled = template.replace("$N$", str(max_turns))
    before, mark, after = filled.partition("$TARGET_WORD$")
    word = instance.target_word if mark else ""
    return before.replace("$REL_WORD$", related) + word + after.replace("$REL_WORD$", related)


def guesser_opening(experiment: TabooExperiment, clue: str, max_turns: int) -> str:
    """The guesser's first message, with the clue where the template says `$CLUE$`, else below."""
    template = (experiment.guesser_prompt or GUESSER_PROMPT).replace("$N$", str(max_turns))
    if "$CLUE$" in template:
        return template.replace("$CLUE$", clue)
    return f"{template}\n\n{clue}"


def clue_repair(found: Sequence[Violation]) -> str:
    """What the describer is told about a clue that breaks the rules."""
    named = ", ".join(
        f'"{one.word}"' + ("" if one.how == "same word" else f' ({one.how}: "{one.forbidden}")')
        for one in found
    )
    return (
        f"This clue breaks the rules, because of {named}. Give another description, without the "
        "target word, the related words and other forms of them. Answer in the form: "
        "CLUE: <some text>"
    )


EMPTY_CLUE = "There was no clue in your answer. Answer in the form: CLUE: <some text>"
EMPTY_GUESS = (
    "There was no single word in your answer. Answer with one word in the form: GUESS: <a word>"
)


def placeholder_repair(word: str) -> str:
    """What the guesser is told whose guess is the form's own placeholder."""
    return (
        f'"{word}" only repeats the form of the answer. Say which word you think of, in the form: '
        "GUESS: <a word>"
    )
