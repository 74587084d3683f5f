"""The configurations that a stage begins from: one base, or several files that must be alike."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.runs.config import resolved
from whence.runs.settings_file import read_settings
from whence.sweep.factors import put
from whence.sweep.settings import CONFIG, StageSettings

if TYPE_CHECKING:
    from whence.sweep.campaigns.campaign import Campaign
    from whence.sweep.drafts import Draft

Base = Mapping[str, Any]
ALONE = ""
"""The name of a base that is the only one."""


def read_bases(base: Path | Mapping[str, Any], stages: Sequence[StageSettings]) -> dict[str, Base]:
    """Name of the file → settings, `set` of all stages on the way included.

    stages: the planned one, behind those that it refines. Files of `configs` are put on the base,
    section by section. Raises BadInput for two files of one name.
    """
    common = read_settings(base) if isinstance(base, Path) else dict(base)
    files = next((stage.configs for stage in stages if stage.configs), ())
    if not files:
        bases = {ALONE: common}
    else:
        bases = {}
        for file in files:
            if file.stem in bases:
                raise BadInput(f"configs: two files are called {file.stem}; settings go by name")
            bases[file.stem] = _merged(common, read_settings(file))
    for settings in bases.values():
        for stage in stages:
            for key, value in stage.set.items():
                put(settings, key, copy.deepcopy(value))
    return dict(bases)


def check_parity(drafts: Sequence[Draft], may_differ: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Setting → file → value, of what differs between files and may.

    Compared are whole configurations, defaults filled in, so that a key left out of one file and
    written as its default in another is no difference. Raises BadInput naming every setting that
    differs and may not, with its values, and an allowed one that there is not.
    """
    by_file: dict[str, Draft] = {}
    for draft in drafts:
        name = draft.combination.factors.get(CONFIG)
        if name is not None:
            by_file.setdefault(str(name), draft)
    if len(by_file) < 2:
        return {}
    varied = {*drafts[0].combination.factors, *drafts[0].combination.seed, "output_dir"}
    flat = {name: _flat(resolved(draft.config)) for name, draft in by_file.items()}
    found: dict[str, dict[str, Any]] = {}
    keys = list(dict.fromkeys(key for own in flat.values() for key in own))
    for key in keys:
        values = {name: own.get(key) for name, own in flat.items()}
        if len({repr(value) for value in values.values()}) > 1 and not _below(key, varied):
            found[key] = values
    wrong = [key for key in found if not _below(key, may_differ)]
    if wrong:
        told = "; ".join(
            f"{key}: {', '.join(f'{name} {value!r}' for name, value in found[key].items())}"
            for key in wrong
        )
        raise BadInput(
            f"configs: they may differ in may_differ alone, and differ in {told}; make them equal, "
            "or name the setting there"
        )
    for key in may_differ:
        if not any(_below(each, [key]) for each in keys):
            raise BadInput(f"may_differ: {key} is no setting of these files")
    return found


def same_values(
    campaign: Campaign, key: str, word: str, bases: Mapping[str, Base]
) -> Sequence[Any]:
    """The values that a word stands for. Raises BadInput where files give it other values."""
    found = {name: list(campaign.values(key, word, base)) for name, base in bases.items()}
    first = next(iter(found.values()))
    for name, values in found.items():
        if values != first:
            raise BadInput(
                f"{key}: {word} is {first} in {next(iter(found))} and {values} in {name}; give the "
                "values, or sweep the files apart"
            )
    return first


def _merged(under: Base, over: Base) -> dict[str, Any]:
    both = copy.deepcopy(dict(under))
    for key, value in over.items():
        below = both.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            both[key] = _merged(below, value)
        else:
            both[key] = copy.deepcopy(value)
    return both


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{above}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def _below(key: str, names: Sequence[str] | set[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)
