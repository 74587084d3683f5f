"""`whence data cell`: one arm of an experiment under one seed, by itself, wherever it is run.

An experiment takes the folder over (`cells`), and so does any other that would have made the same:
the record keeps what decides a cell and nothing else, whatever the experiment compares beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from whence.data.arms import Arm, parse_arms, target_of
from whence.data.draws import default_match_on
from whence.data.evaluate.bench_tasks import harness_version
from whence.data.experiment.cells import (
    Cell,
    lasting_objects_set_aside,
    lay_out,
    make_exam,
    run_cell,
)
from whence.data.experiment.comparisons import BASE, ORACLE
from whence.data.experiment.page import describe
from whence.data.experiment.plan import Plan, check_names, make_plan
from whence.data.experiment.rank import rank_pool
from whence.data.experiment.settings import ExperimentConfig
from whence.data.rankings import LIKE_QUERIES, asked_rankings, make_rankings, ranking_inputs
from whence.errors import BadInput
from whence.models.load import Loaded
from whence.models.settings import absolute_model
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import Manifest, load_manifest
from whence.runs.ranking import scores_file
from whence.runs.store import Run, open_run
from whence.text.embedding import TFIDF

COMMAND = "data cell"
ABOUT = "about.json"
NO_ARM = ("full",)
"""Stands where a cell is drawn by no arm: the base, and the oracle."""
OF_SCORES = ("attribution", "predictor", "length", "loss")
"""Rankings that are made from scores or from what those know."""


class CellConfig(ExperimentConfig):
    """Train one arm of an experiment under one seed and judge it: settings of the experiment,
    and which cell of it. Its ranking and scoring adapter must be made before.
    """

    read_by_content: ClassVar[frozenset[str]] = frozenset(
        {"manifest", "scores", "scoring_adapter", "rankings"}
    )
    not_identity: ClassVar[frozenset[str]] = frozenset({"question", "planted.file"})

    arm: str = Field(description="The arm's name; base and oracle are arms as well.")
    seed: int | None = Field(default=None, description="Its seed; none for base.")


@dataclass(frozen=True)
class CellResult:
    """folder: where its adapter and items are, below `arms/`. about: `about.json`."""

    folder: Path
    about: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """What the cell trained on, and how well it did."""
        about = self.about
        done = "already done" if self.done_before else "done"
        under = "" if about["seed"] is None else f" under seed {about['seed']}"
        return Finding(
            headline=f"Arm {about['arm']}{under} {done}: {about['rows']:,} rows trained on.",
            columns=("metric", "mean"),
            rows=[(name, f"{value:.4f}") for name, value in about["means"].items()],
            files={"cell": self.folder / about["place"]},
        )


def data_cell(config: CellConfig, base: Loaded | None = None) -> CellResult:
    """Draw the cell's rows, train, judge, as `whence data experiment` does.

    base: the model, where it is at hand; it is given back as it was. Raises BadInput for an arm
    that there is not, a seed that is missing or too much, and scores or an adapter that the cell
    needs and are not given.
    """
    if config.manifest is None:
        raise BadInput("manifest: a cell needs data that are built; give --manifest")
    manifest = load_manifest(config.manifest)
    config = cell_settings(
        config,
        config.arm,
        config.seed,
        manifest,
        scores=config.scores,
        adapter=config.scoring_adapter,
        output_dir=config.output_dir,
    )
    with open_run(
        config.output_dir,
        command=COMMAND,
        config=config,
        inputs=cell_inputs(config, manifest),
        overwrite=config.overwrite,
        seeds=[] if config.seed is None else [config.seed],
    ) as run:
        if not run.done:
            _conduct(config, manifest, base or config.load(), run)
    return CellResult(config.output_dir, read_json(config.output_dir / ABOUT), run.done)


def cell_settings(
    config: ExperimentConfig,
    arm: str,
    seed: int | None,
    manifest: Manifest,
    *,
    scores: Path | None,
    adapter: Path | None,
    output_dir: Path,
) -> CellConfig:
    """The settings of one cell, all that cannot change it at rest: two experiments that would make
    the same cell have the same of it, paths aside.

    scores, adapter: the experiment's, need not exist. Raises BadInput as `data_cell` does.
    """
    arms = parse_arms(config.arms)
    check_names(arms)
    texts, match_on = _drawn_from(arms, arm, config)
    own = parse_arms(texts)
    if (seed is None) != (arm == BASE):
        raise BadInput(f"seed: {arm} {'is trained by none' if arm == BASE else 'needs one'}")
    asked = asked_rankings(own)
    continues = config.start_from == "scoring_adapter"
    if continues and adapter is None:
        raise BadInput("scoring_adapter: this cell continues from it; give --scoring-adapter")
    if arm not in (BASE, ORACLE) and _needs_scores(own, config.rankings):
        if scores is None:
            raise BadInput(
                f"scores: arm {arm} is drawn by them; make them with `whence data score`"
            )
    else:
        scores = None
    rested: dict[str, Any] = {
        "output_dir": output_dir,
        "manifest": manifest.path,
        "base_model": absolute_model(config.base_model),
        "arms": texts,
        "arm": arm if arm in (BASE, ORACLE) else own[-1].name,
        "seed": seed,
        "seeds": (seed or 0,),
        "scores": scores,
        "scoring_adapter": adapter if continues else None,
        "rankings": {name: path for name, path in config.rankings.items() if name in asked},
        "match_on": match_on(manifest) if match_on else (),
        "planted": config.planted if arm == ORACLE else None,
    }
    kept = ["revision", "trust_remote_code", "dtype", "device", "overwrite", "start_from"]
    kept += ["pool_split", "eval_split", "judges", "max_length", "eval_batch_tokens"]
    kept += ["lora", "optim"] if arm != BASE else []
    kept += ["max_new_tokens"] if "words" in config.judges else []
    if "bench" in config.judges:
        kept += ["tasks", "task_include_path", "task_limit", "task_batch_size"]
    if any(name in LIKE_QUERIES and name not in config.rankings for name in asked):
        kept.append("query_split")
    if "embedding" in asked and config.embedding_model != TFIDF:
        kept.append("embedding_model")
    return CellConfig.model_validate({**{name: getattr(config, name) for name in kept}, **rested})


def cell_inputs(config: CellConfig, manifest: Manifest) -> dict[str, Any]:
    """What the record of a cell keeps beside its settings, as `open_run` takes it."""
    asked = asked_rankings(parse_arms(config.arms))
    bench = "bench" in config.judges
    return {
        "eval": manifest.split(config.eval_split).path,
        "pool": None if config.arm == BASE else manifest.split(config.pool_split).path,
        "base_model": config.identity(),
        "scores": config.scores and scores_file(config.scores),
        "scoring_adapter": config.scoring_adapter,
        "planted": config.planted and config.planted.file,
        "tasks": config.task_include_path if bench else None,
        "harness": harness_version() if bench else None,
        **ranking_inputs(
            asked,
            config.rankings,
            manifest,
            config.query_split,
            config.embedding_model or TFIDF,
        ),
    }


def _drawn_from(
    arms: Sequence[Arm], name: str, config: ExperimentConfig
) -> tuple[tuple[str, ...], Any]:
    """The arms that decide the rows of arm `name`, as texts, itself last; and what gives the
    columns that it is matched on, None where it is matched on nothing.

    Where a name is the key of a random stream it stays; else it is the one that the text gives.
    """
    if name == ORACLE and not (config.planted and config.planted.oracle):
        raise BadInput("arm oracle: needs planted.oracle, the number of its rows")
    if name in (BASE, ORACLE):
        return NO_ARM, None
    by_name = {arm.name: arm for arm in arms}
    if name not in by_name:
        from whence.runs.validation import nearest

        raise BadInput(f"arm {name}: not among the arms{nearest(name, [*by_name, BASE, ORACLE])}")
    arm = by_name[name]
    if arm.kind != "matched_random":
        return (_text(arm),), None
    kinds = {other.name: other.kind for other in arms if other.kind != "matched_random"}
    target = _text(by_name[target_of(arm, kinds)])
    overlap = ":overlap=yes" if arm.overlap else ""
    of = parse_arms([target])[0].name
    text = f"{arm.name}=matched_random:of={of}{overlap}"

    def match_on(manifest: Manifest) -> tuple[str, ...]:
        if config.match_on is not None:
            return config.match_on
        return _default_match_on(manifest, config.pool_split)

    return (target, text), match_on


def _text(arm: Arm) -> str:
    return f"{arm.name}={arm.spec}" if arm.kind == "random" else arm.spec


@cache
def _columns(path: Path, modified: int) -> tuple[str, ...]:
    from whence.runs.tables import read_table

    return tuple(read_table(path).column_names)


def _default_match_on(manifest: Manifest, split: str) -> tuple[str, ...]:
    path = manifest.split(split).path
    if not path.is_file():
        raise BadInput(f"{path}: no such file, the split {split} of {manifest.path}")
    return default_match_on(manifest, _columns(path, path.stat().st_mtime_ns))


def _needs_scores(arms: Sequence[Arm], given: Mapping[str, Path]) -> bool:
    """Whether rows depend on the scores: by rank, or by the lengths that they know."""
    return any(
        arm.kind == "matched_random"
        or (arm.by is None and (arm.ranked or arm.after > 0))
        or (arm.by in OF_SCORES and arm.by not in given)
        for arm in arms
    )


def _conduct(config: CellConfig, manifest: Manifest, base: Loaded, run: Run) -> None:
    """Draw, train and judge; `about.json` is written last."""
    plan = make_plan(config, parse_arms(config.arms), manifest)
    cell = _cell(config, plan, manifest, base, run)
    start = config.scoring_adapter if config.start_from == "scoring_adapter" else None
    exam = make_exam(plan, base.tokenizer, config.max_length)
    with lasting_objects_set_aside():
        run_cell(cell, config, base, plan.pool.set_index("row_id"), exam, start, run)
    import pandas as pd

    items = pd.read_parquet(run.folder / cell.place / "items.parquet")
    judged = ["loss", *(["correct"] if items["correct"].notna().all() else [])]
    write_json(
        run.folder / ABOUT,
        {
            "arm": cell.arm,
            "seed": cell.seed,
            "place": cell.place,
            "rows": len(cell.row_ids),
            "means": {name: float(items[name].astype("float64").mean()) for name in judged},
            "ran_on": describe(base),
        },
    )


def _cell(config: CellConfig, plan: Plan, manifest: Manifest, base: Loaded, run: Run) -> Cell:
    if config.seed is None:
        return Cell(BASE, None)
    if config.scores is None:  # its rows depend on no rank
        ranking = plan.pool[["row_id"]].assign(score=0.0)
    else:
        ranking = rank_pool(config, manifest, lambda: base, None, plan.pool, plan.given, run)
    rankings = make_rankings(plan.asked, plan.sources, ranking) if plan.asked else {}
    cells = lay_out(plan, [config.seed], ranking, rankings)
    return next(cell for cell in cells if cell.arm == config.arm)
