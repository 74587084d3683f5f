"""One battery on one corpus: the example-by-example table, resumable start layer by start layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.heads.baseline import Baseline, example_rows
from whence.heads.battery import ActivationPatch, Battery
from whence.heads.chosen import subsamples, that_meet, what_seeds_vary, with_seeds
from whence.heads.groups import Side, Unit, make_groups, units_of
from whence.heads.interventions import Intervention, interventions
from whence.heads.prompts import Examples
from whence.heads.reading import Reading
from whence.heads.sweep import Sweep
from whence.runs.atomic import whole_file
from whence.runs.progress import Progress
from whence.runs.tables import read_table, write_parquet

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded
    from whence.models.replay import Replay


@dataclass(frozen=True)
class ConditionResult:
    """per_example: one row per intervention, example and seed (docs/files.md has its columns).

    baseline: the undisturbed run and how prompts were read. notes: seeds and what they vary, cost.
    """

    per_example: pa.Table
    baseline: Mapping[str, Any]
    notes: Mapping[str, Any]


def run_condition(
    loaded: Loaded,
    anatomy: Anatomy,
    examples: Examples,
    battery: Battery,
    reading: Reading,
    shards: Path,
    *,
    replay: Replay | None = None,
    label: str = "interventions",
) -> ConditionResult:
    """Run `battery` on `examples` and read every intervention of every example.

    shards: a folder that gets one Parquet file per start layer, whole or not there; those present
    are not computed again, so the folder belongs to one battery, corpus, model and reading.
    replay: shared by several conditions of one model.

    Raises BadInput for heads or layers out of range, prompts that a patch cannot meet, and logits
    that are not finite.
    """
    from whence.models.replay import Replay

    asked = interventions(battery, anatomy, reading.seeds)
    patch_from: Side | None = None
    if isinstance(battery, ActivationPatch):
        patch_from = "corrupt" if battery.patch_direction == "corrupt->clean" else "clean"
        examples = that_meet(examples, battery)
    drawn = subsamples(examples, reading, patch_from)
    if drawn:
        wanted = frozenset().union(*drawn.values())
        units = units_of(examples.rows, reading.metric_span, patch_from=patch_from)
        examples = examples.only([at for at, unit in enumerate(units) if unit.prompt in wanted])
    units = units_of(examples.rows, reading.metric_span, patch_from=patch_from)
    groups = make_groups(
        examples.rows,
        units,
        reading.metric_span,
        max_rows=reading.batch_size,
        device=loaded.device,
    )
    sweep = Sweep(
        replay or Replay(anatomy),
        groups,
        battery.positions,
        reading.metric_span == "full_target",
        reading.memory_gb,
    )
    before = sweep.replay.block_tokens
    clean = sweep.baseline()
    source = _source_logit_diff(sweep, examples, patch_from)
    baseline = Baseline(examples, units, clean, source, sweep.noise())
    table = run_shards(sweep, asked, baseline, shards, label)
    return ConditionResult(
        per_example=with_seeds(table, drawn, [unit.prompt for unit in units]),
        baseline=baseline.summary(),
        notes={
            "interventions": len(asked),
            "block_tokens": sweep.replay.block_tokens - before,
            "tokens": sum(group.ids.numel() for group in groups),
            "layers": anatomy.n_layers,
            "heads": anatomy.n_heads,
            "seeds": what_seeds_vary(battery, reading),
        },
    )


def _source_logit_diff(
    sweep: Sweep, examples: Examples, patch_from: Side | None
) -> np.ndarray | None:
    """Logit difference of the undisturbed run of each example's partner prompt, for patches."""
    if patch_from is None:
        return None
    units = [
        Unit(unit.source or (), (), None)
        for unit in units_of(examples.rows, "first_token", patch_from=patch_from)
    ]
    most = max(len(group.units) for group in sweep.groups)
    device = sweep.groups[0].ids.device
    groups = make_groups(examples.rows, units, "first_token", max_rows=most, device=device)
    partner = Sweep(sweep.replay, groups, sweep.positions, False, sweep.memory_gb)
    return partner.baseline()["logit_diff"]


def run_shards(
    sweep: Sweep,
    asked: Sequence[Intervention],
    baseline: Baseline,
    shards: Path,
    label: str,
) -> pa.Table:
    """The rows of every intervention, from shards already there and from those made now.

    shards: one Parquet file per start layer. Rows stand by intervention (its position in `asked`)
    and by example (the column `row`).
    """
    import pyarrow as pa

    def shard(start: int) -> Path:
        return shards / f"{start:04d}.parquet"

    starts = sorted({one.start for one in asked})
    present = [start for start in starts if shard(start).is_file()]
    done = sum(1 for one in asked if one.start in present)
    with Progress(label, len(asked), "interventions", done) as progress:
        made = sweep.run_missing(asked, lambda start: start in present)
        for start, members, readings in made:
            rows = example_rows(asked, members, readings, baseline)
            with whole_file(shard(start)) as temporary:
                write_parquet(rows, temporary)
            progress.advance(len(members))
    tables = [read_table(shard(start)) for start in starts]
    return pa.concat_tables(tables).sort_by([("intervention", "ascending"), ("row", "ascending")])
