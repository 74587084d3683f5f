"""Combinations made into whole configurations of the command, each checked before any is run."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from whence.errors import BadInput
from whence.runs.config import not_identity, resolved
from whence.runs.fingerprint import fingerprint
from whence.runs.validation import explained
from whence.sweep.bases import ALONE
from whence.sweep.factors import Combination, put, told
from whence.sweep.settings import CONFIG

if TYPE_CHECKING:
    from pydantic import BaseModel

    from whence.sweep.campaigns.campaign import Campaign, Effect

SHOWN = 3
"""How many broken configurations are named before the rest is counted."""


@dataclass(frozen=True)
class Draft:
    """One configuration: its combination, its settings (seeds left out), and the model of them."""

    combination: Combination
    without_seed: Mapping[str, Any]
    config: BaseModel

    @property
    def name(self) -> str:
        """The factor values, for messages."""
        return told({**self.combination.factors, **self.combination.seed})


def make_drafts(
    campaign: Campaign,
    bases: Mapping[str, Mapping[str, Any]],
    combinations: Sequence[Combination],
    home: Path,
) -> list[Draft]:
    """Put every combination into its base. Raises BadInput for what the command does not take: the
    first few with their factor values, and how many there are.

    bases: see `whence.sweep.bases.read_bases`.
    """
    drafts, broken = [], []
    for each in combinations:
        bare = copy.deepcopy(dict(bases[each.factors.get(CONFIG, ALONE)]))
        for key, value in each.factors.items():
            if key != CONFIG:
                put(bare, key, value)
        settings = copy.deepcopy(bare)
        for key, value in each.seed.items():
            put(settings, key, value)
        settings = {**campaign.expand(settings), "output_dir": home / "runs" / "planned"}
        try:
            drafts.append(Draft(each, bare, campaign.shape.model_validate(settings)))
        except ValidationError as error:
            name = told({**each.factors, **each.seed})
            broken.append((name, explained(error, campaign.shape)))
        except BadInput as error:
            broken.append((told({**each.factors, **each.seed}), str(error)))
    _refuse(broken, len(combinations))
    return drafts


def effects_of(campaign: Campaign, drafts: Sequence[Draft]) -> list[Effect]:
    """What decides each. Raises BadInput as `make_drafts` does."""
    effects, broken = [], []
    for draft in drafts:
        try:
            effects.append(campaign.effect(draft.config))
        except BadInput as error:
            broken.append((draft.name, str(error)))
    _refuse(broken, len(drafts))
    return effects


def entry_id(command: str, config: BaseModel, decides: Mapping[str, Any]) -> str:
    """Names a configuration by all that matters: every setting, and its inputs' content."""
    settings = resolved(config)
    for name in not_identity(config):
        _drop(settings, name.split("."))
    return fingerprint({"command": command, "settings": settings, "decides": decides})[:16]


def _drop(settings: dict[str, Any], path: Sequence[str]) -> None:
    for section in path[:-1]:
        below = settings.get(section)
        if not isinstance(below, dict):
            return
        settings = below
    settings.pop(path[-1], None)


def _refuse(broken: Sequence[tuple[str, str]], total: int) -> None:
    """Raise BadInput for broken configurations; those with one fault share a sentence."""
    if not broken:
        return
    by_fault: dict[str, list[str]] = {}
    for name, fault in broken:
        by_fault.setdefault(fault, []).append(name)
    sentences = [
        f"{names[0]}{f' (and {len(names) - 1} more)' if len(names) > 1 else ''}: {fault}"
        for fault, names in list(by_fault.items())[:SHOWN]
    ]
    more = len(by_fault) - SHOWN
    sentences += [f"{more} other faults"] if more > 0 else []
    raise BadInput(
        f"{len(broken)} of {total} configurations cannot run, and none was: {'; '.join(sentences)}"
    )
