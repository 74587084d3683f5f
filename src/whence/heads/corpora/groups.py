"""Rows that belong into one part of a split, because they show the model the same prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from whence.heads.corpora.rows import Row

KeptTogether = Literal["clean and corrupt prompts", "clean prompts"]

LARGEST_SHARE = 0.05
"""Share of the prompts that one group may hold before corrupt prompts no longer tie rows."""


@dataclass(frozen=True)
class Group:
    """rows: positions, ascending. prompts: how many distinct clean ones. answers: their targets."""

    rows: tuple[int, ...]
    prompts: int
    answers: tuple[str, ...]


def group_rows(rows: Sequence[Row]) -> tuple[list[Group], KeptTogether]:
    """Groups of rows, and what ties rows into one.

    Rows with one clean prompt are always tied. Where the corpus allows it, so are rows of which one
    has as its corrupt prompt what another has as clean or corrupt: then no prompt in either role is
    in two parts. In a corpus of few prompts paired every which way that would tie everything into
    one group; there the clean prompts alone count.
    """
    whole = _tied(rows, lambda row: (row.clean, row.corrupt or row.clean))
    distinct = len({row.clean for row in rows})
    if max(group.prompts for group in whole) <= max(2, LARGEST_SHARE * distinct):
        return whole, "clean and corrupt prompts"
    return _tied(rows, lambda row: (row.clean, row.clean)), "clean prompts"


def _tied(rows: Sequence[Row], ends: Callable[[Row], tuple[str, str]]) -> list[Group]:
    """Connected components of the graph whose edges are `ends` of each row, by first row."""
    parent: dict[str, str] = {}

    def root(prompt: str) -> str:
        while parent.setdefault(prompt, prompt) != prompt:
            parent[prompt] = prompt = parent[parent[prompt]]
        return prompt

    for row in rows:
        one, other = ends(row)
        parent[root(one)] = root(other)
    members: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        members.setdefault(root(row.clean), []).append(position)
    return [
        Group(
            rows=tuple(positions),
            prompts=len({rows[i].clean for i in positions}),
            answers=tuple(sorted({rows[i].target for i in positions})),
        )
        for positions in members.values()
    ]
