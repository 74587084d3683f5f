"""What `whence heads run` found: a line a condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.heads.commands.found import interval, number
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json

COLUMNS = (
    "condition", "prompts", "clean logit diff", "accuracy", "strongest", "Δ logit diff",
    "95 % interval", "q",
)  # fmt: skip
EFFECTS = {"pairs": "name", "subsets": "label", "layers": "layers", "strongest": "name"}
"""Lists of effects in a summary, and what an entry is called by; the first that is there counts."""


@dataclass(frozen=True)
class RunResult:
    """summary: `metrics/summary.json`, of one run or, under `conditions`, of several."""

    folder: Path
    summary: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """A line a condition: prompts, the undisturbed run, and the strongest effect."""
        parts = self.summary.get("conditions")
        named = parts or {str(self.summary["corpus"]["id"]): self.summary}
        state = "already done" if self.done_before else "done"
        plural = "condition" if len(named) == 1 else "conditions"
        files = {
            "summary": self.folder / "metrics" / "summary.json",
            "cross-condition": self.folder / "artifacts" / "cross_condition",
            "heatmap": self.folder / "artifacts" / "impact_heatmap.png",
            "report": self.folder / "report.html",
        }
        undecided = [name for name, summary in named.items() if _undecided(summary)]
        told = f" In {', '.join(undecided)} the model itself is undecided." if undecided else ""
        return Finding(
            headline=f"{self.summary['run_id']}: {len(named)} {plural} {state}.{told}"
            + _verified(self.folder / "metrics" / "verify.json"),
            columns=COLUMNS,
            rows=[_row(name, summary) for name, summary in named.items()],
            files={name: path for name, path in files.items() if path.exists()},
        )


def _undecided(summary: Mapping[str, Any]) -> bool:
    """Whether the clean logit difference is not clear of 0: there is little to find then."""
    ends = summary["clean"]["logit_diff_interval"]
    return ends is not None and ends[0] <= 0 <= ends[1]


def _row(name: str, summary: Mapping[str, Any]) -> tuple[str, ...]:
    """A line of the finding, as `COLUMNS` has it."""
    clean = summary["clean"]
    which = next(key for key in (*EFFECTS, "none") if summary.get(key) or key == "none")
    effects = summary.get(which, [])
    top = max(effects, key=lambda effect: abs(effect["delta_logit_diff"]), default=None)
    told = ("", "", "", "")
    if top is not None:
        ends = top["interval"] or (None, None)
        told = (
            str(top[EFFECTS[which]]),
            f"{top['delta_logit_diff']:+.4f}",
            interval(*ends),
            number(top["q"]),
        )
    counts = (
        f"{summary['n_prompts']:,}",
        f"{clean['logit_diff']:+.3f}",
        f"{clean['accuracy']:.0%}",
    )
    return (name, *counts, *told)


def _verified(path: Path) -> str:
    if not path.is_file():
        return ""
    found = read_json(path)
    parts = found.get("conditions", {"": found}).values()
    bad = [part["sentence"] for part in parts if part["passed"] is not True]
    return f"\nVerification: {bad[0]}." if bad else "\nThe slice run elsewhere agrees."
