"""The rows of a build: one data set, one or two files, games, or several sources mixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from whence.data.build.settings import (
    DEFAULT_CONFIG,
    OVERSAMPLING,
    PLAYPEN_CONFIG,
    PRESETS,
    SPARE_ROWS,
    BuildConfig,
)
from whence.data.sources.dataset import local_folder, read_dataset
from whence.data.sources.local import read_files
from whence.data.sources.mix import Given, parse_sources
from whence.data.sources.part import Part
from whence.data.sources.rows import Fields
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.runs.fingerprint import hash_path

Read = tuple[list[Source], dict[str, Any]]


def inputs_of(config: BuildConfig) -> dict[str, Any]:
    """Name → the file or folder that a build reads, or the hub id with its revision."""
    found: dict[str, Any] = {
        "train_file": config.train_file,
        "test_file": config.test_file,
        "instances": config.instances,
        "dataset": None,
    }
    if config.source:
        for one in parse_sources(config.source):
            where = _file(one) or local_folder(one.place, f"--source {one.name}:")
            found[f"source {one.name}"] = where or f"{one.place}@{one.revision or 'newest'}"
    elif not config.train_file:
        revision = config.dataset_revision or "newest"
        folder = local_folder(config.dataset_name)
        found["dataset"] = folder or f"{config.dataset_name}@{revision}"
    return found


def read_parts(config: BuildConfig) -> tuple[list[Part], dict[str, Any]]:
    """The sources with their place in the build, and what the manifest says of where they are from.

    Raises BadInput for what cannot be read.
    """
    fields = Fields(
        config.prompt_field,
        config.completion_field,
        config.messages_field,
        config.max_unanswered_share,
        config.drop_empty,
    )
    if config.source:
        return _mixture(config, fields)
    if config.train_file:
        sources, origin = _files(config.train_file, config.test_file)
    elif config.preset == "playpen":
        sources, origin = _games(
            config, config.dataset_name, config.dataset_config, config.dataset_revision, None
        )
    else:
        sources, origin = read_dataset(
            config.dataset_name,
            config.dataset_config,
            default_config=DEFAULT_CONFIG,
            revision=config.dataset_revision,
            limits=_limits(config, None),
        )
    if config.preset:
        origin = {**origin, "preset": config.preset}
    if len(sources) == 1 and config.query_fraction is not None:
        raise BadInput(
            f"{sources[0].origin}: --query-fraction shares out a held-out split (test or "
            "validation), and there is none; give sizes instead, as in --query-fraction none "
            "--query-size 100 --eval-size 100, and --disjoint-by group_id to keep groups whole"
        )
    return [Part(source, fields, held_out=at > 0) for at, source in enumerate(sources)], origin


def _files(train: Path, test: Path | None) -> Read:
    sources = read_files(train, test)
    paths = [train, *filter(None, [test])]
    return sources, {
        "name": train.name,
        "config": None,
        "files": {
            source.split: {"name": source.file, "sha256": hash_path(path)}
            for source, path in zip(sources, paths, strict=True)
        },
    }


def _games(
    config: BuildConfig, place: str, name: str, revision: str | None, cap: int | None
) -> Read:
    from whence.data.sources.playpen import read_playpen

    usual = PRESETS["playpen"]  # also of a source that is read as games without the preset
    game, role = config.game or usual["game"], config.role or usual["role"]
    sources, origin = read_playpen(
        place,
        config=name,
        revision=revision,
        game=game,
        role=role,
        instances=config.instances,
        limits=_limits(config, cap),
    )
    return sources, {**origin, "game": game, "role": role}


def _mixture(config: BuildConfig, fields: Fields) -> tuple[list[Part], dict[str, Any]]:
    parts, origins = [], {}
    for one in parse_sources(config.source):
        sources, origin = _read(config, one)
        columns = replace(
            fields,
            prompt=one.prompt or fields.prompt,
            completion=one.completion or fields.completion,
            messages=one.messages or fields.messages,
        )
        parts += [
            Part(source, columns, held_out, one.name, one.cap, trains_only=one.use == "train")
            for source, held_out in _used(sources, one)
        ]
        origins[one.name] = {**origin, "use": one.use, "cap": one.cap}
    # Rows that train come first, so that of equal rows the one that trains is kept, as in one file.
    parts.sort(key=lambda part: part.held_out)
    if all(part.trains_only for part in parts):
        raise BadInput(
            "--source: every source has use=train; query and eval need one with use=eval or both"
        )
    if config.query_fraction is not None and not any(part.held_out for part in parts):
        raise BadInput(
            "--query-fraction: shares out held-out rows, and no source has a test or validation "
            "split; add one with :use=eval"
        )
    return parts, {"name": " + ".join(origins), "config": None, "sources": origins}


def _read(config: BuildConfig, one: Given) -> Read:
    file = _file(one)
    if file:
        for option in ("preset", "config", "revision"):
            if value := getattr(one, option):
                raise BadInput(
                    f"--source {one.name}: {option}={value} is for data sets, and {one.place} is a "
                    "file; leave it out"
                )
        sources, origin = _files(file, None)
    elif one.preset == "playpen":
        name = one.config or PLAYPEN_CONFIG
        sources, origin = _games(config, one.place, name, one.revision, one.cap)
    else:
        unset = DEFAULT_CONFIG
        sources, origin = read_dataset(
            one.place,
            one.config or unset,
            default_config=unset,
            revision=one.revision,
            limits=_limits(config, one.cap),
        )
    return sources, origin


def _used(sources: list[Source], one: Given) -> list[tuple[Source, bool]]:
    """The splits of one source that the build has a use for, each with whether it is held out."""
    if one.use == "train":
        return [(sources[0], False)]
    if one.use == "eval":
        return [(sources[-1], True)]
    return [(source, at > 0) for at, source in enumerate(sources)]


def _file(one: Given) -> Path | None:
    path = Path(one.place).expanduser()
    return path if path.is_file() else None


def _limits(config: BuildConfig, cap: int | None) -> Mapping[str, int | None]:
    """Rows to read of a hub data set: "train" and "test" → how many; None reads all."""
    train, pool = config.train_size, config.pool_size or 0
    tests = (config.query_size, config.eval_size)
    return {
        "train": _limit(config, None if train is None else train + pool, cap),
        "test": _limit(config, None if None in tests else sum(size or 0 for size in tests), cap),
    }


def _limit(config: BuildConfig, rows: int | None, cap: int | None) -> int | None:
    if config.max_source_rows is not None:
        return config.max_source_rows or None
    wanted = min((n for n in (rows, cap) if n is not None), default=None)
    return None if wanted is None else OVERSAMPLING * wanted + SPARE_ROWS
