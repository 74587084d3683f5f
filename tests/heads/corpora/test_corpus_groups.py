"""Rows that share prompts are tied, by both roles where the corpus allows it."""

from __future__ import annotations

import random

from whence.heads.corpora.groups import group_rows
from whence.heads.corpora.rows import Row


def rows_of(pairs: list[tuple[str, str]]) -> list[Row]:
    return [Row(at, clean, corrupt, " x", " y") for at, (clean, corrupt) in enumerate(pairs)]


def test_a_row_and_its_mirror_are_one_group() -> None:
    pairs = [pair for n in range(20) for pair in ((f"a{n}", f"b{n}"), (f"b{n}", f"a{n}"))]
    groups, tied_by = group_rows(rows_of(pairs))
    assert tied_by == "clean and corrupt prompts"
    assert [group.rows for group in groups] == [(2 * n, 2 * n + 1) for n in range(20)]
    assert all(group.prompts == 2 for group in groups)


def test_prompts_paired_every_which_way_are_tied_by_the_clean_one_alone() -> None:
    names = [f"p{n}" for n in range(6)]
    groups, tied_by = group_rows(rows_of([(a, b) for a in names for b in names if a != b]))
    assert tied_by == "clean prompts"
    assert [len(group.rows) for group in groups] == [5] * 6


def test_groups_are_connected_components() -> None:
    """Against breadth-first search on random graphs."""
    for seed in range(30):
        rng = random.Random(seed)
        pairs = [(f"c{rng.randrange(60)}", f"k{rng.randrange(400)}") for _ in range(80)]
        groups, tied_by = group_rows(rows_of(pairs))
        reach = {clean: {clean} for clean, _ in pairs}
        if tied_by == "clean and corrupt prompts":
            for start in reach:
                grew = True
                while grew:
                    touched = {k for c, k in pairs if c in reach[start]}
                    wider = {c for c, k in pairs if k in touched}
                    grew = not wider <= reach[start]
                    reach[start] |= wider
        expected = {
            tuple(at for at, (c, _) in enumerate(pairs) if c in reached)
            for reached in reach.values()
        }
        assert {group.rows for group in groups} == expected


def test_rows_without_corrupt_prompts() -> None:
    rows = [Row(0, "a", None, " x", " y"), Row(1, "b", None, " x", " y"), Row(2, "a", None, "", "")]
    groups, _ = group_rows(rows)
    assert [group.rows for group in groups] == [(0, 2), (1,)]
    assert groups[0].answers == ("", " x")
