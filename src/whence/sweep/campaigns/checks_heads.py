"""What must hold of finished ablations and patches before they are released."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from whence.runs.jsonfile import read_json
from whence.sweep.campaigns.campaign import Check
from whence.sweep.campaigns.measures_heads import TABLE

READINGS = ("logit_diff", "p_target", "kl_div", "clean_logit_diff", "clean_p_target")


def checks_heads(output: Path) -> list[Check]:
    """Finite readings, no condition that failed, shams that change nothing, and the slice run
    elsewhere (where it was asked for) agreeing."""
    metrics = output / "metrics"
    summary = read_json(metrics / "summary.json")
    found = [_finite(output)]
    failed = summary.get("failed") or {}
    if "conditions" in summary:
        told = f"{len(failed)} failed: {', '.join(failed)}" if failed else "none failed"
        found.append(Check("every condition", not failed, told))
    if (metrics / "layer_impact.parquet").is_file():
        found += _shams(metrics / "layer_impact.parquet")
    if (metrics / "verify.json").is_file():
        verified = read_json(metrics / "verify.json")
        parts = verified.get("conditions", {"": verified}).values()
        bad = [part for part in parts if part["passed"] is False]
        unknown = [part for part in parts if part["passed"] is None]
        sentence = (bad or unknown or list(parts))[0]["sentence"]
        found.append(Check("a slice run elsewhere agrees", not bad, sentence, proved=not unknown))
    return found


def _finite(output: Path) -> Check:
    import pyarrow.parquet as pq

    with pq.ParquetFile(output / TABLE) as file:
        names = [name for name in READINGS if name in file.schema_arrow.names]
        table = file.read(columns=names)
    broken = [name for name in names if not np.isfinite(table[name].to_numpy()).all()]
    told = f"{broken[0]} has values that are not" if broken else f"{table.num_rows:,} readings"
    return Check("finite metrics", bool(table.num_rows) and not broken, told)


def _shams(path: Path) -> list[Check]:
    from whence.runs.tables import read_table

    table = read_table(path)
    delta = np.array(
        [
            abs(value or 0.0)
            for kind, value in zip(
                table["kind"].to_pylist(), table["delta"].to_pylist(), strict=True
            )
            if kind == "sham"
        ]
    )
    if not delta.size:
        return []
    told = f"{delta.size} shams, largest change {delta.max():.1e}"
    return [Check("shams change nothing", bool((delta == 0).all()), told)]
