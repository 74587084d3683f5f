"""`whence anchors cv`: nested cross-validation over problems.

Outer folds hold whole problems out; whatever a probe chooses (penalty, epochs) it chooses inside
its training problems. Every problem is judged once by a probe that has not seen it, so that there
are as many independent units as problems, not as many as a split happens to test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from whence.anchors.evaluate.folds import PROBLEMS
from whence.anchors.evaluate.settings import ProbingConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import plain, read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    from whence.runs.store import Run


class CvConfig(ProbingConfig):
    """Judge probes on problems that they have not seen, each problem once."""

    folds: str = Field(
        default=PROBLEMS,
        description="problems (leave one problem out), or a number of folds of whole problems.",
    )

    @field_validator("folds", mode="before")
    @classmethod
    def _problems_or_number(cls, value: object) -> str:
        text = str(value)
        if text != PROBLEMS and not (text.isdecimal() and int(text) >= 2):
            raise ValueError(f"{PROBLEMS} or a whole number from 2 was expected")
        return text


@dataclass(frozen=True)
class CvResult:
    """metrics: what `metrics.json` holds. done: an earlier run had made it."""

    folder: Path
    metrics: Mapping[str, Any]
    done: bool

    def finding(self) -> Finding:
        """Mean over problems of each metric, and how probes stand against the baselines."""
        found = self.metrics["cv"]
        names = [
            name
            for name in next(iter(found.values()))
            if name.startswith(("pr_auc", "spearman", "top_"))
        ]
        rows = [
            (probe, *(_cell(values[name]) for name in names)) for probe, values in found.items()
        ]
        said = _headline(self.metrics)
        return Finding(
            headline=f"Already done: {said}" if self.done else said,
            columns=("probe", *(name.replace("_", " ") for name in names)),
            rows=rows,
            files={
                **({"report": page} if (page := self.folder / "report.html").is_file() else {}),
                "metrics": self.folder / "metrics.json",
                "predictions": self.folder / "predictions.parquet",
            },
        )


def cv(config: CvConfig) -> CvResult:
    """Fit every probe in every fold, judge it on the problems left out, write what came of it.

    A killed run goes on with the fits that are missing. Raises BadInput naming the file, row, key
    or flag that does not fit.
    """
    with open_run(
        config.output_dir,
        command="anchors cv",
        config=config,
        inputs=config.inputs(),
        overwrite=config.overwrite,
        seeds=config.seeds,
    ) as run:
        if not run.done:
            _cv(config, run)
    return CvResult(config.output_dir, read_json(config.output_dir / "metrics.json"), run.done)


def _cv(config: CvConfig, run: Run) -> None:
    from whence.anchors.evaluate.judged_folds import fold_metrics
    from whence.anchors.evaluate.material import load_material
    from whence.anchors.evaluate.out_of_fold import out_of_fold
    from whence.anchors.evaluate.predicted import write_predictions
    from whence.report.anchors_headline import headline
    from whence.report.anchors_told import read_told

    material = load_material(config)
    held_out = out_of_fold(material, config.folds, run.scratch / "scores")
    metrics, blocks = fold_metrics(material, config.folds, held_out)
    found = headline(read_told(plain(metrics)))
    said = f"{found.sentence}. {found.of}: {found.number}, {found.interval}"
    write_json(run.folder / "metrics.json", {"headline": said, **metrics})
    write_predictions(blocks, run.folder / "predictions.parquet")
    if config.page:
        from whence.anchors.report import write_report

        write_report(run.folder)


def _headline(metrics: Mapping[str, Any]) -> str:
    tripped = [
        check["sentence"]
        for check in metrics["tripwires"].values()
        if isinstance(check, Mapping) and check.get("passed") is False
    ]
    return ". ".join([metrics["headline"], *(f"TRIPWIRE: {sentence}" for sentence in tripped)])


def _cell(metric: Mapping[str, Any]) -> str:
    if metric["mean"] is None:
        return "–"
    if metric["interval"] is None:
        return f"{metric['mean']:.3f}"
    low, high = metric["interval"]
    return f"{metric['mean']:.3f} [{low:.3f}, {high:.3f}]"
