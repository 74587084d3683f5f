"""Bergson, driven from one process with one loaded model: preconditioner, query, then the pool.

What Bergson's `hessian`, `reduce` or `build`, and `score` commands do in as many processes and
model loads is done here through the collectors beneath them, with equal numbers (a test and
`benchmarks/score.py` hold this). Every step leaves one file in the work folder, the pool one per
shard, so that a run that was killed goes on where it was. Gradients of pool rows exist one batch
at a time; those of queries are kept, as their mean or (nearest) one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.score import whitening
from whence.data.score.gradients import ready_for_gradients
from whence.data.score.memory import refuse_beyond_memory
from whence.data.score.passes import Shared, run_pass
from whence.data.score.pool import Question, score_pool
from whence.data.score.settings import ScoreSettings
from whence.data.score.steps import load_step, save_step
from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint, hash_path
from whence.runs.jsonfile import read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from whence.data.score.tokens import TokenRows
    from whence.models.load import Loaded


@dataclass(frozen=True)
class Attribution:
    """What scoring found. scores, losses: float32 [pool rows]; a loss is a mean per labelled token.

    modules: weight matrices attributed to, with `attributed_weights` weights in all, of the
    adapter's `adapter_weights`. dimensions: numbers in one row's gradient, after projection.
    query_bytes: what the query gradients took. mixing_coefficient: what mixed mode used.
    """

    scores: np.ndarray
    losses: np.ndarray
    modules: int
    attributed_weights: int
    adapter_weights: int
    dimensions: int
    query_bytes: int
    mixing_coefficient: float | None


def attribute(
    loaded: Loaded, pool: TokenRows, query: TokenRows, settings: ScoreSettings, work: Path
) -> Attribution:
    """Score every pool row against the queries with respect to the weights of `loaded`'s adapter.

    work: folder for finished steps. A later call with the same rows, model, adapter and settings
    goes on from them; with others it begins anew. The model is left as it was found.
    Raises BadInput where the adapter has no linear LoRA layer, where a query has no finite
    gradient, and where the settings need more memory than there is.
    """
    claim(work, loaded, pool, query, settings)
    with ready_for_gradients(loaded) as targets:
        shared = Shared(loaded, settings, targets)
        preconditioner, mixing = whitening.load_or_fit(
            shared, pool, query, work / "whitening.safetensors"
        )
        gradients = query_gradients(shared, query, preconditioner, work / "query.safetensors")
        question = Question(gradients, preconditioner)
        scores, losses = score_pool(shared, pool, [question], work / "shards")
        weights = {name: loaded.model.base_model.get_submodule(name).weight for name in targets}
    adapter = [w for name, w in loaded.model.named_parameters() if ".lora_" in name]
    return Attribution(
        scores=scores[:, 0],
        losses=losses,
        modules=len(targets),
        attributed_weights=sum(weight.numel() for weight in weights.values()),
        adapter_weights=sum(weight.numel() for weight in adapter),
        dimensions=sum(shared.sizes.values()),
        query_bytes=sum(gradient.nbytes for gradient in gradients.values()),
        mixing_coefficient=mixing,
    )


def query_gradients(
    shared: Shared, query: TokenRows, preconditioner: Any, file: Path
) -> Mapping[str, Tensor]:
    """Name of each weight matrix → its part of the query gradients, float32 [1 or queries, d].

    One row in mean mode, one per query in nearest mode, preconditioned and unit-normalised as the
    settings say. Taken from `file` if it is there, and kept there otherwise.
    """
    if not file.exists():
        save_step(file, _fit_query(shared, query, preconditioner))
    return load_step(file, shared.loaded.device)[0]


def _fit_query(shared: Shared, query: TokenRows, preconditioner: Any) -> Mapping[str, Tensor]:
    from bergson import IndexConfig, InMemoryCollector, PreprocessConfig

    settings = shared.settings
    mean = settings.score_mode == "mean"
    refuse_beyond_memory(
        (1 if mean else len(query)) * 4 * sum(shared.sizes.values()),
        shared.loaded.device,
        f"--score-mode {settings.score_mode} with {len(query)} queries",
        "use --score-mode mean, a --projection-dim, or fewer queries",
    )

    def collector(data: Any) -> Any:
        made = InMemoryCollector(
            model=shared.loaded.model.base_model,
            data=data,
            # No path is written to; Bergson's configuration only wants one.
            cfg=IndexConfig(run_path=""),
            processor=shared.processor(),
            target_modules=shared.targets,
            preprocess_cfg=PreprocessConfig(
                unit_normalize=settings.unit_normalize, aggregation="mean" if mean else "none"
            ),
        )
        # Given as a path, Bergson would invert the second moments here and once more for the pool.
        made.builder.preconditioner = preconditioner
        return made

    filled = run_pass(shared, query, collector, "gradients of the query")
    filled.teardown()
    gradients: dict[str, Tensor] = {name: part.float() for name, part in filled.gradients.items()}
    if not all(bool(part.isfinite().all()) for part in gradients.values()):
        bad = (~filled.per_doc_losses.isfinite()).nonzero()[:, 0].tolist()
        raise BadInput(
            "the query has no finite gradient"
            + (f" (its rows {bad[:5]}, counted from 0, have no finite loss)" if bad else "")
            + ": check the adapter, or use --dtype float32"
        )
    return gradients


def claim(
    work: Path, loaded: Loaded, pool: TokenRows, query: TokenRows, settings: ScoreSettings
) -> None:
    """Keep what is in `work` if it was made for the same question, else remove it.

    Every file of `work` and of folders in it that a step leaves (`.safetensors`, `.npz`).
    """
    question = {
        # Settings may come with those of a command, which change nothing here.
        "settings": {name: getattr(settings, name) for name in ScoreSettings.model_fields},
        "base": [loaded.source, loaded.revision, str(loaded.dtype)],
        "adapter": hash_path(loaded.adapter) if loaded.adapter else None,
        "pool": _fingerprint_rows(pool),
        "query": _fingerprint_rows(query),
    }
    record = work / "question.json"
    if record.exists() and read_json(record) == question:
        return
    for made in _step_files(work):
        made.unlink()
    write_json(record, question)


def _fingerprint_rows(rows: TokenRows) -> str:
    import hashlib

    digest = hashlib.sha256()
    for part in (rows.ids, rows.labels, rows.starts):
        digest.update(part.tobytes())
    return fingerprint([len(rows), digest.hexdigest()])


def _step_files(work: Path) -> Sequence[Path]:
    return [*work.rglob("*.safetensors"), *work.rglob("*.npz")]
