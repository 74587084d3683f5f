"""What several conditions say together: their tables stacked, and the cross-condition folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.heads.outputs import read_condition, write_cross_condition, write_report
from whence.heads.profile import together
from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import read_table, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

STACKED = ("head_impact", "layer_impact", "pair_impact", "subset_impact", "per_example")


def stitch(
    folder: Path,
    conditions: Mapping[str, Path],
    *,
    run_id: str,
    about: Mapping[str, Any],
    title: str,
    failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write `folder/{metrics,artifacts,profile.json,report.html}` from finished conditions.

    conditions: tag → folder of a single run. about: the first keys of `summary.json`, which is
    returned. failed: tag → why. title: of `report.html`.
    """
    for name in STACKED:
        files = {tag: home / "metrics" / f"{name}.parquet" for tag, home in conditions.items()}
        parts = {tag: read_table(path) for tag, path in files.items() if path.is_file()}
        _write(stacked(parts), folder, name)
    _gather(folder / "metrics" / "verify.json", conditions, "metrics/verify.json")
    costs = _parts(conditions, "profile.json")
    if costs:
        write_json(folder / "profile.json", together(costs))
    tables = {tag: read_condition(home) for tag, home in conditions.items()}
    if tables:
        write_cross_condition(folder, tables, run_id=run_id)
        write_report(folder, tables, title=title)
    summary = {
        "run_id": run_id,
        **about,
        "n_conditions": len(conditions),
        "conditions": _parts(conditions, "metrics/summary.json"),
        "failed": dict(failed or {}),
    }
    # Last, so that a folder with a summary has everything that it sums up.
    write_json(folder / "metrics" / "summary.json", summary)
    return summary


def stacked(tables: Mapping[str, pa.Table]) -> pa.Table | None:
    """Tables one below the other, with a column `condition` before their own; None of none."""
    import pyarrow as pa

    parts = []
    for tag, table in tables.items():
        if "condition" in table.column_names:
            table = table.drop_columns(["condition"])
        # After run_id where there is one, so that both names of a row stand together.
        at = 1 if table.column_names[:1] == ["run_id"] else 0
        tags = pa.array([tag] * table.num_rows, pa.string())
        parts.append(table.add_column(at, "condition", tags))
    return pa.concat_tables(parts, promote_options="default") if parts else None


def _write(table: pa.Table | None, folder: Path, name: str) -> None:
    path = folder / "metrics" / f"{name}.parquet"
    path.unlink(missing_ok=True)  # an attempt with fewer conditions may have left one
    if table is not None:
        write_parquet(table, path)


def _gather(target: Path, conditions: Mapping[str, Path], name: str) -> None:
    """One JSON file of tag → what each condition has under `name`, where any has it."""
    target.unlink(missing_ok=True)
    parts = _parts(conditions, name)
    if parts:
        passed: Sequence[Any] = [part.get("passed") for part in parts.values()]
        write_json(target, {"passed": all(p is True for p in passed), "conditions": parts})


def _parts(conditions: Mapping[str, Path], name: str) -> dict[str, Any]:
    files = {tag: home / name for tag, home in conditions.items()}
    return {tag: read_json(path) for tag, path in files.items() if path.is_file()}
