"""`whence data stability`: does a ranking stay the same when chance is drawn anew?

A ranking that moves with the projection's seed, or with which queries happened to be asked, says
less about rows than it seems to. That it stays says nothing of its worth: a ranking by length never
moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.data.score.base import with_recorded_base
from whence.data.stability.given import depths, side_by_side
from whence.data.stability.make import draw_queries, make_rankings, ranking_name
from whence.data.stability.modes import of_modes
from whence.data.stability.outcome import outcome, pair_table
from whence.data.stability.settings import StabilityConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.labels import group_keys
from whence.runs.manifest import load_manifest, read_split
from whence.runs.ranking import scores_file
from whence.runs.store import Run, open_run
from whence.runs.tables import write_parquet

CAVEAT = "Stability is no virtue by itself: a ranking by length never moves"
MOST_LINES = 12


@dataclass(frozen=True)
class StabilityResult:
    """folder: where everything is. content: `stability.json`."""

    folder: Path
    content: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """How far the rankings agree, by mode where they were made, by pair where given."""
        found = self.content
        first = found["k"][0]
        columns = [
            "what",
            "Spearman",
            f"overlap at {first} (chance {first / found['rows']:.2f})",
        ]
        lines = _mode_lines(found) if "modes" in found else _pair_lines(found)
        before = "Already done: " if self.done_before else ""
        return Finding(
            headline=f"{before}{self._said()} {CAVEAT}.",
            columns=columns,
            rows=[
                (what, _shown(each["spearman"]), _shown(each["overlap_at_k"][str(first)]))
                for what, each in lines[:MOST_LINES]
            ],
            files={
                "stability": self.folder / "stability.json",
                "every pair": self.folder / "stability.parquet",
            },
        )

    def _said(self) -> str:
        found = self.content
        if "verdict" in found:
            return f"{found['verdict'][0].upper()}{found['verdict'][1:]}."
        count, rows = len(found["rankings"]), f"{found['rows']:,}"
        agree = f"Spearman {_shown(found['spearman'])}"
        noun = "two rankings" if count == 2 else f"{count} rankings, pair by pair,"
        differs = ", ".join(found["differs"]) or "nothing that their folders tell"
        return f"{noun.capitalize()} of {rows} rows agree by {agree}; they differ in {differs}."


def stability(config: StabilityConfig) -> StabilityResult:
    """Compare rankings that are given, or make them and compare them by mode.

    Killed and started again, it goes on with the first step that is not finished. Raises BadInput,
    before a model is loaded, for rankings of other rows, for settings and splits that cannot be;
    and as `score_rows` does.
    """
    if not config.scores:
        return _from_a_model(config)
    manifest = None if config.manifest is None else load_manifest(config.manifest)
    with open_run(
        config.output_dir,
        command="data stability",
        config=config,
        inputs={
            "scores": [scores_file(path) for path in config.scores],
            "manifest": manifest and manifest.path,
            "pool": manifest and manifest.split(config.pool_split).path,
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            _compare(config, config.scores, run)
    return _result(config, run)


def _from_a_model(config: StabilityConfig) -> StabilityResult:
    assert config.manifest is not None  # the configuration's own check, as is the next
    assert config.adapter_path is not None
    manifest = load_manifest(config.manifest)
    splits = {name: manifest.split(name) for name in (config.pool_split, config.query_split)}
    model = with_recorded_base(config, config.adapter_path)
    with open_run(
        config.output_dir,
        command="data stability",
        config=config,
        inputs={
            "manifest": manifest.path,
            "pool": splits[config.pool_split].path,
            "query": splits[config.query_split].path,
            "adapter": config.adapter_path,
            "base_model": model.identity(),
        },
        overwrite=config.overwrite,
        seeds=[config.seed, *config.projection_seeds],
    ) as run:
        if not run.done:
            pool, query = (read_split(manifest, name) for name in splits)
            depths(config.k, len(pool))
            sets = draw_queries(group_keys(query, ()), config.query_resamples, config.seed)
            make_rankings(config, model.load(), pool, query, sets, run)
            folders = [run.folder / "rankings" / ranking_name(*each) for each in config.plan()]
            _compare(config, folders, run)
    return _result(config, run)


def _compare(config: StabilityConfig, paths: Any, run: Run) -> None:
    import pyarrow as pa

    from whence.stats.agreement import agreement

    sets = side_by_side(paths, config.manifest, config.pool_split)
    ks = depths(config.k, len(sets.row_ids))
    found = agreement(sets.scores, ks, sets.clusters, draws=config.draws, seed=config.seed)
    content = outcome(sets, found, ks)
    if not config.scores:
        content = {**of_modes(config, found, ks), **content}
    table = pa.Table.from_pandas(pair_table(content), preserve_index=False)
    write_parquet(table, run.folder / "stability.parquet")
    write_json(run.folder / "stability.json", content)


def _result(config: StabilityConfig, run: Run) -> StabilityResult:
    content = read_json(config.output_dir / "stability.json")
    return StabilityResult(config.output_dir, content, run.done)


def _mode_lines(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    lines = []
    for mode, each in found["modes"].items():
        if each["over_query_resamples"]:
            lines.append((f"{mode}, queries drawn anew", each["over_query_resamples"]))
        if "spearman" in each["over_projection_seeds"]:
            lines.append((f"{mode}, another projection", each["over_projection_seeds"]))
    return lines + [(f"{each['a']} and {each['b']}", each) for each in found["between_modes"]]


def _pair_lines(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    lines = [(f"{pair['a']} and {pair['b']}", pair) for pair in found["pairs"]]
    return lines if len(lines) == 1 else [("all pairs", found), *lines]


def _shown(each: Mapping[str, Any]) -> str:
    if each["interval"] is None:
        return f"{each['estimate']:.3f} (no interval)"
    low, high = each["interval"]
    return f"{each['estimate']:.3f} [{low:.3f}, {high:.3f}]"
