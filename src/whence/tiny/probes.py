"""Probe corpora: prompts in pairs that differ in one thing, with a target and a foil.

Rows are `{"clean", "corrupt", "target", "foil", "truth"}`: the clean prompt's next token is the
target, the corrupt prompt's is the foil. Prompts are unique and truth values mixed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from whence.errors import BadInput
from whence.tiny.language import CLAIMS, claim, prompt_of
from whence.tiny.world import ATTRIBUTES, Thing, World

ProbeRow = dict[str, Any]
MOST_IN_VAIN = 20_000
"""Draws without a new prompt after which there is none left to find."""
_ONE_TOKEN = ("kind", "colour", "place", "season", "friend")


def _fact(world: World, rng: random.Random) -> ProbeRow:
    attribute, form = rng.choice(_ONE_TOKEN), rng.randrange(5)
    one, other = _differing(world, attribute, rng)
    return {
        "clean": prompt_of(attribute, form, one.name),
        "corrupt": prompt_of(attribute, form, other.name),
        "target": f" {one[attribute]}",
        "foil": f" {other[attribute]}",
        "truth": True,
    }


def question(attribute: str, name: str, value: str, *, negated: bool) -> str:
    return f"Is it so that {claim(attribute, name, value, negated=negated)}? Answer:"


def _negation(world: World, rng: random.Random) -> ProbeRow:
    attribute = rng.choice(list(CLAIMS))
    thing, other = _differing(world, attribute, rng)
    holds, negated = rng.random() < 0.5, rng.random() < 0.5
    value = thing[attribute] if holds else other[attribute]
    answers = (" yes", " no") if holds != negated else (" no", " yes")
    return {
        "clean": question(attribute, thing.name, value, negated=negated),
        "corrupt": question(attribute, thing.name, value, negated=not negated),
        "target": answers[0],
        "foil": answers[1],
        "truth": holds,
    }


def supposition(attribute: str, name: str, value: str, asked: str, form: int) -> str:
    return f"Suppose that {claim(attribute, name, value)}. {prompt_of(attribute, form, asked)}"


def _counterfactual(world: World, rng: random.Random) -> ProbeRow:
    attribute, form = rng.choice(list(CLAIMS)), rng.randrange(5)
    thing, other = _differing(world, attribute, rng)
    supposed = rng.choice([v for v in ATTRIBUTES[attribute] if v != thing[attribute]])
    holds = rng.random() < 0.5
    about_it = supposition(attribute, thing.name, supposed, thing.name, form)
    about_other = supposition(attribute, other.name, supposed, thing.name, form)
    texts, answers = (about_it, about_other), (f" {supposed}", f" {thing[attribute]}")
    if holds:
        texts, answers = texts[::-1], answers[::-1]
    return {
        "clean": texts[0],
        "corrupt": texts[1],
        "target": answers[0],
        "foil": answers[1],
        "truth": holds,
    }


def rule(attribute: str, name: str, value: str) -> str:
    return f"The gate is open if {claim(attribute, name, value)}, and shut if not. The gate is"


def _logic(world: World, rng: random.Random) -> ProbeRow:
    attribute = rng.choice(list(CLAIMS))
    thing, other = _differing(world, attribute, rng)
    holds = rng.random() < 0.5
    value = thing[attribute] if holds else other[attribute]
    against = other[attribute] if holds else thing[attribute]
    answers = (" open", " shut") if holds else (" shut", " open")
    return {
        "clean": rule(attribute, thing.name, value),
        "corrupt": rule(attribute, thing.name, against),
        "target": answers[0],
        "foil": answers[1],
        "truth": holds,
    }


def _differing(world: World, attribute: str, rng: random.Random) -> tuple[Thing, Thing]:
    thing = rng.choice(world.known)
    return thing, rng.choice([t for t in world.known if t[attribute] != thing[attribute]])


PROBES: dict[str, Callable[[World, random.Random], ProbeRow]] = {
    "facts": _fact,
    "negation": _negation,
    "counterfactual": _counterfactual,
    "logic": _logic,
}


def make_probes(world: World, name: str, count: int, seed: int = 0) -> list[ProbeRow]:
    """`count` rows of one corpus with distinct clean prompts, both truth values in equal number.

    Facts have one truth value only; the other corpora have two. Raises BadInput where the world has
    fewer distinct prompts than that.
    """
    rng = random.Random(f"whence.tiny.probes:{name}:{seed}")
    rows: dict[str, ProbeRow] = {}
    wanted = (
        {True: count, False: 0} if name == "facts" else {True: (count + 1) // 2, False: count // 2}
    )
    in_vain = 0
    while len(rows) < count:
        row = PROBES[name](world, rng)
        if wanted[row["truth"]] and row["clean"] not in rows:
            rows[row["clean"]] = row
            wanted[row["truth"]] -= 1
            in_vain = 0
        elif (in_vain := in_vain + 1) > MOST_IN_VAIN:
            raise BadInput(
                f"{name}: the tiny world has no {count:,} distinct prompts with both truth values "
                f"in equal number; after {len(rows):,} no other was found"
            )
    return list(rows.values())
