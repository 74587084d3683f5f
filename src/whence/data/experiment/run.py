"""`whence data experiment`: a ranking, arms × seeds, and the verdict, on one load of the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from whence.data.arms import Arm, parse_arms
from whence.data.build import build
from whence.data.draws import default_match_on, draw_arms
from whence.data.experiment.cells import BASE, Cell, collect, run_cell
from whence.data.experiment.outcome import ORACLE, ExperimentResult, comparisons_of, verdict_of
from whence.data.experiment.page import write_report
from whence.data.experiment.planted import planted_summary, read_planted
from whence.data.experiment.rank import rank_pool, scoring_adapter
from whence.data.experiment.settings import ExperimentConfig
from whence.data.splits import seeded
from whence.errors import BadInput
from whence.runs.config import resolved
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import Manifest, load_manifest, read_split
from whence.runs.progress import track
from whence.runs.store import open_run
from whence.runs.tables import write_parquet


def experiment(config: ExperimentConfig) -> ExperimentResult:
    """Build, train the scoring adapter, rank, train and judge every arm under every seed, compare.

    Killed and started again, it goes on with the first step that is not finished. Raises BadInput,
    before a model is loaded, for arms, splits and columns that cannot be.
    """
    arms = parse_arms(config.arms)
    pairs = comparisons_of(arms, oracle=bool(config.planted and config.planted.oracle))
    if not pairs:
        raise BadInput("arms: none; give at least one, as in top:300")
    manifest = load_manifest(_manifest_path(config))
    splits = [config.pool_split, config.query_split, config.eval_split]
    if config.scores is None and config.scoring_adapter is None:
        splits.append(config.scoring_split)
    with open_run(
        config.output_dir,
        command="data experiment",
        config=config,
        inputs={
            "manifest": manifest.path,
            **{name: manifest.split(name).path for name in splits},
            "base_model": config.identity(),
            "scores": config.scores,
            "scoring_adapter": config.scoring_adapter,
            "planted": config.planted and config.planted.file,
        },
        overwrite=config.overwrite,
        seeds=config.seeds,
    ) as run:
        if not run.done:
            _conduct(config, arms, pairs, manifest, run.folder)
    return ExperimentResult(config.output_dir, read_json(config.output_dir / "verdict.json"))


def _manifest_path(config: ExperimentConfig) -> Path:
    """The manifest that is given, or the one that the data build makes (or has made)."""
    if config.build is None:
        assert config.manifest is not None  # the configuration's own check
        return config.manifest
    return build(config.build).manifest.path


def _conduct(
    config: ExperimentConfig,
    arms: Sequence[Arm],
    pairs: Sequence[tuple[str, str]],
    manifest: Manifest,
    folder: Path,
) -> None:
    """Everything between reading the splits and writing the report, into `folder`."""
    import pyarrow as pa

    pool, evaluation = (read_split(manifest, s) for s in (config.pool_split, config.eval_split))
    kinds = None if config.planted is None else read_planted(config.planted, pool)
    base = config.load()
    adapter = scoring_adapter(config, manifest, base, folder)
    ranking = rank_pool(config, manifest, base, adapter, folder)
    match_on = config.match_on
    if match_on is None:
        match_on = default_match_on(manifest, pool.columns)
    draws = {seed: draw_arms(arms, ranking, pool, seed, match_on=match_on) for seed in config.seeds}
    cells = [Cell(BASE, None, ())]
    for seed in config.seeds:
        cells += [Cell(name, seed, drawn.row_ids) for name, drawn in draws[seed].items()]
        if config.planted and config.planted.oracle and kinds:
            cells.append(Cell(ORACLE, seed, _oracle(config, kinds, seed)))
    rows_by_id = pool.set_index("row_id")
    start = adapter if config.start_from == "scoring_adapter" else None
    for cell in track(cells, label="arms × seeds", unit="cells"):
        run_cell(cell, config, base, rows_by_id, evaluation, start, cell.folder(folder))
    items, curves = collect(cells, folder)
    planted = None
    if config.planted and kinds:
        taken = _taken(cells)
        planted = planted_summary(kinds, config.planted.useful, taken, ranking)
    verdict = verdict_of(items, pairs, planted)
    write_json(folder / "config.json", resolved(config))
    write_parquet(pa.Table.from_pandas(items, preserve_index=False), folder / "items.parquet")
    write_report(
        folder / "report.html",
        config=config,
        verdict=verdict,
        items=items,
        curves=curves,
        ranking=ranking.merge(pool[["row_id", "prompt", "completion"]], on="row_id"),
        kinds=kinds,
        first_draw=draws[config.seeds[0]],
        match_on=match_on,
        taken=_taken(cells),
    )
    # Last, so that a folder with a verdict has everything that the verdict rests on.
    write_json(folder / "verdict.json", verdict)


def _oracle(config: ExperimentConfig, kinds: Mapping[str, str], seed: int) -> list[str]:
    """Rows that planted truth knows to be useful, drawn anew for each seed."""
    assert config.planted is not None
    useful = sorted(row_id for row_id, kind in kinds.items() if kind in config.planted.useful)
    size = config.planted.oracle or 0
    if size > len(useful):
        raise BadInput(f"planted.oracle {size}: only {len(useful)} rows of the pool are useful")
    picks = seeded(seed, ORACLE).choice(len(useful), size=size, replace=False)
    return sorted(useful[pick] for pick in picks)


def _taken(cells: Sequence[Cell]) -> dict[str, list[Sequence[str]]]:
    """Arm → the rows it trained on, one list per seed."""
    taken: dict[str, list[Sequence[str]]] = {}
    for cell in cells:
        if cell.seed is not None:
            taken.setdefault(cell.arm, []).append(cell.row_ids)
    return taken
