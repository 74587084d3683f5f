"""What a condition leaves on disk: tables, summary, heatmap; and what several say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from whence.errors import BadInput
from whence.heads.metrics import METRICS, requested
from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import read_table, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

    from whence.heads.impact import Impact


class Measured(Protocol):
    """What `run_condition` returns, as far as this module reads it."""

    @property
    def per_example(self) -> pa.Table: ...
    @property
    def baseline(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Tables:
    """One condition's results.

    written: the tables on disk, a row per seed. joint: the same over all seeds together (`seed` is
    null; with one seed the same object). summary: the content of summary.json.
    """

    run_id: str
    condition: str | None
    summary: Mapping[str, Any]
    written: Impact
    joint: Impact

    @property
    def head_impact(self) -> pa.Table | None:
        return self.written.heads

    @property
    def layer_impact(self) -> pa.Table | None:
        return self.written.layers

    @property
    def pair_impact(self) -> pa.Table | None:
        return self.written.pairs

    @property
    def subset_impact(self) -> pa.Table | None:
        return self.written.subsets


def write_condition(
    folder: Path,
    result: Measured,
    *,
    run_id: str,
    condition: str | None,
    battery: Mapping[str, Any],
    model: Mapping[str, Any],
    metrics: Sequence[str] | None = None,
    corpus: Mapping[str, Any] | None = None,
) -> Tables:
    """Write `metrics/*` and `artifacts/impact_heatmap.*` of one condition into `folder`.

    metrics: as a config lists them (`metrics.requested` completes them); None: all that were
    measured. battery: its dump (`type`, `method`, `positions`, `granularity`, `patch_direction`…).
    model, corpus: what the summary says of them; `model["n_heads"]`, or else `notes["heads"]`, is
    how many heads a layer has. Only tables that have rows are written.

    Raises BadInput for a metric that was not measured or a value that is not finite.
    """
    n_heads = model.get("n_heads", result.notes.get("heads"))
    names = _metrics(metrics, result.per_example)
    tables, per_seed = _impact(result.per_example, names, battery, run_id, n_heads)
    from whence.heads.summary import summary

    told = summary(
        tables["joint"],
        per_seed,
        run_id=run_id,
        condition=condition,
        model=model,
        corpus=corpus or {},
        battery=battery,
        metrics=names,
        baseline=result.baseline,
        notes=result.notes,
    )
    written = tables["written"]
    for name, table in _by_file(written).items():
        path = folder / "metrics" / name
        path.unlink(missing_ok=True)  # an interrupted attempt may have left one
        if table is not None:
            write_parquet(table, path)
    write_parquet(result.per_example, folder / "metrics" / "per_example.parquet")
    done = Tables(run_id, condition, told, **tables)
    _draw(folder, {condition or run_id: done}, title=condition or run_id)
    # Last: a summary says that the rest is there.
    write_json(folder / "metrics" / "summary.json", told)
    return done


def write_cross_condition(folder: Path, conditions: Mapping[str, Tables], *, run_id: str) -> Path:
    """Write what the conditions say together into `folder/artifacts`, and return that folder.

    `cross_condition/{head_matrix.parquet,layer_matrix.parquet,summary.json,invariants.json}` (a
    matrix only where it has rows) and one heatmap of all conditions in one colour scale.
    conditions: tag → its tables.
    """
    from whence.heads import cross_condition as cross

    into = folder / "artifacts" / "cross_condition"
    for name, table in cross.matrices(conditions, run_id=run_id).items():
        write_parquet(table, into / name)
    write_json(into / "invariants.json", cross.invariants(conditions))
    write_json(into / "summary.json", cross.summary(conditions, run_id=run_id))
    _draw(folder, conditions, title=run_id)
    return into


def write_report(
    folder: Path,
    conditions: Mapping[str, Tables],
    *,
    title: str | None = None,
    rerun: Mapping[str, Any] | None = None,
) -> Path:
    """Write `folder/report.html` of all conditions (tag → tables; the tag of a single one may be
    empty) and return it.

    rerun: the last section, as `report.provenance_sections.Rerun`; by default what `whence.json` in
    `folder` says of the run.
    """
    from whence.heads.report import report

    return report(folder / "report.html", conditions, title=title, rerun=rerun)


def read_condition(folder: Path) -> Tables:
    """What `write_condition` wrote into `folder`, its effects computed anew from `per_example`.

    Raises BadInput when `folder/metrics` does not hold a finished condition.
    """
    path = folder / "metrics" / "summary.json"
    if not path.is_file():
        raise BadInput(f"{folder}: no metrics/summary.json; expected the output of a finished run")
    told = read_json(path)
    try:
        run_id, battery, names = told["run_id"], told["battery"], told["metrics"]
        n_heads = told["model"].get("n_heads", told["notes"].get("heads"))
    except (KeyError, TypeError, AttributeError):
        raise BadInput(f"{path}: not a summary of `whence heads`") from None
    table = read_table(folder / "metrics" / "per_example.parquet")
    tables, _ = _impact(table, _metrics(names, table), battery, run_id, n_heads)
    return Tables(run_id, told.get("condition"), told, **tables)


def _impact(
    per_example: pa.Table,
    metrics: Sequence[str],
    battery: Mapping[str, Any],
    run_id: str,
    n_heads: int | None,
) -> tuple[dict[str, Impact], list[Any]]:
    from whence.heads.effects import grids, together
    from whence.heads.impact import impact

    per_seed = grids(per_example)
    if not per_seed:
        raise BadInput(f"{run_id}: nothing was measured: no example or no intervention")
    written = impact(per_seed, metrics, battery, run_id=run_id, n_heads=n_heads)
    joint = written
    if len(per_seed) > 1:
        joint = impact([together(per_seed)], metrics, battery, run_id=run_id, n_heads=n_heads)
    return {"written": written, "joint": joint}, per_seed


def _metrics(names: Sequence[str] | None, per_example: pa.Table) -> tuple[str, ...]:
    whole = "seq_logprob" in per_example.column_names
    if names is None:
        return tuple(name for name in METRICS if whole or not METRICS[name].full_target)
    return requested(names, full_target=whole)


def _by_file(tables: Impact) -> dict[str, pa.Table | None]:
    return {
        "head_impact.parquet": tables.heads,
        "layer_impact.parquet": tables.layers,
        "pair_impact.parquet": tables.pairs,
        "subset_impact.parquet": tables.subsets,
    }


def _draw(folder: Path, conditions: Mapping[str, Tables], *, title: str) -> None:
    heads = {
        name: tables.joint.heads
        for name, tables in conditions.items()
        if tables.joint.heads is not None
    }
    if heads:
        from whence.heads.heatmap import make_heatmap, write_heatmap

        drawn = make_heatmap(heads)
        if drawn is not None:
            write_heatmap(folder / "artifacts", drawn, title=title)
