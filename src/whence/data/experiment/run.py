"""`whence data experiment`: a ranking, arms × seeds, and the verdict, on one load of the base."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from whence.data.arms import Arm, parse_arms
from whence.data.build import build
from whence.data.evaluate.bench_tasks import harness_version, metric_column, need_harness
from whence.data.experiment.cells import (
    collect,
    collect_bench,
    lasting_objects_set_aside,
    lay_out,
    make_exam,
    run_cell,
    taken_by,
)
from whence.data.experiment.comparisons import Pair, comparisons_of
from whence.data.experiment.outcome import ExperimentResult, verdict_of
from whence.data.experiment.page import describe, write_report
from whence.data.experiment.plan import check_names, make_plan
from whence.data.experiment.planted import planted_summary
from whence.data.experiment.rank import (
    drawn_by,
    needs_adapter,
    other_rankings,
    rank_pool,
    scoring_adapter,
)
from whence.data.experiment.settings import ExperimentConfig
from whence.data.experiment.taken import finished_cells, ran_on, take_over
from whence.data.rankings import asked_rankings, ranking_inputs
from whence.runs.config import resolved
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import Manifest, load_manifest
from whence.runs.progress import track
from whence.runs.ranking import scores_file
from whence.runs.store import Run, open_run
from whence.runs.tables import write_parquet
from whence.text.embedding import TFIDF


def experiment(config: ExperimentConfig) -> ExperimentResult:
    """Build, train the scoring adapter, rank, train and judge every arm under every seed, compare.

    Killed and started again, it goes on with the first step that is not finished. Raises BadInput,
    before a model is loaded, for arms, splits, columns and planted truth that cannot be.
    """
    arms = parse_arms(config.arms)
    check_names(arms)
    bench = "bench" in config.judges
    if bench:
        need_harness()
    oracle = bool(config.planted and config.planted.oracle)
    pairs = comparisons_of(arms, config.compare, oracle=oracle)
    manifest = load_manifest(_manifest_path(config))
    asked = asked_rankings(arms)
    embedding = config.embedding_model or TFIDF
    splits = [config.pool_split, config.eval_split]
    splits += [config.query_split] if config.scores is None else []
    splits += [config.scoring_split] if needs_adapter(config) else []
    with open_run(
        config.output_dir,
        command="data experiment",
        config=config,
        inputs={
            "manifest": manifest.path,
            **{f"split {name}": manifest.split(name).path for name in splits},
            "base_model": config.identity(),
            "scores": config.scores and scores_file(config.scores),
            "scoring_adapter": config.scoring_adapter,
            "planted": config.planted and config.planted.file,
            "tasks": config.task_include_path if bench else None,
            "harness": harness_version() if bench else None,
            **ranking_inputs(asked, config.rankings, manifest, config.query_split, embedding),
        },
        overwrite=config.overwrite,
        seeds=config.seeds,
    ) as run:
        if not run.done:
            _conduct(config, arms, pairs, manifest, run)
    verdict = read_json(config.output_dir / "verdict.json")
    return ExperimentResult(config.output_dir, verdict, run.done)


def _manifest_path(config: ExperimentConfig) -> Path:
    """The manifest that is given, or the one that the data build makes (or has made)."""
    if config.build is None:
        assert config.manifest is not None  # the configuration's own check
        return config.manifest
    overwrite = config.overwrite or config.build.overwrite
    return build(config.build.model_copy(update={"overwrite": overwrite})).manifest.path


def _conduct(
    config: ExperimentConfig,
    arms: Sequence[Arm],
    pairs: Sequence[Pair],
    manifest: Manifest,
    run: Run,
) -> None:
    """Everything between reading the splits and writing the report, into the run's folder."""
    import pandas as pd
    import pyarrow as pa

    plan = make_plan(config, arms, manifest)
    base = cache(config.load)  # where every cell is taken over, nothing needs the model
    adapter = scoring_adapter(config, manifest, base, run)
    ranking = rank_pool(config, manifest, base, adapter, plan.pool, plan.given, run)
    rankings = other_rankings(plan, ranking, run)
    cells = lay_out(plan, config.seeds, ranking, rankings)
    scores = config.scores or run.folder / "scores.parquet"
    given = finished_cells(config, manifest, plan, cells, scores=scores, adapter=adapter)
    exam = cache(lambda: make_exam(plan, base().tokenizer, config.max_length))
    pool = plan.pool.set_index("row_id")
    start = adapter if config.start_from == "scoring_adapter" else None
    if len(given) < len(cells):
        exam()
    with lasting_objects_set_aside():
        for cell in track(cells, label="arms × seeds", unit="cells"):
            if cell.place in given:
                take_over(cell, given[cell.place], run.folder)
            else:
                run_cell(cell, config, base(), pool, exam(), start, run)
    items, curves = collect(cells, run.folder)
    planted = None
    if plan.planted is not None:
        planted = planted_summary(
            plan.planted, taken_by(cells), ranking, rankings, plan.sources.default
        )
    groups = dict(zip(plan.evaluation["row_id"], plan.evaluation["group_id"], strict=True))
    drawn = {line["arm"]: line["ranking"] for line in drawn_by(plan, rankings, taken_by(cells))}
    answers = collect_bench(cells, run.folder, plan.bench)
    judged = items if answers is None else pd.concat([items, answers], ignore_index=True)
    bench = [metric_column(task) for task in plan.bench]
    verdict = verdict_of(judged, groups, pairs, planted, drawn, bench)
    write_parquet(pa.Table.from_pandas(judged, preserve_index=False), run.folder / "items.parquet")
    write_json(run.folder / "config.json", resolved(config))
    write_report(
        run.folder / "report.html",
        config=config,
        plan=plan,
        ran_on=ran_on(given.values()) if len(given) == len(cells) else describe(base()),
        verdict=verdict,
        items=items,
        curves=curves,
        ranking=ranking,
        rankings=rankings,
        cells=cells,
    )
    # Last, so that a folder with a verdict has everything that the verdict rests on.
    write_json(run.folder / "verdict.json", verdict)
