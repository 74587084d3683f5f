"""Configurations that cannot differ in what is ranked are run once, and the reason is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from whence.runs.fingerprint import fingerprint

if TYPE_CHECKING:
    from whence.sweep.campaigns.campaign import Effect
    from whence.sweep.drafts import Draft

SAME_CONTENT = "its values give the same inputs, by content"
SAME_SETTING = "the command computes the same under its values"


@dataclass(frozen=True)
class Collapsed:
    """A factor without effect in some configurations. why: the campaign's reason; configurations:
    how many were not run for it, because one that differs from them by this factor was."""

    factor: str
    why: str
    configurations: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def runs_of(command: str, effects: Sequence[Effect]) -> list[str]:
    """The id of the run behind each configuration; equal where nothing that decides differs."""
    return [fingerprint({"command": command, "decides": effect.decides})[:16] for effect in effects]


def collapsed(
    drafts: Sequence[Draft], ids: Sequence[str], effects: Sequence[Effect], runs: Sequence[str]
) -> list[Collapsed]:
    """Which factors vary among configurations of one run, and why they make no difference there.

    ids: of the entries; two that are equal have every setting in common that the command counts
    (5 and "5", another device).
    """
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        groups.setdefault(run, []).append(index)
    counts: dict[tuple[str, str], int] = {}
    for members in groups.values():
        first = _settings(drafts[members[0]])
        for index in members[1:]:
            unsaid = SAME_SETTING if ids[index] == ids[members[0]] else SAME_CONTENT
            own = _settings(drafts[index])
            for key in {**first, **own}:
                if fingerprint(first.get(key)) != fingerprint(own.get(key)):
                    why = effects[index].idle.get(key, unsaid)
                    counts[key, why] = counts.get((key, why), 0) + 1
    return [Collapsed(key, why, count) for (key, why), count in counts.items()]


def _settings(draft: Draft) -> Mapping[str, Any]:
    return {**draft.combination.factors, **draft.combination.seed}
