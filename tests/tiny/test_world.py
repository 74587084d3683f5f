"""The world is closed, its things can be told apart, and clues that identify do."""

from __future__ import annotations

from itertools import combinations

from whence.tiny.world import ATTRIBUTES, EVALUATED, KNOWN, NEWCOMERS, identifying_clues, make_world


def test_world_is_the_same_every_time_and_differs_by_seed() -> None:
    make_world.cache_clear()
    first = make_world(0)
    make_world.cache_clear()
    assert make_world(0) == first
    assert make_world(1) != first


def test_things_have_distinct_names_and_differ_in_three_attributes() -> None:
    world = make_world(0)
    assert (len(world.known), len(world.newcomers)) == (KNOWN, NEWCOMERS)
    assert len(world.evaluated) == EVALUATED
    assert len({thing.name for thing in world.things}) == KNOWN + NEWCOMERS
    for one, other in combinations(world.things, 2):
        assert sum(one[a] != other[a] for a in ATTRIBUTES) >= 3


def test_identifying_clues_fit_one_thing_by_brute_force() -> None:
    world = make_world(0)
    for thing in world.things[:20]:
        found = set(identifying_clues(world, thing, 3))
        for chosen in combinations(ATTRIBUTES, 3):
            fitting = [t for t in world.things if all(t[a] == thing[a] for a in chosen)]
            assert (fitting == [thing]) == (chosen in found)
