"""The world itself: things, their attributes, and which of them the base model has read about."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from types import MappingProxyType

ATTRIBUTES = MappingProxyType(
    {
        "kind": ("bird", "fish", "tree", "tool", "gem", "beast", "fruit", "boat"),
        "colour": (
            "red", "blue", "green", "grey", "white", "black", "gold", "brown", "pink", "teal",
        ),
        "place": (
            "marsh", "forest", "desert", "river", "cave", "island",
            "valley", "harbour", "village", "tower", "meadow", "glacier",
        ),
        "season": ("spring", "summer", "autumn", "winter"),
        "mark": (
            "stripes", "spots", "a hook", "a crest", "a ring", "a scar",
            "a bell", "a thorn", "a star", "a tail", "a shell", "a crack",
        ),
        "friend": (
            "baker", "miller", "sailor", "hunter", "weaver", "doctor",
            "painter", "farmer", "singer", "mason",
        ),
    }
)  # fmt: skip
"""Every attribute and the values it can take."""

KNOWN = 120
NEWCOMERS = 60
EVALUATED_KINDS = ("bird", "fish")
EVALUATED = 12


@dataclass(frozen=True)
class Thing:
    """One thing of the world: an invented noun and one value for each attribute."""

    name: str
    values: tuple[str, ...]

    def __getitem__(self, attribute: str) -> str:
        return self.values[list(ATTRIBUTES).index(attribute)]


@dataclass(frozen=True)
class World:
    """All things. `known` are described in the base model's text; `newcomers` are only named there.

    What a newcomer is like can therefore be learned from games alone: that is what makes a training
    row about a newcomer useful, by construction.
    """

    known: tuple[Thing, ...]
    newcomers: tuple[Thing, ...]

    @property
    def things(self) -> tuple[Thing, ...]:
        return self.known + self.newcomers

    @property
    def evaluated(self) -> tuple[Thing, ...]:
        """The newcomers on which games are evaluated; more of their kinds are not."""
        return self.newcomers[:EVALUATED]

    def identifies(self, clues: Sequence[tuple[str, str]]) -> bool:
        """Whether the clues, pairs of (attribute, value), fit exactly one thing of the world."""
        fitting = sum(all(thing[a] == v for a, v in clues) for thing in self.things)
        return fitting == 1


def _names(count: int, rng: random.Random) -> list[str]:
    """Pronounceable nouns of two syllables, no two of them differing in one letter only."""
    onsets = "b br d dr f fl g gr k kl l m n p pl r s sk sn t tr v w z".split()
    vowels = "a e i o u".split()
    codas = "b d g k l lm lt m n nd nk p r rn rt sk st t v".split()
    names: list[str] = []
    while len(names) < count:
        name = rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas)
        name += rng.choice(("a", "o", "i", "u", "en", "ok", "il"))
        close = any(
            len(name) == len(other) and sum(x != y for x, y in zip(name, other, strict=True)) < 2
            for other in names
        )
        if len(name) >= 5 and not close:
            names.append(name)
    return names


@cache
def make_world(seed: int = 0) -> World:
    """The world of this seed: `KNOWN` + `NEWCOMERS` things, any two differing in 3+ attributes."""
    rng = random.Random(f"whence.tiny.world:{seed}")
    kinds = ATTRIBUTES["kind"]
    others = [kind for kind in kinds if kind not in EVALUATED_KINDS]
    evaluated = [EVALUATED_KINDS[i % len(EVALUATED_KINDS)] for i in range(NEWCOMERS // 2)]
    newcomer_kinds = evaluated + [
        others[i % len(others)] for i in range(NEWCOMERS - len(evaluated))
    ]
    wanted = [kinds[i % len(kinds)] for i in range(KNOWN)] + newcomer_kinds
    things: list[Thing] = []
    for name, kind in zip(_names(len(wanted), rng), wanted, strict=True):
        while True:
            rest = (rng.choice(ATTRIBUTES[a]) for a in list(ATTRIBUTES)[1:])
            values = (kind, *rest)
            if all(sum(x != y for x, y in zip(values, t.values, strict=True)) >= 3 for t in things):
                things.append(Thing(name, values))
                break
    return World(known=tuple(things[:KNOWN]), newcomers=tuple(things[KNOWN:]))


@cache
def identifying_clues(world: World, thing: Thing, size: int) -> tuple[tuple[str, ...], ...]:
    """Every set of `size` attributes whose values point to this thing and to no other."""
    return tuple(
        chosen
        for chosen in combinations(ATTRIBUTES, size)
        if world.identifies([(a, thing[a]) for a in chosen])
    )
