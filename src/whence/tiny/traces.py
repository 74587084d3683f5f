"""Reasoning traces whose decisive and decoy sentences are known.

A problem counts shells of three things. Each trace restates, computes and wanders; a sentence is
`decisive` when the answer follows from it, `decoy` when it could be left out.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from whence.tiny.world import World

WANDERINGS = (
    "Let me think about this slowly.",
    "Shells are found by the sea.",
    "I should read the problem again.",
    "The weather does not matter here.",
)


@dataclass(frozen=True)
class Sentence:
    text: str
    decisive: bool


@dataclass(frozen=True)
class Trace:
    """A problem, its reasoning sentence by sentence, and the answer."""

    problem: str
    sentences: tuple[Sentence, ...]
    answer: str

    @property
    def text(self) -> str:
        reasoning = " ".join(sentence.text for sentence in self.sentences)
        return f"Problem: {self.problem}\nReasoning: {reasoning}\nAnswer: {self.answer}"

    def row(self, index: int) -> dict[str, Any]:
        """As a JSONL row: `problem_id, problem, sentences, text, answer`."""
        return {"problem_id": f"trace-{index:05d}", **asdict(self), "text": self.text}


def make_trace(world: World, rng: random.Random) -> Trace:
    """One trace: a first amount, a second that builds on it, a third that nobody asks about."""
    first, second, third = (thing.name for thing in rng.sample(world.things, 3))
    start, more, idle = rng.randint(2, 30), rng.randint(2, 20), rng.randint(2, 30)
    steps = [
        Sentence(f"The {first} has {start} shells.", True),
        Sentence(f"The {second} has {start} + {more} = {start + more} shells.", True),
    ]
    together = rng.random() < 0.5
    if together:
        total = start + start + more
        steps.append(Sentence(f"So both have {start} + {start + more} = {total} shells.", True))
        question, answer = f"How many shells have the {first} and the {second}?", total
    else:
        question, answer = f"How many shells has the {second}?", start + more
    decoys = [Sentence(f"The {third} has {idle} shells.", False)]
    decoys += [Sentence(text, False) for text in rng.sample(WANDERINGS, rng.randint(1, 3))]
    for decoy in decoys:
        steps.insert(rng.randint(0, len(steps)), decoy)
    given = [
        f"The {first} has {start} shells.",
        f"The {second} has {more} more than the {first}.",
        f"The {third} has {idle} shells.",
    ]
    return Trace(" ".join([*given, question]), tuple(steps), str(answer))
