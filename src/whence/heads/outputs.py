"""What a condition leaves on disk: tables, summary, heatmap; and what several say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from whence.errors import BadInput
from whence.heads.metrics import requested
from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import read_table, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

    from whence.heads.impact import Impact

_TABLES = ("head_impact", "layer_impact", "pair_impact", "subset_impact")


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
    """One condition's results as written: a row per seed in each table, None without rows.

    summary: the content of summary.json.
    """

    run_id: str
    condition: str | None
    summary: Mapping[str, Any]
    head_impact: pa.Table | None
    layer_impact: pa.Table | None
    pair_impact: pa.Table | None
    subset_impact: pa.Table | None
    over_seeds: Callable[[], Impact]

    @cached_property
    def joint(self) -> Impact:
        """The same tables over all seeds together (`seed` is null, unless there is one only)."""
        return self.over_seeds()


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
    names = requested(metrics, full_target="seq_logprob" in result.per_example.column_names)
    from whence.heads.effects import all_effects, grids, together
    from whence.heads.impact import impact
    from whence.heads.summary import summary

    per_seed = grids(result.per_example)
    if not per_seed:
        raise BadInput(f"{run_id}: nothing was measured: no example or no intervention")
    found = all_effects(per_seed, names)
    written = impact(found, per_seed, names, battery, run_id=run_id, n_heads=n_heads)
    joint = written
    if len(per_seed) > 1:
        every = [together(per_seed)]
        found = all_effects(every, names)
        joint = impact(found, every, names, battery, run_id=run_id, n_heads=n_heads)
    told = summary(
        joint,
        found,
        per_seed,
        run_id=run_id,
        condition=condition,
        model=model,
        corpus=_found_from_anywhere(corpus or {}),
        battery=battery,
        metrics=names,
        baseline=result.baseline,
        notes=result.notes,
    )
    tables = {
        "head_impact": written.heads,
        "layer_impact": written.layers,
        "pair_impact": written.pairs,
        "subset_impact": written.subsets,
    }
    for name, table in tables.items():
        path = folder / "metrics" / f"{name}.parquet"
        path.unlink(missing_ok=True)  # an interrupted attempt may have left one
        if table is not None:
            write_parquet(table, path)
    write_parquet(result.per_example, folder / "metrics" / "per_example.parquet")
    done = Tables(run_id, condition, told, **tables, over_seeds=lambda: joint)
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
    for name, table in cross.matrices(conditions).items():
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
    """What `write_condition` wrote into `folder`. What holds over several seeds is computed anew
    from `per_example` when it is asked for.

    Raises BadInput when `folder/metrics` does not hold a finished condition.
    """
    path = folder / "metrics" / "summary.json"
    if not path.is_file():
        raise BadInput(f"{folder}: no metrics/summary.json; expected the output of a finished run")
    told = read_json(path)
    try:
        run_id, counted = told["run_id"], told["seeds"]["counted"]
    except (KeyError, TypeError):
        raise BadInput(f"{path}: not a summary of `whence heads`") from None
    files = {name: path.with_name(f"{name}.parquet") for name in _TABLES}
    tables = {name: read_table(file) if file.is_file() else None for name, file in files.items()}

    def over_seeds() -> Impact:
        from whence.heads.impact import Impact

        if len(counted) == 1:
            return Impact(*tables.values())
        return _over_seeds(read_table(path.with_name("per_example.parquet")), told)

    return Tables(run_id, told.get("condition"), told, **tables, over_seeds=over_seeds)


def _over_seeds(per_example: pa.Table, told: Mapping[str, Any]) -> Impact:
    from whence.heads.effects import all_effects, grids, together
    from whence.heads.impact import impact

    every, names = [together(grids(per_example))], told["metrics"]
    return impact(
        all_effects(every, names),
        every,
        names,
        told["battery"],
        run_id=told["run_id"],
        n_heads=told["model"].get("n_heads", told["notes"].get("heads")),
    )


def _found_from_anywhere(corpus: Mapping[str, Any]) -> dict[str, Any]:
    # A replay reads the same file from another folder, and must say the same.
    return {
        key: str(Path(value).resolve()) if key == "path" else value for key, value in corpus.items()
    }


def _draw(folder: Path, conditions: Mapping[str, Tables], *, title: str) -> None:
    heads = {
        name: tables.joint.heads
        for name, tables in conditions.items()
        if tables.joint.heads is not None
    }
    if heads:
        from whence.heads.heatmap import make_heatmap, write_heatmap

        patched = any("patch_direction" in t.summary["battery"] for t in conditions.values())
        drawn = make_heatmap(heads, patched=patched)
        if drawn is not None:
            write_heatmap(folder / "artifacts", drawn, title=title)
