"""`whence tiny make`: data of the tiny world, as files that any command reads."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from whence.runs.config import Config
from whence.runs.finding import Finding
from whence.runs.jsonfile import write_json, write_jsonl
from whence.runs.store import open_run
from whence.tiny.corpus import documents
from whence.tiny.games import Mix, make_games
from whence.tiny.players import make_instances, make_players
from whence.tiny.probes import PROBES, make_probes
from whence.tiny.traces import make_trace
from whence.tiny.world import World, make_world

Kind = Literal["games", "players", "probes", "traces", "corpus"]

INSTANCES = "instances.json"


class MakeConfig(Config):
    """Write games, players, probe corpora, reasoning traces or plain text of the tiny world."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"out", "overwrite"})

    kind: Kind = Field(description="What to write.")
    out: Path = Field(description="Folder to write.")
    count: int | None = Field(
        default=None,
        ge=1,
        description="How many: pool games (750), games of each player (600), probes of each corpus "
        "(200), traces (200) or documents (10000).",
    )
    query: int = Field(default=120, ge=1, description="Test games meant as attribution queries.")
    evaluation: int = Field(default=150, ge=1, description="Test games meant for evaluation.")
    world_seed: int = Field(default=0, description="Which world; the shipped model knows world 0.")
    seed: int = Field(default=0, description="Which draw of rows from that world.")
    overwrite: bool = Field(default=False, description="Replace what another run wrote in `out`.")


@dataclass(frozen=True)
class Made:
    """What was written: file → rows."""

    kind: Kind
    rows: Mapping[Path, int]

    def finding(self) -> Finding:
        return Finding(
            f"Wrote {sum(self.rows.values()):,} rows of {self.kind} of the tiny world.",
            files={f"{path.stem} ({rows:,} rows)": path for path, rows in self.rows.items()},
        )


def _games(world: World, config: MakeConfig) -> dict[str, Sequence[Mapping[str, Any]]]:
    total = config.count or 750
    mix = Mix(useful=total // 5, other=total - 2 * (total // 5), wrong=total // 5)
    pool, test = make_games(
        world, mix=mix, query=config.query, evaluation=config.evaluation, seed=config.seed
    )
    return {"pool.jsonl": pool, "test.jsonl": test}


def _players(world: World, config: MakeConfig) -> dict[str, Sequence[Mapping[str, Any]]]:
    describers, guessers = make_players(world, config.count or 600, config.seed)
    return {"describer.jsonl": describers, "guesser.jsonl": guessers}


def _probes(world: World, config: MakeConfig) -> dict[str, Sequence[Mapping[str, Any]]]:
    count = config.count or 200
    return {f"{name}.jsonl": make_probes(world, name, count, config.seed) for name in PROBES}


def _traces(world: World, config: MakeConfig) -> dict[str, Sequence[Mapping[str, Any]]]:
    rng = random.Random(f"whence.tiny.traces:{config.seed}")
    return {"traces.jsonl": [make_trace(world, rng).row(i) for i in range(config.count or 200)]}


def _corpus(world: World, config: MakeConfig) -> dict[str, Sequence[Mapping[str, Any]]]:
    # The base model read the texts of seed 1 (see `whence.tiny.train`); seed 0 begins elsewhere.
    texts = islice(documents(world, config.seed), config.count or 10_000)
    return {"corpus.jsonl": [{"text": text} for text in texts]}


_MAKERS: dict[Kind, Callable[[World, MakeConfig], dict[str, Sequence[Mapping[str, Any]]]]] = {
    "games": _games,
    "players": _players,
    "probes": _probes,
    "traces": _traces,
    "corpus": _corpus,
}


def make(config: MakeConfig) -> Made:
    """Write one kind of data as JSONL. The same configuration gives the same bytes."""
    world = make_world(config.world_seed)
    written = _MAKERS[config.kind](world, config)
    words = make_instances(world) if config.kind == "players" else None
    with open_run(
        config.out,
        command="tiny make",
        config=config,
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            for name, rows in written.items():
                write_jsonl(run.folder / name, rows)
            if words:
                write_json(run.folder / INSTANCES, words)
    counts = {config.out / name: len(rows) for name, rows in written.items()}
    if words:
        each = [len(experiment["game_instances"]) for experiment in words["experiments"]]
        counts[config.out / INSTANCES] = sum(each)
    return Made(config.kind, counts)
