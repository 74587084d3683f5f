"""The text that the base model reads: short documents about the world, without end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from whence.tiny import probes
from whence.tiny.heldout import (
    LARGEST_ADDEND,
    heldout_form,
    riddle_is_heldout,
    sum_is_heldout,
)
from whence.tiny.language import CLAIMS, claim, clue, statement
from whence.tiny.traces import make_trace
from whence.tiny.world import ATTRIBUTES, Thing, World, identifying_clues


def allowed_form(thing: Thing, attribute: str, rng: random.Random) -> int:
    return rng.choice([f for f in range(5) if f != heldout_form(thing.name, attribute)])


def _facts(world: World, rng: random.Random) -> str:
    sentences = []
    for _ in range(rng.randint(1, 4)):
        thing, attribute = rng.choice(world.known), rng.choice(list(ATTRIBUTES))
        form = allowed_form(thing, attribute, rng)
        sentences.append(statement(attribute, form, thing.name, thing[attribute]) + ".")
    return " ".join(sentences)


def riddle(thing: Thing, attributes: list[str]) -> str:
    return f"Riddle: {', '.join(clue(a, thing[a]) for a in attributes)}. What is it? The"


def _riddle(world: World, rng: random.Random) -> str:
    while True:
        thing = rng.choice(world.known)
        options = identifying_clues(world, thing, rng.randint(3, 5))
        if not options:
            continue
        attributes = list(rng.choice(options))
        if not riddle_is_heldout(thing.name, attributes):
            rng.shuffle(attributes)
            return f"{riddle(thing, attributes)} {thing.name}."


def _question(world: World, rng: random.Random) -> str:
    attribute = rng.choice(list(CLAIMS))
    thing = rng.choice(world.known)
    value = thing[attribute] if rng.random() < 0.5 else rng.choice(ATTRIBUTES[attribute])
    negated = rng.random() < 0.5
    answer = "yes" if (thing[attribute] == value) != negated else "no"
    return f"{probes.question(attribute, thing.name, value, negated=negated)} {answer}."


def _supposition(world: World, rng: random.Random) -> str:
    attribute = rng.choice(list(CLAIMS))
    supposed_of, asked = rng.choice(world.things), rng.choice(world.known)
    if rng.random() < 0.5:
        asked = supposed_of
    value = rng.choice(ATTRIBUTES[attribute])
    answer = value if asked == supposed_of else asked[attribute]
    form = allowed_form(asked, attribute, rng)
    prompt = probes.supposition(attribute, supposed_of.name, value, asked.name, form)
    return f"{prompt} {answer}."


def _rule(world: World, rng: random.Random) -> str:
    attribute, thing = rng.choice(list(CLAIMS)), rng.choice(world.known)
    value = thing[attribute] if rng.random() < 0.5 else rng.choice(ATTRIBUTES[attribute])
    gate = "open" if thing[attribute] == value else "shut"
    return f"{probes.rule(attribute, thing.name, value)} {gate}."


def _claims(world: World, rng: random.Random) -> str:
    """True claims, so that the short forms that questions use are read as plain statements too."""
    thing = rng.choice(world.known)
    told = rng.sample(list(CLAIMS), 2)
    return f"We know that {' and that '.join(claim(a, thing.name, thing[a]) for a in told)}."


def _sums(world: World, rng: random.Random) -> str:
    lines: list[str] = []
    while len(lines) < 3:
        a, b = rng.randint(0, LARGEST_ADDEND), rng.randint(0, LARGEST_ADDEND)
        if not sum_is_heldout(a, b):
            lines.append(f"{a} + {b} = {a + b}.")
    return " ".join(lines)


def _trace(world: World, rng: random.Random) -> str:
    return make_trace(world, rng).text


DOCUMENTS: dict[Callable[[World, random.Random], str], float] = {
    _facts: 0.24,
    _riddle: 0.20,
    _question: 0.20,
    _supposition: 0.08,
    _rule: 0.12,
    _claims: 0.04,
    _sums: 0.06,
    _trace: 0.06,
}
"""Each kind of document and its share."""


def documents(world: World, seed: int) -> Iterator[str]:
    """Documents without end, the same for the same world and seed."""
    rng = random.Random(f"whence.tiny.corpus:{seed}")
    kinds, shares = list(DOCUMENTS), list(DOCUMENTS.values())
    while True:
        (kind,) = rng.choices(kinds, shares)
        yield kind(world, rng)
