"""The report of one experiment: what `whence.report` needs, gathered from what was done."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.draws import LENGTH_BINS
from whence.data.experiment.cells import Cell, taken_by
from whence.data.experiment.plan import Plan
from whence.data.experiment.rank import drawn_by
from whence.data.experiment.settings import ExperimentConfig
from whence.runs.config import resolved
from whence.runs.record import versions
from whence.stats.ranking import spearman

if TYPE_CHECKING:
    import pandas as pd

    from whence.models.load import Loaded


def write_report(
    output: Path,
    *,
    config: ExperimentConfig,
    plan: Plan,
    ran_on: Mapping[str, Any],
    verdict: Mapping[str, Any],
    items: pd.DataFrame,
    curves: pd.DataFrame,
    ranking: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame],
    cells: Sequence[Cell],
) -> Path:
    """Write `report.html`, the one output that sees planted kinds beside texts.

    ran_on: as `describe` has it.
    """
    # Altair takes two seconds to import, which only a report should cost.
    from whence.report.experiment_page import write_experiment_report

    shown = ranking.merge(plan.pool[["row_id", "prompt", "completion"]], on="row_id")
    if plan.planted is not None:
        shown["kind"] = shown["row_id"].map(plan.planted.kinds)
    return write_experiment_report(
        output,
        title=f"Training-data experiment on {config.base_model}",
        question=config.question,
        verdict=verdict,
        items=items,
        ranking=shown,
        planted=verdict["planted"],
        curves=curves,
        controls=_controls(verdict, plan, ranking, rankings, cells),
        rerun=_rerun(config, ran_on),
        top_k=next((arm.size for arm in plan.arms if arm.kind == "top"), None),
    )


def _controls(
    verdict: Mapping[str, Any],
    plan: Plan,
    ranking: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame],
    cells: Sequence[Cell],
) -> dict[str, Any]:
    tokens = ranking.set_index("row_id")["length_tokens"]
    found: dict[str, Any] = {
        "token_budgets": {
            arm: sum(float(tokens[list(rows)].sum()) for rows in draws) / len(draws)
            for arm, draws in taken_by(cells).items()
        },
        "correlations": {
            name: spearman(ranking["score"], ranking[column]).value
            for name, column in (("length", "length_tokens"), ("loss", "loss"))
            if ranking[column].notna().all()
        },
    }
    for name, table in rankings.items():
        if name not in found["correlations"] and name != plan.sources.default:
            other = ranking["row_id"].map(table.set_index("row_id")["score"])
            found["correlations"][name] = spearman(ranking["score"], other).value
    if lines := drawn_by(plan, rankings, taken_by(cells)):
        found["what each arm was drawn by"] = lines
    matched = [cell for cell in cells if cell.match is not None]
    if matched:
        found |= {
            "matched_on": list(plan.match_on),
            "length_bins": LENGTH_BINS,
            "overlap_allowed": False,
            "strata": _strata(matched[0]),
        }
        notes = [
            f"{cell.arm}, seed {cell.seed}: {note}"
            for cell in matched
            for note in (cell.match.notes() if cell.match else ())
        ]
        if notes:
            found["where the match falls short"] = notes
    if verdict["planted"]:
        k = verdict["planted"]["k"]
        found["baselines"] = [
            {"ranking by": name.replace("_", " "), f"share useful in its first {k}": share}
            for name, share in verdict["planted"]["precision_at_k"].items()
        ]
    return found


def _strata(cell: Cell) -> list[dict[str, Any]]:
    return [
        {
            "stratum": ", ".join([*stratum.values, f"length bin {stratum.length_bin + 1}"]),
            "chosen": stratum.wanted,
            "available": stratum.available,
            "drawn": stratum.drawn,
        }
        for stratum in (cell.match.strata if cell.match else ())
    ]


def describe(base: Loaded) -> dict[str, Any]:
    """The model that was trained, and the hardware that it was trained on: `model`, `hardware`."""
    return {
        "model": base.source if base.revision is None else f"{base.source}@{base.revision}",
        "hardware": _hardware(base),
    }


def _rerun(config: ExperimentConfig, ran_on: Mapping[str, Any]) -> dict[str, Any]:
    folder = shlex.quote(str(config.output_dir))
    again = shlex.quote(str(config.output_dir / "config.json"))
    return {
        "commands": [
            f"whence replay {folder}",
            f"whence data experiment {again} --output-dir ELSEWHERE",
        ],
        "config": resolved(config),
        "seeds": list(config.seeds),
        **ran_on,
        # A page that told its own time would be another page at every replay.
        "time and memory": "whence.json, beside this page, has both",
        "versions": versions(),
    }


def _hardware(base: Loaded) -> dict[str, Any]:
    """What the numbers' last digits depend on: device, precision, processor, threads."""
    import psutil
    import torch

    device = str(base.device)
    if base.device.type == "cuda":
        device = f"{device}, {torch.cuda.get_device_name(base.device)}"
    return {
        "device": device,
        "precision": str(base.dtype).removeprefix("torch."),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }


def _processor() -> str:
    """The processor's name, which Python itself does not know on Linux."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name" and name.strip() not in ("", "unknown"):
                return f"{name.strip()} ({platform.machine()})"
    return platform.processor() or platform.machine()
