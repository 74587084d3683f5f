"""The report of one experiment: what `whence.report` needs, gathered from what was done."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.arms import parse_arms
from whence.data.draws import LENGTH_BINS, Drawn
from whence.data.experiment.settings import ExperimentConfig
from whence.runs.config import resolved
from whence.runs.record import versions
from whence.stats.ranking import spearman

if TYPE_CHECKING:
    import pandas as pd


def write_report(
    output: Path,
    *,
    config: ExperimentConfig,
    verdict: Mapping[str, Any],
    items: pd.DataFrame,
    curves: pd.DataFrame,
    ranking: pd.DataFrame,
    kinds: Mapping[str, str] | None,
    first_draw: Mapping[str, Drawn],
    match_on: Sequence[str],
    taken: Mapping[str, Sequence[Sequence[str]]],
) -> Path:
    """Write `report.html`. ranking: scores with the rows' texts. taken: arm → rows, per seed."""
    # Altair takes two seconds to import, which only a report should cost.
    from whence.report.experiment_page import write_experiment_report

    if kinds is not None:
        ranking = ranking.assign(kind=ranking["row_id"].map(kinds))
    top = next((arm for arm in parse_arms(config.arms) if arm.kind == "top"), None)
    return write_experiment_report(
        output,
        title=config.question,
        question=config.question,
        verdict=verdict,
        items=items,
        ranking=ranking,
        planted=verdict["planted"],
        curves=curves,
        controls=_controls(verdict, ranking, first_draw, match_on, taken),
        rerun={
            "commands": [
                f"whence replay {config.output_dir}",
                f"whence data experiment {config.output_dir}/config.json --output-dir ELSEWHERE",
            ],
            "config": resolved(config),
            "seeds": list(config.seeds),
            "model": config.base_model,
            "hardware": platform.processor() or platform.machine(),
            "versions": versions(),
        },
        top_k=top.size if top else None,
    )


def _controls(
    verdict: Mapping[str, Any],
    ranking: pd.DataFrame,
    first_draw: Mapping[str, Drawn],
    match_on: Sequence[str],
    taken: Mapping[str, Sequence[Sequence[str]]],
) -> dict[str, Any]:
    tokens = ranking.set_index("row_id")["length_tokens"]
    match = next((drawn.match for drawn in first_draw.values() if drawn.match), None)
    found = {
        "matched_on": list(match_on),
        "length_bins": LENGTH_BINS,
        "overlap_allowed": False,
        "strata": [
            {
                "stratum": ", ".join([*stratum.values, f"length {stratum.length_bin + 1}"]),
                "chosen": stratum.wanted,
                "available": stratum.available,
                "drawn": stratum.drawn,
            }
            for stratum in (match.strata if match else ())
        ],
        "token_budgets": {
            arm: sum(float(tokens[list(rows)].sum()) for rows in draws) / len(draws)
            for arm, draws in taken.items()
        },
        "correlations": {
            name: spearman(ranking["score"], ranking[column]).value
            for name, column in (("length", "length_tokens"), ("loss", "loss"))
        },
    }
    if verdict["planted"]:
        found["baselines"] = [
            {"ranking": name.replace("_", " "), "useful in its first k": f"{share:.0%}"}
            for name, share in verdict["planted"]["precision_at_k"].items()
        ]
    return found
