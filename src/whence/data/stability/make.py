"""Rankings of one pool by every mode, projection and resample of the queries, on one loaded model.

A cell is a mode under a projection. Its rankings differ in the queries alone, so the pool's
gradients are formed once and scored against all of them; the second moment of the pool, which mixed
mode needs, is taken once too. Each ranking's scores are the very ones that `whence data score`
gives for the drawn query rows. Every step leaves a file, so a run that was killed goes on.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from whence.data.score import whitening
from whence.data.score.attribution import claim, query_gradients
from whence.data.score.gradients import ready_for_gradients
from whence.data.score.memory import free_memory
from whence.data.score.passes import Shared
from whence.data.score.pool import Question, score_pool
from whence.data.score.rows import score_table
from whence.data.score.tokens import tokenize_rows
from whence.data.stability.settings import Mode, StabilityConfig
from whence.errors import BadInput
from whence.models.adapters import using_adapter
from whence.runs.atomic import whole_file
from whence.runs.jsonfile import write_json
from whence.runs.progress import track
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from whence.data.score.tokens import TokenRows
    from whence.models.load import Loaded
    from whence.runs.store import Run

logger = logging.getLogger(__name__)

FINISHED = "summary.json"
"""The file that a ranking's folder gets last."""
SHARE_OF_MEMORY = 0.5
"""Of what is free, what questions may take that are asked of the pool together."""


def ranking_name(mode: Mode, projection_seed: int | None, resample: int) -> str:
    """The name of a ranking, which is that of its folder too."""
    projection = "" if projection_seed is None else f"-projection-{projection_seed}"
    return f"{mode}{projection}" + (f"-resample-{resample}" if resample else "")


def draw_queries(groups: Sequence[str], resamples: int, seed: int) -> list[np.ndarray]:
    """Rows of each query set: all of them first, then `resamples` drawn by whole groups, with
    replacement, as many groups as there are. int64 [rows] each.

    groups: a label per query. The same draws serve every mode and projection. Raises BadInput
    where a single group leaves nothing to draw.
    """
    import numpy as np

    labels, codes = np.unique(np.asarray(groups), return_inverse=True)
    if resamples and len(labels) < 2:
        raise BadInput(
            f"the queries are one group ({labels[0]}): drawn anew they are always the same; "
            "use --query-resamples 0"
        )
    members = [np.flatnonzero(codes == code) for code in range(len(labels))]
    sets = [np.arange(len(groups))]
    for number in range(1, resamples + 1):
        drawn = np.random.default_rng([seed, number]).integers(0, len(labels), len(labels))
        sets.append(np.sort(np.concatenate([members[code] for code in drawn])))
    return sets


def passes(config: StabilityConfig) -> dict[str, int]:
    """What making the rankings costs: passes over the pool and over the queries.

    Where the preconditioners of all query sets do not fit in memory together, the pool is passed
    over again for the rest.
    """
    cells = {(mode, seed) for mode, seed, _ in config.plan()}
    sets = config.query_resamples + 1
    return {
        "pool": sum(2 if mode == "mixed" else 1 for mode, _ in cells),
        "queries": sum(sets * (1 if mode == "none" else 2) for mode, _ in cells),
    }


def make_rankings(
    config: StabilityConfig,
    loaded: Loaded,
    pool: pd.DataFrame,
    query: pd.DataFrame,
    sets: Sequence[np.ndarray],
    run: Run,
) -> None:
    """Write `rankings/NAME/` with `scores.parquet` and `summary.json` for every ranking planned.

    pool, query: rows with `row_id, prompt, completion`. sets: query rows of each resample, as
    `draw_queries` gives them. Raises BadInput as `score_rows` does.
    """
    tokens, asked = (
        tokenize_rows(
            rows,
            loaded.tokenizer,
            mode=config.tokenization_mode,
            max_length=config.row_limit,
        )
        for rows in (pool, query)
    )
    cost = passes(config)
    logger.info(
        "%d rankings: %d passes over the pool of %s rows, %d over the %s queries",
        len(config.plan()), cost["pool"], f"{len(pool):,}", cost["queries"], f"{len(query):,}",
    )  # fmt: skip
    work = run.scratch / "making"
    cells = [cell for cell, _ in groupby(config.plan(), key=lambda planned: planned[:2])]
    with using_adapter(loaded, config.adapter_path) as adapted:
        # Not part of the record, and yet it changes numbers: what device "auto" took, what dtype.
        marker = work / "question.json"
        before = marker.read_bytes() if marker.exists() else None
        claim(work, adapted, tokens, asked, config.scoring(*cells[0]))
        if before is not None and marker.read_bytes() != before:
            shutil.rmtree(run.folder / "rankings", ignore_errors=True)
        for mode, projection_seed in track(cells, label="modes × projections", unit="cells"):
            _make_cell(config, adapted, mode, projection_seed, pool, tokens, asked, sets, run, work)


def _make_cell(
    config: StabilityConfig,
    adapted: Loaded,
    mode: Mode,
    projection_seed: int | None,
    pool: pd.DataFrame,
    tokens: TokenRows,
    asked: TokenRows,
    sets: Sequence[np.ndarray],
    run: Run,
    work: Path,
) -> None:
    folders = [
        run.folder / "rankings" / ranking_name(mode, projection_seed, resample)
        for resample in range(len(sets))
    ]
    if all((folder / FINISHED).is_file() for folder in folders):
        return
    import pyarrow as pa

    settings = config.scoring(mode, projection_seed)
    place = work / ranking_name(mode, projection_seed, 0)
    queries = [asked.take(rows.tolist()) for rows in sets]
    with ready_for_gradients(adapted) as targets:
        shared = Shared(adapted, settings, targets)
        mixing = [
            _question(shared, tokens, query, place, at)[1] for at, query in enumerate(queries)
        ]
        found = dict(_scores(shared, tokens, queries, place))
    for resample, folder in enumerate(folders):
        scores, losses = found[resample]
        table = pa.Table.from_pandas(
            score_table(pool, tokens, scores, losses), preserve_index=False
        )
        with whole_file(folder / "scores.parquet") as unfinished:
            write_parquet(table, unfinished)
        write_json(
            folder / FINISHED,
            {
                "rows": len(pool),
                "queries": len(sets[resample]),
                "settings": {
                    **{name: getattr(settings, name) for name in type(settings).model_fields},
                    "projection_dim": settings.projection,
                    "query_resample": resample,
                },
                "mixing_coefficient": mixing[resample],
                "query_rows": sets[resample],
            },
        )
    # Preconditioners of one cell are gigabytes for a large model; nobody needs them again.
    shutil.rmtree(place, ignore_errors=True)


def _question(
    shared: Shared, pool: TokenRows, query: TokenRows, place: Path, number: int
) -> tuple[Question, float | None]:
    """A query set's question and mixing coefficient: computed once, then read from its files."""
    home = place / f"queries-{number}"
    preconditioner, mixing = whitening.load_or_fit(
        shared, pool, query, home / "whitening.safetensors", place / "pool.safetensors"
    )
    gradients = query_gradients(shared, query, preconditioner, home / "query.safetensors")
    return Question(gradients, preconditioner), mixing


def _scores(
    shared: Shared, pool: TokenRows, queries: Sequence[TokenRows], place: Path
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """(query set, scores and losses of the pool): as many sets at once as memory holds."""
    sizes = [
        sum(file.stat().st_size for file in (place / f"queries-{at}").iterdir())
        for at in range(len(queries))
    ]
    at_once = max(1, int(SHARE_OF_MEMORY * free_memory(shared.loaded.device) // max(sizes)))
    for first in range(0, len(queries), at_once):
        numbers = range(first, min(len(queries), first + at_once))
        questions = [_question(shared, pool, queries[at], place, at)[0] for at in numbers]
        shards = place / f"shards-{numbers.start}-{numbers.stop}"
        scores, losses = score_pool(shared, pool, questions, shards)
        for column, number in enumerate(numbers):
            yield number, (scores[:, column], losses)
