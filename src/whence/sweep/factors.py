"""From grid, zip, exclude and seeds to the combinations of a stage."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whence.errors import BadInput, WhenceError
from whence.runs.fingerprint import fingerprint
from whence.runs.validation import nearest
from whence.sweep.settings import StageSettings

Settings = Mapping[str, Any]
"""Dotted setting → value."""
OWN = ("output_dir", "overwrite")
"""Settings of every command that the sweep gives values to."""
Words = Callable[[str, str], Sequence[Any]]
"""(key, word) → the values that the command understands by it."""


@dataclass(frozen=True)
class Combination:
    """factors: what tells it from others, dotted. seed: the keys that its seed sets, dotted."""

    factors: Settings
    seed: Settings


def combinations(
    stage: StageSettings, words: Words, starts: Sequence[Settings] = ({},)
) -> list[Combination]:
    """Every combination of a stage, in the order of the file: starts, zips, grid, seeds innermost.

    starts: factors of an earlier stage to begin from. words: see `Words`. Raises BadInput naming
    the stage and the factor for a key that is varied twice (by itself or with its section) or is
    the sweep's own, no values, a value given twice, lists of a zip that differ in length, and an
    exclusion that names no factor or leaves nothing out.
    """
    where = f"stage {stage.name}"
    grid = {key: _values(where, key, given, words) for key, given in stage.grid.items()}
    zips = [_zipped(where, group) for group in stage.zip]
    seeds = _seeds(stage)
    keys = [*starts[0], *grid, *(key for group in stage.zip for key in group)]
    seed_keys = list(stage.seeds.keys) if stage.seeds else []
    _check_keys(where, keys, seed_keys)
    keys += seed_keys
    _check_exclusions(where, stage.exclude, keys)
    left_out = [0] * len(stage.exclude)
    found = []
    for factors in _products(starts, zips, grid):
        for seed in seeds:
            hit = [_matches({**factors, **seed}, each) for each in stage.exclude]
            left_out = [count + here for count, here in zip(left_out, hit, strict=True)]
            if not any(hit):
                found.append(Combination(factors, seed))
    for rule, count in zip(stage.exclude, left_out, strict=True):
        if not count:
            raise BadInput(f"{where}: exclude {_told(rule)} leaves nothing out; are the values so?")
    if not found:
        raise BadInput(f"{where}: exclude leaves every configuration out")
    return found


def put(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set `a.b.c` in nested mappings. Raises BadInput where a part of the way is no section."""
    *sections, last = key.split(".")
    for done, section in enumerate(sections, start=1):
        below = settings.setdefault(section, {})
        if not isinstance(below, dict):
            raise BadInput(f"{key}: {'.'.join(sections[:done])} is a value, not a section")
        settings = below
    settings[last] = value


def told(factors: Settings) -> str:
    """`labels.target_mode=importance_abs, activations.layer_index=3`."""
    return _told(factors) or "no factor"


def _products(
    starts: Sequence[Settings],
    zips: Sequence[Sequence[Settings]],
    grid: Mapping[str, Sequence[Any]],
) -> Iterator[dict[str, Any]]:
    for start, *rows in itertools.product(starts, *zips):
        for values in itertools.product(*grid.values()):
            together: dict[str, Any] = dict(start)
            for row in rows:
                together |= row
            yield together | dict(zip(grid, values, strict=True))


def _values(where: str, key: str, given: list[Any] | str, words: Words) -> list[Any]:
    values = list(words(key, given)) if isinstance(given, str) else given
    if not values:
        raise BadInput(f"{where}: {key} has no values")
    _no_repeats(where, key, values)
    return values


def _zipped(where: str, group: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    lengths = {key: len(values) for key, values in group.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        told = ", ".join(f"{key} has {count}" for key, count in lengths.items()) or "it is empty"
        raise BadInput(f"{where}: settings of a zip change together, value by value, but {told}")
    rows = [dict(zip(group, values, strict=True)) for values in zip(*group.values(), strict=True)]
    _no_repeats(where, f"zip of {', '.join(group)}", rows)
    return rows


def _seeds(stage: StageSettings) -> list[dict[str, Any]]:
    if stage.seeds is None:
        return [{}]
    return [dict.fromkeys(stage.seeds.keys, value) for value in stage.seeds.values]


def _no_repeats(where: str, key: str, values: Sequence[Any]) -> None:
    seen = set()
    for value in values:
        try:
            mark = fingerprint(value)
        except WhenceError as error:
            raise BadInput(f"{where}: {key}: {value!r} is no value of a setting: {error}") from None
        if mark in seen:
            raise BadInput(f"{where}: {key} has {value!r} twice")
        seen.add(mark)


def _check_keys(where: str, keys: Sequence[str], seed_keys: Sequence[str]) -> None:
    together = [*keys, *seed_keys]
    for key in together:
        if key in OWN:
            raise BadInput(f"{where}: {key} cannot be varied: the sweep itself sets it")
        if together.count(key) > 1:
            raise BadInput(f"{where}: {key} is varied twice")
        # A seed is put last, so it may go into a section whose values are varied.
        within = [other for other in together if key.startswith(f"{other}.")]
        if within and not (key in seed_keys and within[0] in keys):
            raise BadInput(
                f"{where}: {key} is varied, and {within[0]} that holds it; vary one of them"
            )


def _check_exclusions(where: str, rules: Sequence[Settings], keys: Sequence[str]) -> None:
    for rule in rules:
        if not rule:
            raise BadInput(f"{where}: exclude {{}} would leave everything out; name settings")
        for key in rule:
            if key not in keys:
                raise BadInput(f"{where}: exclude: {key} is not varied{nearest(key, list(keys))}")


def _matches(settings: Settings, rule: Settings) -> bool:
    return all(
        settings[key] in wanted if isinstance(wanted, list) else settings[key] == wanted
        for key, wanted in rule.items()
    )


def _told(settings: Settings) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())
