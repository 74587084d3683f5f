"""The pass over the pool: every row's gradient against one question or against several at once.

Several questions (sets of queries) of one pool share its pass: a row's gradient is formed once,
which is what costs, and scored by each. One file a shard, so that a run that was killed goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.score.gradients import collect
from whence.data.score.memory import within_memory
from whence.data.score.passes import Shared
from whence.models.batching import token_batches
from whence.runs.atomic import whole_file
from whence.runs.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from whence.data.score.tokens import TokenRows

BATCHES_PER_SHARD = 8
"""Batches between two files: a kill loses at most these, and each file costs some milliseconds."""


@dataclass(frozen=True)
class Question:
    """What pool rows are scored against.

    gradients: name of each weight matrix → its part of the query gradients, float32 [1 or queries,
    d], as `query_gradients` gives them. preconditioner: Bergson's, or None.
    """

    gradients: Mapping[str, Tensor]
    preconditioner: Any


def score_pool(
    shared: Shared, pool: TokenRows, questions: Sequence[Question], folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all pool rows, float32 [rows, questions], and their mean losses, float32 [rows].

    One pass over the pool, shard by shard into `folder`; shards that are there already are read,
    not computed. A question's scores are the same bytes whatever others it is asked with.
    """
    import numpy as np

    budget = shared.settings.token_batch_size
    batches = token_batches(pool.lengths.tolist(), budget)
    shards = [
        sorted(index for batch in batches[at : at + BATCHES_PER_SHARD] for index in batch)
        for at in range(0, len(batches), BATCHES_PER_SHARD)
    ]
    files = [folder / f"{number:05}.npz" for number in range(len(shards))]
    finished = [file.exists() for file in files]
    scores = np.full((len(pool), len(questions)), np.nan, dtype=np.float32)
    losses = np.full(len(pool), np.nan, dtype=np.float32)
    done = sum(len(shard) for shard, is_there in zip(shards, finished, strict=True) if is_there)
    with Progress("scoring the pool", total=len(pool), done=done) as progress:
        for shard, file, is_there in zip(shards, files, finished, strict=True):
            if is_there:
                with np.load(file) as kept:
                    scores[shard], losses[shard] = kept["scores"], kept["losses"]
                continue
            rows = pool.take(shard)
            (scores[shard], losses[shard]), budget = within_memory(
                lambda tokens, rows=rows: _score(  # type: ignore[misc]
                    shared, rows, questions, tokens
                ),
                budget,
            )
            with whole_file(file) as unfinished:
                np.savez(unfinished, scores=scores[shard], losses=losses[shard])
            progress.advance(len(shard))
    return scores, losses


def _score(
    shared: Shared, rows: TokenRows, questions: Sequence[Question], token_budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [rows, questions] and mean losses [rows] of `rows`; their gradients are scored as they
    appear and dropped.
    """
    import numpy as np
    from bergson import IndexConfig, InMemoryCollector
    from datasets import Dataset

    scorers = [_scorer(shared, question, len(rows)) for question in questions]
    collector = InMemoryCollector(
        model=shared.loaded.model.base_model,
        data=Dataset.from_dict({"length": rows.lengths}),
        cfg=IndexConfig(run_path=""),
        processor=shared.processor(),
        target_modules=shared.targets,
        scorer=_Together(scorers),
    )
    collect(
        shared.loaded,
        collector,
        rows,
        token_batches(rows.lengths.tolist(), token_budget),
        shared.settings.loss_reduction,
        lambda _rows: None,
    )
    scores = np.stack([scorer.writer.scores[:, 0].numpy() for scorer in scorers], axis=1)
    return scores, collector.per_doc_losses.float().cpu().numpy()


def _scorer(shared: Shared, question: Question, rows: int) -> Any:
    """Bergson's scorer of `rows` rows against one question."""
    import torch
    from bergson import Scorer
    from bergson.score.score_writer import InMemorySequenceScoreWriter

    settings, preconditioner = shared.settings, question.preconditioner
    return Scorer(
        query_grads=dict(question.gradients),
        modules=list(question.gradients),
        writer=InMemorySequenceScoreWriter(rows, num_scores=1),
        device=shared.loaded.device,
        dtype=torch.float32,
        unit_normalize=settings.unit_normalize,
        score_mode="nearest" if settings.score_mode == "nearest" else "individual",
        # H^-1/2 on both sides; without unit norm H^-1 is in the query's gradients already.
        index_transform=preconditioner.apply
        if preconditioner is not None and settings.unit_normalize
        else None,
    )


class _Together:
    """Scorers of several questions as one: a batch's gradients are formed once, scored by each.

    Each scores by itself, so that its numbers do not depend on who else listens.
    """

    def __init__(self, scorers: Sequence[Any]) -> None:
        self.scorers = scorers
        self.streaming: bool = scorers[0].streaming
        self.writer = scorers[0].writer

    def accumulate(self, name: str, gradients: Any) -> None:
        for scorer in self.scorers:
            scorer.accumulate(name, gradients)

    def __call__(self, indices: list[int], gradients: Any) -> None:
        for scorer in self.scorers:
            scorer(indices, gradients)
