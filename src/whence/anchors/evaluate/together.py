"""Runs as tables: every probe's metrics, mean ± sd over distinct seeds, intervals over problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from whence.anchors.evaluate.aggregate import written
from whence.anchors.evaluate.collected import Collected, Numbers
from whence.anchors.evaluate.spread import over_problems

POOLED = "pooled over the rows of a split; `whence anchors cv` gives intervals over problems"


def together(runs: Sequence[Collected], draws: int) -> dict[str, Any]:
    """aggregate.json."""
    return {
        "kind": "aggregate",
        "runs": [
            {
                "name": run.name,
                "kind": run.kind,
                "target": run.target,
                "primary_metric": run.primary_metric,
                "seeds": sorted(
                    {s for probes in run.values.values() for own in probes.values() for s in own}
                ),
            }
            for run in runs
        ],
        "tables": [
            {
                "run": run.name,
                "split": split,
                "rows": [
                    row
                    for probe in probes
                    for row in _rows(run, probe, probes[probe], split, draws)
                ],
            }
            for run in runs
            for split, probes in run.values.items()
        ],
        "comparisons": [{"run": run.name, **each} for run in runs for each in run.comparisons],
        "selected": [{"run": run.name, **each} for run in runs for each in run.selected],
        "tripwires": [{"run": run.name, **each} for run in runs for each in run.tripwires],
    }


def distinct_seeds(seeds: Mapping[int, Numbers]) -> list[int]:
    """Seeds that do not only repeat an earlier one: what is deterministic counts once."""
    kept: list[int] = []
    for seed, numbers in seeds.items():
        if all(numbers != seeds[other] for other in kept):
            kept.append(seed)
    return kept


def _rows(
    run: Collected, probe: str, seeds: Mapping[int, Numbers], split: str, draws: int
) -> list[dict[str, Any]]:
    kept = distinct_seeds(seeds)
    names = list(dict.fromkeys(name for seed in kept for name in seeds[seed]))
    primary = {run.primary_metric, f"{run.primary_metric}_mean"}
    rows = []
    for name in names:
        values = [value for seed in kept if (value := seeds[seed].get(name)) is not None]
        row: dict[str, Any] = {
            "probe": probe,
            "metric": name,
            "primary": name in primary,
            "mean": float(np.mean(values)) if values else None,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "seeds": len(kept),
            "repeats": len(seeds) - len(kept),
        }
        if split == "cv" and name in run.per_problem.get(probe, {}):
            found = over_problems(_mean_of_runs(run.per_problem[probe][name]), draws)
            row |= {name: found[name] for name in ("mean", "interval", "reason")}
        else:
            row |= {"interval": None, "reason": POOLED}
        rows.append(row)
    return rows


def _mean_of_runs(parts: Sequence[tuple[int, Numbers]]) -> Numbers:
    """problem → mean over runs, weighed by their seeds."""
    found: Numbers = {}
    for problem in dict.fromkeys(problem for _, values in parts for problem in values):
        known = [
            (seeds, value) for seeds, values in parts if (value := values.get(problem)) is not None
        ]
        total = sum(seeds for seeds, _ in known)
        found[problem] = sum(seeds * value for seeds, value in known) / total if known else None
    return found


def markdown(found: Mapping[str, Any]) -> str:
    """The same as Markdown tables: one a run and split, then what the runs concluded."""
    lines: list[str] = []
    for run in found["runs"]:
        lines += [f"### {_text(run['name'])}", ""]
        lines += [
            f"{run['kind']}, target `{run['target']}`, seeds {', '.join(map(str, run['seeds']))}.",
            "",
        ]
        for table in found["tables"]:
            if table["run"] == run["name"]:
                lines += _table(table)
        for title, key in (("Comparisons", "comparisons"), ("Tripwires", "tripwires")):
            said = [
                each["sentence"]
                for each in found[key]
                if each["run"] == run["name"] and each["sentence"]
            ]
            if said:
                lines += [f"{title}:", "", *(f"- {_text(each)}" for each in said), ""]
        for each in found["selected"]:
            if each["run"] == run["name"]:
                lines += [
                    f"Chosen on validation ({each['by']}): `{each['probe']}`, test "
                    f"{_number(each['test'])}.",
                    "",
                ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(table: Mapping[str, Any]) -> list[str]:
    rows = table["rows"]
    names = list(dict.fromkeys(row["metric"] for row in rows))
    cells = {(row["probe"], row["metric"]): written(row) for row in rows}
    probes = list(dict.fromkeys(row["probe"] for row in rows))
    head = [table["split"], *names]
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(
            f"| {_text(probe)} | "
            + " | ".join(cells.get((probe, name), "–") for name in names)
            + " |"
            for probe in probes
        ),
        "",
    ]


def _text(value: str) -> str:
    """Names come from folders: nothing in them is markup."""
    escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("|", "\\|").replace("\n", " ")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
