"""`whence anchors train`: probes on one split of problems, judged on validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from whence.anchors.evaluate.settings import ProbingConfig
from whence.errors import BadInput
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    from whence.anchors.evaluate.fits import Scores, Training
    from whence.anchors.evaluate.material import Material, Rows
    from whence.anchors.probes.probe import Fitted, Probe
    from whence.runs.store import Run

SCORED = "score_"
RESIDUAL = "residual_score_"


class TrainConfig(ProbingConfig):
    """Train probes on the train problems of a split; tune on val, judge on test."""

    splits: Path = Field(
        description='JSON of problem ids: {"train": […], "val": […], "test": […]}.'
    )
    position_bins: int = Field(
        default=5, ge=0, description="Stretches of the trace within which PR-AUC is given."
    )


@dataclass(frozen=True)
class TrainResult:
    """metrics: what `metrics.json` holds. done: an earlier run had made it."""

    folder: Path
    metrics: Mapping[str, Any]
    done: bool

    def finding(self) -> Finding:
        """Test metrics of every probe, and what the validation problems chose."""
        test = self.metrics["test"]
        ks = [name for name in next(iter(test.values())) if name.startswith("top_")]
        names = ["pr_auc", "pr_auc_trapezoid", "spearman_mean", *ks]
        rows = [
            (probe, *(_number(values[name]) for name in names)) for probe, values in test.items()
        ]
        said = _headline(self.metrics)
        return Finding(
            headline=f"Already done: {said}" if self.done else said,
            columns=("probe (test)", *(name.replace("_", " ") for name in names)),
            rows=rows,
            files={
                **({"report": page} if (page := self.folder / "report.html").is_file() else {}),
                "metrics": self.folder / "metrics.json",
                "predictions": self.folder / "predictions.parquet",
                "probes": self.folder / "probes",
            },
        )


def train(config: TrainConfig) -> TrainResult:
    """Fit every probe, judge it, write metrics, predictions, saved probes and a report.

    A killed run goes on with the fits that are missing. Raises BadInput naming the file, row, key
    or flag that does not fit, before anything is trained where that can be told.
    """
    with open_run(
        config.output_dir,
        command="anchors train",
        config=config,
        inputs={**config.inputs(), "splits": config.splits},
        overwrite=config.overwrite,
        seeds=config.seeds,
    ) as run:
        if not run.done:
            _train(config, run)
    metrics = read_json(config.output_dir / "metrics.json")
    return TrainResult(config.output_dir, metrics, run.done)


def _train(config: TrainConfig, run: Run) -> None:
    from whence.anchors.evaluate.judged_split import split_metrics
    from whence.anchors.evaluate.material import load_material
    from whence.anchors.evaluate.predicted import write_predictions
    from whence.anchors.sentences import problems_of
    from whence.anchors.splits import read_splits

    material = load_material(config)
    splits = read_splits(config.splits, problems_of(material.frame))
    parts = {part: material.rows_of(ids, with_label=True) for part, ids in splits.items()}
    for part in ("train", "test"):
        if not len(parts[part]):
            raise BadInput(f"{config.splits}: no sentence of its {part} problems has a label")
    shown = material.rows_of([*splits["val"], *splits["test"]], with_label=False)
    scored = _fit_all(material, parts, shown, run)
    metrics, blocks = split_metrics(material, splits, parts, shown, scored, config.position_bins)
    write_json(run.folder / "metrics.json", metrics)
    write_predictions(blocks, run.folder / "predictions.parquet")
    if config.page:
        from whence.anchors.report import write_report

        write_report(run.folder)


def _fit_all(
    material: Material, parts: Mapping[str, Rows], shown: Rows, run: Run
) -> dict[tuple[str, str], dict[int, Scores]]:
    """(column prefix, probe) → seed → scores of the rows `shown`."""
    from whence.anchors.evaluate.fits import Scores, fit, kept, training
    from whence.runs.progress import Progress

    asked: dict[str, Training] = {
        SCORED: training(material, material.y, parts["train"], parts["val"])
    }
    if material.config.residualize != "none":
        y = material.residual_y(material.residual(parts["train"]))
        asked[RESIDUAL] = training(material, y, parts["train"], parts["val"])
    given = material.data.take(shown)
    jobs = [
        (prefix, probe, seed)
        for prefix in asked
        for probe in material.probes
        for seed in seeds_of(material, probe)
    ]
    found: dict[tuple[str, str], dict[int, Scores]] = {}
    with Progress("training probes", len(jobs), "fits") as progress:
        for prefix, probe, seed in jobs:

            def compute(prefix: str = prefix, probe: Probe = probe, seed: int = seed) -> Scores:
                fitted = fit(material, probe, asked[prefix], seed, "train problems")
                name = _folder_name(material, probe, seed, prefix)
                _save(material, fitted, probe, seed, prefix, parts, run.folder / "probes" / name)
                return Scores(fitted.score(given), dict(fitted.notes))

            path = run.scratch / "scores" / f"{prefix}{probe.name}-seed_{seed}.json"
            found.setdefault((prefix, probe.name), {})[seed] = kept(path, compute)
            progress.advance()
    return found


def seeds_of(material: Material, probe: Probe) -> Sequence[int]:
    """All seeds, or the first where no seed changes the probe."""
    seeds = material.config.seeds
    return seeds if probe.seeded else seeds[:1]


def _folder_name(material: Material, probe: Probe, seed: int, prefix: str) -> str:
    kind = "_residual" if prefix == RESIDUAL else ""
    first = seed == material.config.seeds[0]
    return f"{probe.name}{kind}" if first else f"{probe.name}{kind}_seed_{seed}"


def _save(
    material: Material,
    fitted: Fitted,
    probe: Probe,
    seed: int,
    prefix: str,
    parts: Mapping[str, Rows],
    folder: Path,
) -> None:
    from whence.anchors.probes.saved import save_probe
    from whence.anchors.sentences import problems_of
    from whence.runs.fingerprint import hash_path

    config = material.config
    save_probe(
        fitted,
        probe,
        {
            "target": config.target,
            "anchor_percentile": config.anchor_percentile,
            "residualize": config.residualize if prefix == RESIDUAL else "none",
            "seed": seed if probe.seeded else None,
            "fixed": config.fixed,
            **{name: each for name, each in material.features.items() if name != "left_out"},
            "trained_on": problems_of(material.frame.iloc[parts["train"]]),
            "metadata_sha256": hash_path(config.metadata),
        },
        folder,
    )


def _headline(metrics: Mapping[str, Any]) -> str:
    selected = metrics["selected"]
    metric = metrics["primary_metric"]
    problems = len(metrics["splits"]["test"])
    if selected is None:
        said = f"{len(metrics['test'])} probes judged on {problems} test problems"
    else:
        said = (
            f"{selected['probe']} is best on validation ({metric} {_number(selected['val'])}) and "
            f"has {_number(selected['test'])} on {problems} test problems"
        )
    untrained = metrics["test"].get("position_untrained")
    if untrained and selected and selected["probe"] != "position_untrained":
        name = "spearman_mean" if metric == "spearman" else metric
        said += f"; position untrained: {_number(untrained[name])}"
    tripped = [
        check["sentence"]
        for check in metrics["tripwires"].values()
        if isinstance(check, Mapping) and check.get("passed") is False
    ]
    return ". ".join([said, *(f"TRIPWIRE: {sentence}" for sentence in tripped)])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
