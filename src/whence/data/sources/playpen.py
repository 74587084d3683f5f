"""Played games of one role: the Playpen data set, a copy of it, or clembench's own records.

    colab-potsdam/playpen-data, configuration `interactions`: columns `messages` and `meta`
    (game, game_role, experiment, task_id, outcome, model), splits train and validation

Kept are the rows of one role of one game that were not aborted, as the earlier pipeline kept them.
A row is called `split-index` by its place in the split as the data set has it, so that it is the
same row whatever game and role are asked for, and can be looked up. (The earlier pipeline counted
the kept rows.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.instances import read_instances
from whence.data.sources.clembench import PROGRAMMATIC, Recorded, has_episodes, recorded_games
from whence.data.sources.dataset import local_folder
from whence.data.sources.episode import Episode, Sieve, episodes_table
from whence.data.sources.hub import choose_config, in_one_line, open_splits, pin, split_size
from whence.data.sources.local import read_folder
from whence.data.sources.source import Source
from whence.data.sources.target_word import TargetWords
from whence.errors import BadInput
from whence.runs.fingerprint import hash_path
from whence.runs.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_CONFIG = "interactions"
HELD_OUT = ("validation", "test")
ROWS_PER_READ = 1_000
KEYS = ("game", "game_role", "experiment", "outcome")
TASK_KEYS = ("task_id", "game_id")


class _Split:
    """A split that is read piece by piece. available: its rows, where that is known."""

    def __init__(
        self, name: str, origin: str, file: str, pieces: Iterator[pa.Table], available: int | None
    ) -> None:
        self.name, self.origin, self.file = name, origin, file
        self.pieces, self.available = pieces, available


def read_playpen(
    place: str,
    *,
    config: str,
    revision: str | None,
    game: str,
    role: str,
    instances: Path | None,
    limits: Mapping[str, int | None],
) -> tuple[list[Source], dict[str, Any]]:
    """The kept rows of a train and, where there is one, a held-out split, and what they are from.

    place: a hub id, which is streamed and filtered as it comes; a folder with such a data set (see
    `read_folder`, its validation split before a test split); or a folder that holds clembench
    episodes, which have no splits and are all train. limits: "train" and "test" → how many kept
    rows at most; None takes all. instances: the file that knows the target words (`TargetWords`
    says how they are found without). Columns of the tables: see `episodes_table`. Raises BadInput
    for what cannot be read, a game or role that is not there, and a file of other games' words.
    """
    words = TargetWords(read_instances(instances) if instances else None)
    sieve = Sieve(game, role)
    folder = local_folder(place)
    if folder and has_episodes(folder):
        return _from_episodes(folder, sieve, words, limits)
    splits, described = _splits(place, folder, config, revision)
    kept: list[list[Episode]] = []
    read: list[int | None] = []
    for at, split in enumerate(splits):
        limit = limits["train" if at == 0 else "test"]
        rows, whole = _sift(split, limit, sieve, words)
        kept.append(rows)
        read.append(whole)
    return _sources(splits, kept, read, sieve, words), {**described, **_found(words)}


def _splits(
    place: str, folder: Path | None, config: str, revision: str | None
) -> tuple[list[_Split], dict[str, Any]]:
    if folder:
        inner = folder / config
        chosen = inner if inner.is_dir() else folder
        found = read_folder(chosen, HELD_OUT)
        if found:
            if chosen is folder and config != DEFAULT_CONFIG:
                raise BadInput(
                    f"--dataset-config {config}: {folder} has no folder of that name; "
                    "leave the flag out to read the folder itself"
                )
            return [
                _Split(s.split, s.origin, s.file, _slices(s.table), s.table.num_rows) for s in found
            ], {
                "name": folder.resolve().name,
                "config": config if chosen is inner else None,
                "files": {source.split: {"name": source.file} for source in found},
                "sha256": hash_path(chosen),
            }
        place = str(folder)
    commit = None if folder else pin(place, revision)
    chosen_config = choose_config(place, config, revision=commit, default=DEFAULT_CONFIG)
    streams = open_splits(place, chosen_config, commit)
    name = place.rstrip("/").rpartition("/")[2]
    held_out = [split for split in HELD_OUT if split in streams][:1]
    return [
        _Split(
            split,
            f"{place} {split}",
            name,
            streams[split].with_format("arrow").iter(batch_size=ROWS_PER_READ),
            split_size(streams[split], split),
        )
        for split in ("train", *held_out)
    ], {
        "name": name if folder else place,
        "config": chosen_config,
        "revision": commit,
        "sha256": hash_path(folder) if folder else None,
    }


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(start, ROWS_PER_READ) for start in range(0, table.num_rows, ROWS_PER_READ))


def _sift(
    split: _Split, limit: int | None, sieve: Sieve, words: TargetWords
) -> tuple[list[Episode], int | None]:
    """The kept rows of a split, and how many rows it has (None where not all were read)."""
    kept: list[Episode] = []
    seen = 0
    with Progress(f"reading {split.origin}", split.available) as progress:
        while limit is None or len(kept) < limit:
            with in_one_line(split.origin):
                piece = next(split.pieces, None)
            if piece is None:
                return kept, seen
            for episode in _episodes(piece, split, seen, sieve.game):
                if episode.game == sieve.game:
                    words.hear(episode)
                if limit is not None and len(kept) == limit:
                    continue
                if sieve.keeps(
                    split.name, episode.game, episode.game_role, aborted=episode.aborted
                ):
                    kept.append(episode)
            seen += piece.num_rows
            progress.advance(piece.num_rows)
    return kept, split.available


def _episodes(piece: pa.Table, split: _Split, before: int, game: str) -> Iterator[Episode]:
    """Every row of a piece; the messages of games that are not asked for are left unread."""
    for name in ("messages", "meta"):
        if name not in piece.column_names:
            raise BadInput(
                f'{split.origin}: no column "{name}", so this is no Playpen data set (it has '
                f"{', '.join(piece.column_names)}); leave out --preset playpen, or give a folder "
                "of clembench episodes"
            )
    chats = piece["messages"]
    for at, raw in enumerate(piece["meta"].to_pylist()):
        index = before + at
        place = f"{split.origin}, row {index + 1}"
        meta = _meta(raw, place)
        asked_for = meta.get("game") == game
        yield Episode(
            row_id=f"{split.name}-{index}",
            place=place,
            split=split.name,
            game=_text(meta.get("game")),
            game_role=_text(meta.get("game_role")),
            outcome=None if meta.get("outcome") is None else str(meta["outcome"]),
            experiment=_text(meta.get("experiment")),
            task_id=_text(next((meta[key] for key in TASK_KEYS if key in meta), None)),
            model=None if meta.get("model") is None else str(meta["model"]),
            messages=_messages(chats[at].as_py(), place) if asked_for else (),
        )


def _meta(raw: Any, place: str) -> Mapping[str, Any]:
    """What is said of a row: an object, or one written as JSON text; empty where it is null."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError as error:
            raise BadInput(f"{place}: meta is not JSON ({error})") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise BadInput(f"{place}: meta is {raw!r}, an object was expected")
    lacking = [key for key in KEYS if key not in raw]
    if not any(key in raw for key in TASK_KEYS):
        lacking.append("task_id")
    if lacking:
        raise BadInput(f"{place}: meta has no {', '.join(lacking)}; it has {', '.join(raw)}")
    return raw


def _messages(raw: Any, place: str) -> Sequence[Mapping[str, str]]:
    if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
        raise BadInput(f"{place}: messages is not a list of objects with role and content")
    found = []
    for one in raw:
        role, content = one.get("role"), one.get("content")
        if not isinstance(role, str) or not isinstance(content, str | None):
            raise BadInput(f"{place}: a message has no role, or content that is not text")
        found.append({"role": role, "content": content or ""})
    return found


def _from_episodes(
    folder: Path, sieve: Sieve, words: TargetWords, limits: Mapping[str, int | None]
) -> tuple[list[Source], dict[str, Any]]:
    """All episodes below a folder as one train split."""
    origin, split, kept, sides = str(folder), "train", [], 0
    files = recorded_games(folder)
    both = (limits["train"], limits["test"])
    limit = None if None in both else sum(n or 0 for n in both)
    with Progress(f"reading {origin}", len(files), unit="games") as progress:
        for path in files:
            game = Recorded(path)
            for episode in _sides(game, folder, sieve):
                sides += 1
                if episode.game == sieve.game:
                    words.hear(episode)
                aborted = episode.aborted
                if not sieve.keeps(split, episode.game, episode.game_role, aborted=aborted):
                    continue
                if episode.model == PROGRAMMATIC:
                    sieve.leave_out(split, "programmatic_player")
                elif episode.outcome is None:
                    sieve.leave_out(split, "outcome_unknown")
                elif not any(m["role"] == "assistant" for m in episode.messages):
                    sieve.leave_out(split, "took_no_turn")
                else:
                    kept.append(episode)
            progress.advance()
            if limit is not None and len(kept) >= limit:
                break
    available = sides if progress.done == len(files) else None
    described = {
        "name": folder.resolve().name,
        "config": None,
        "episodes": len(files),
        "sha256": hash_path(folder),
    }
    one = _Split(split, origin, folder.resolve().name, iter(()), None)
    return _sources([one], [kept], [available], sieve, words), {**described, **_found(words)}


def _sides(game: Recorded, folder: Path, sieve: Sieve) -> Iterator[Episode]:
    """A recorded game as each of its players saw it."""
    asked_for = game.game == sieve.game
    players = game.players
    roles = [role for _, role, _ in players]
    for name, role, model in players:
        own = game.path.parent.relative_to(folder).as_posix()
        yield Episode(
            row_id=own if roles.count(role) == 1 else f"{own}::{name}",
            place=str(game.path),
            split="train",
            game=game.game,
            game_role=role,
            outcome=game.outcome if asked_for else None,
            experiment=game.experiment,
            task_id=game.task_id,
            model=model,
            messages=game.messages(name) if asked_for else (),
            word=game.word,
        )


def _sources(
    splits: Sequence[_Split],
    kept: Sequence[Sequence[Episode]],
    available: Sequence[int | None],
    sieve: Sieve,
    words: TargetWords,
) -> list[Source]:
    words.check([episode for rows in kept for episode in rows])
    sources = []
    for split, rows, whole in zip(splits, kept, available, strict=True):
        sieve.check(split.name, split.origin, len(rows))
        sources.append(
            Source(
                split.name,
                split.origin,
                split.file,
                episodes_table(rows, [words.of(row) for row in rows]),
                whole,
                dict(sieve.left_out.get(split.name, {})),
            )
        )
    return sources


def _found(words: TargetWords) -> dict[str, Any]:
    """How target words were found, for the manifest: source → kept rows."""
    return {"target_words": dict(sorted(words.sources.items()))}


def _text(value: Any) -> str:
    """Ids as text, whole numbers without a point (a column with gaps has made them floats)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)
