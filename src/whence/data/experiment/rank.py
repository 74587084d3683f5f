"""The ranking of an experiment: an adapter to take gradients at, and the scores it gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from whence.data.experiment.settings import ExperimentConfig
from whence.data.ranking import check_covers, read_ranking
from whence.data.score.rows import score_rows
from whence.data.tokenize import align_rows
from whence.data.train import train_adapter
from whence.runs.jsonfile import write_json
from whence.runs.manifest import Manifest, read_split
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import pandas as pd

    from whence.models.load import Loaded


def scoring_adapter(
    config: ExperimentConfig, manifest: Manifest, base: Loaded, folder: Path
) -> Path | None:
    """The adapter at which gradients are taken: given, or trained on `scoring_split`.

    None where it is not needed: the ranking is given and every arm starts from the base.
    """
    if config.scoring_adapter is not None:
        return config.scoring_adapter
    if config.scores is not None and config.start_from == "base":
        return None
    adapter = folder / "scoring_adapter"
    finished = folder / "scoring_adapter" / "train_metrics.json"
    if not finished.is_file():
        rows = read_split(manifest, config.scoring_split)
        metrics = train_adapter(
            base,
            align_rows(rows, base.tokenizer, config.max_length),
            lora=config.lora,
            optim=config.optim.model_copy(update={"num_train_epochs": config.scoring_epochs}),
            seed=config.seeds[0],
            output=adapter,
            checkpoints=folder / "scoring_checkpoints",
            label="scoring adapter",
        )
        write_json(finished, metrics)
    return adapter


def rank_pool(
    config: ExperimentConfig, manifest: Manifest, base: Loaded, adapter: Path | None, folder: Path
) -> pd.DataFrame:
    """`row_id, score, rank, length_tokens, loss` of every pool row; kept in `scores.parquet`.

    Raises BadInput where a given ranking is not of this pool.
    """
    import pyarrow as pa

    pool = read_split(manifest, config.pool_split)
    if config.scores is not None:
        ranking = read_ranking(config.scores)
        check_covers(ranking, pool, config.scores, manifest.split(config.pool_split))
        return ranking
    file = folder / "scores.parquet"
    if not file.is_file():
        assert adapter is not None  # only a given ranking does without
        query = read_split(manifest, config.query_split)
        settings = config.score.model_copy(update={"max_length": config.max_length})
        scored = score_rows(base, adapter, pool, query, settings, folder / "scoring")
        write_parquet(pa.Table.from_pandas(scored.table, preserve_index=False), file)
    return read_ranking(file)
