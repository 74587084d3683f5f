"""The rankings of an experiment: an adapter to take gradients at, the scores it gives, and what
else arms are drawn by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.experiment.plan import Plan
from whence.data.experiment.settings import ExperimentConfig
from whence.data.rankings import ATTRIBUTION, make_rankings, trained_on
from whence.data.score.rows import score_rows
from whence.data.train import train_adapter
from whence.models.alignment import align_rows
from whence.runs.atomic import whole_file
from whence.runs.jsonfile import write_json
from whence.runs.manifest import Manifest, read_split
from whence.runs.ranking import read_ranking
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import pandas as pd

    from whence.models.load import Loaded
    from whence.runs.store import Run

KEPT = ("row_id", "score", "rank", "length_tokens", "loss")


def needs_adapter(config: ExperimentConfig) -> bool:
    """Whether an adapter has to be trained on `scoring_split` first.

    Not where one is given, nor where the ranking is given and every arm starts from the base.
    """
    if config.scoring_adapter is not None:
        return False
    return config.scores is None or config.start_from == "scoring_adapter"


def scoring_adapter(
    config: ExperimentConfig, manifest: Manifest, base: Callable[[], Loaded], run: Run
) -> Path | None:
    """The adapter at which gradients are taken: given, or trained on `scoring_split`, or None.

    base: gives the model, and is asked only where it is needed.
    """
    if not needs_adapter(config):
        return config.scoring_adapter
    adapter = run.folder / "scoring_adapter"
    finished = adapter / "train_metrics.json"
    if not finished.is_file():
        rows = read_split(manifest, config.scoring_split)
        lora, optim, seed = config.scoring_training()
        metrics = train_adapter(
            base(),
            align_rows(rows, base().tokenizer, config.max_length),
            lora=lora,
            optim=optim,
            seed=seed,
            output=adapter,
            checkpoints=run.scratch / "checkpoints" / "scoring_adapter",
            label="scoring adapter",
        )
        write_json(finished, metrics)
    return adapter


def rank_pool(
    config: ExperimentConfig,
    manifest: Manifest,
    base: Callable[[], Loaded],
    adapter: Path | None,
    pool: pd.DataFrame,
    given: pd.DataFrame | None,
    run: Run,
) -> pd.DataFrame:
    """`row_id, score, rank, length_tokens, loss` of every pool row.

    base: see `scoring_adapter`. Scores that are made here are kept in `scores.parquet`. A given
    table without lengths gets those that training sees; without losses its losses are NaN.
    """
    import pyarrow as pa

    if given is not None:
        ranking = given
        if "length_tokens" not in ranking.columns:
            aligned = align_rows(pool, base().tokenizer, config.max_length)
            lengths = [len(row.input_ids) for row in aligned]
            by_id = dict(zip(pool["row_id"], lengths, strict=True))
            ranking = ranking.assign(length_tokens=ranking["row_id"].map(by_id))
        if "loss" not in ranking.columns:
            ranking = ranking.assign(loss=float("nan"))
        return ranking[list(KEPT)]
    file = run.folder / "scores.parquet"
    if not file.is_file():
        assert adapter is not None  # only a given ranking does without
        query = read_split(manifest, config.query_split)
        scored = score_rows(base(), adapter, pool, query, config.score, run.scratch / "scoring")
        with whole_file(file) as unfinished:
            write_parquet(pa.Table.from_pandas(scored.table, preserve_index=False), unfinished)
    return read_ranking(file)[list(KEPT)]


def other_rankings(plan: Plan, ranking: pd.DataFrame, run: Run) -> dict[str, pd.DataFrame]:
    """The rankings that arms name with `by`; also in `rankings.parquet` (`ranking, row_id, score,
    rank`, and `part` where a predictor says it), from where they are read if it is there.
    """
    import pandas as pd
    import pyarrow as pa

    if not plan.asked:
        return {}
    file = run.folder / "rankings.parquet"
    if not file.is_file():
        made = make_rankings(plan.asked, plan.sources, ranking)
        table = pd.concat([each.assign(ranking=name) for name, each in made.items()])
        table.insert(0, "ranking", table.pop("ranking"))
        with whole_file(file) as unfinished:
            write_parquet(pa.Table.from_pandas(table, preserve_index=False), unfinished)
    kept = dict(iter(pd.read_parquet(file).groupby("ranking", sort=False)))
    return {
        name: kept[name].drop(columns="ranking").dropna(axis=1, how="all").reset_index(drop=True)
        for name in plan.asked
    }


def drawn_by(
    plan: Plan, rankings: Mapping[str, pd.DataFrame], taken: Mapping[str, Sequence[Sequence[str]]]
) -> list[dict[str, Any]]:
    """A line for each arm with ranks: `arm`, the `ranking` it was drawn by and, where a predictor
    made that, how many of the arm's rows the predictor was fitted on (`trained on`, else None).

    taken: arm → the rows it trained on, one list per seed. No line where no arm names a ranking and
    the scores are no predictor's.
    """
    if not plan.asked and plan.sources.default == ATTRIBUTION:
        return []
    lines = []
    for arm in plan.arms:
        if arm.ranked:
            table = plan.given if arm.by is None else rankings[arm.by]
            known = table is not None and "part" in table.columns
            seen = len(trained_on(table) & set(taken[arm.name][0])) if known else None
            name = arm.by or plan.sources.default
            lines.append({"arm": arm.name, "ranking": name, "trained on": seen})
    return lines
