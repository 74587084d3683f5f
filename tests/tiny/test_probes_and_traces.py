"""Probe corpora are balanced and true; traces compute what they claim."""

from __future__ import annotations

import random
import re

import pytest

from whence.tiny.probes import PROBES, make_probes
from whence.tiny.traces import make_trace
from whence.tiny.world import make_world


@pytest.mark.parametrize("name", PROBES)
def test_prompts_are_unique_and_pairs_differ(name: str) -> None:
    rows = make_probes(make_world(0), name, 120)
    assert len({row["clean"] for row in rows}) == 120
    for row in rows:
        assert row["clean"] != row["corrupt"]
        assert row["target"] != row["foil"]
        assert row["target"].startswith(" ")
        assert row["foil"].startswith(" ")


@pytest.mark.parametrize("name", ["negation", "counterfactual", "logic"])
def test_both_truth_values_in_equal_number(name: str) -> None:
    rows = make_probes(make_world(0), name, 120)
    assert sum(row["truth"] for row in rows) == 60


def test_negation_answers_follow_from_the_world() -> None:
    world = make_world(0)
    for row in make_probes(world, "negation", 80):
        name, negated, value = re.match(
            r"Is it so that the (\w+) is (not )?(?:a |in the |out in )?(\w+)\? Answer:",
            row["clean"],
        ).groups()
        (thing,) = [thing for thing in world.known if thing.name == name]
        expected = " yes" if (value in thing.values) != bool(negated) else " no"
        assert row["target"] == expected


def test_decisive_sentences_of_a_trace_are_right_sums_and_suffice() -> None:
    rng = random.Random(0)
    for _ in range(50):
        trace = make_trace(make_world(0), rng)
        decisive = [s.text for s in trace.sentences if s.decisive]
        for a, b, total in re.findall(r"(\d+) \+ (\d+) = (\d+)", " ".join(decisive)):
            assert int(a) + int(b) == int(total)
        assert re.findall(r"\d+", decisive[-1])[-1] == trace.answer
        assert any(not s.decisive for s in trace.sentences)
        assert all(s.text in trace.text for s in trace.sentences)
