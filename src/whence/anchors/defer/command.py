"""`whence anchors defer`: which sentences a probe labels alone, and which go to rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from whence.errors import BadInput
from whence.runs.config import Config
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    from whence.anchors.defer.plan import Planned

FILE, TABLE, PAGE = "deferral.json", "decisions.parquet", "report.html"


class DeferConfig(Config):
    """Tune two thresholds on validation scores and see what they do on test."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"output", "details_dir", "overwrite"})

    predictions: Path = Field(
        description="Table of predictions with rows of split val and test: predictions.parquet of "
        "`whence anchors train`, or the earlier study's predictions_seed_*.parquet."
    )
    score_column: str = Field(description="Column of the scores, as score_linear_probe.")
    label_column: str = Field(default="anchor", description="Column of the truth, 0 or 1.")
    group_column: str | None = Field(
        default=None,
        description="Column whose every value gets thresholds of its own, as function_tag.",
    )
    objective: Literal["budget", "error"] = Field(
        default="budget",
        description="budget: the least error under --deferral-budget. error: the least deferral "
        "under --target-error.",
    )
    deferral_budget: float = Field(
        default=0.2, ge=0, le=1, description="Largest share of sentences to defer."
    )
    target_error: float | None = Field(
        default=None, ge=0, le=1, description="Largest share of accepted sentences to get wrong."
    )
    grid_size: int = Field(
        default=101, ge=2, le=2001, description="Quantiles of the scores to try as thresholds."
    )
    seed: int | None = Field(
        default=None, description="Training seed whose scores count. Default: the table's first."
    )
    cost_probe: float = Field(
        default=1.0, ge=0, description="Cost of scoring one sentence, in any unit."
    )
    cost_label: float = Field(
        default=100.0,
        gt=0,
        description="Cost of measuring one sentence's importance, in the same unit.",
    )
    draws: int = Field(
        default=10_000, ge=100, description="Resamples of the problems behind each interval."
    )
    output: Path = Field(
        description="JSON file to write; a page of the same name (.html) lies beside it."
    )
    details_dir: Path | None = Field(
        default=None,
        description="Folder for the decision on every test row and the record of this run. "
        "Default: beside the JSON file, under its name with .defer.",
    )
    overwrite: bool = Field(
        default=False, description="Replace an earlier result made with other settings."
    )

    @model_validator(mode="after")
    def _has_its_limit(self) -> DeferConfig:
        if self.objective == "error" and self.target_error is None:
            raise ValueError("--objective error needs --target-error, a share such as 0.05")
        if self.objective == "budget" and self.target_error is not None:
            raise ValueError("--target-error belongs to --objective error, which is not asked for")
        return self

    @property
    def limit(self) -> float:
        """What the objective keeps to."""
        return self.deferral_budget if self.target_error is None else self.target_error


@dataclass(frozen=True)
class DeferResult:
    """told: the content of the JSON file."""

    told: Mapping[str, Any]
    output: Path
    details: Path
    done_before: bool

    def finding(self) -> Finding:
        """What the thresholds do on either side, and what would happen without the probe."""
        from whence.anchors.defer.words import cautions, control_rows, headline

        return Finding(
            headline=" ".join([f"{headline(self.told)}.", *cautions(self.told)]),
            columns=("on", "deferred", "wrong of accepted", "95 % interval", "accepted", "wrong"),
            rows=control_rows(self.told),
            files={
                "plan": self.output,
                "page": self.output.with_suffix(".html"),
                "decision on every test row": self.details / TABLE,
            },
        )


def defer(config: DeferConfig) -> DeferResult:
    """Write the plan to `output`, its page beside it, and the decisions into `details_dir`.

    Raises BadInput for predictions that cannot carry a plan, and for an `output` that something
    else wrote.
    """
    output = config.output.absolute()
    details = config.details_dir or output.with_name(f"{output.stem}.defer")
    config = config.model_copy(update={"details_dir": details})
    _refuse_other(output, details, config.overwrite)
    with open_run(
        details,
        command="anchors defer",
        config=config,
        inputs={"predictions": config.predictions},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _work(config, run.folder)
    told = read_json(details / FILE)
    from whence.runs.atomic import write_text

    write_json(output, told)
    write_text(output.with_suffix(".html"), (details / PAGE).read_text("utf-8"))
    return DeferResult(told, config.output, details, run.done)


def _work(config: DeferConfig, folder: Path) -> None:
    from whence.anchors.defer.cost import Costs
    from whence.anchors.defer.page import write_page
    from whence.anchors.defer.plan import Goal, plan
    from whence.anchors.defer.sides import read_sides
    from whence.anchors.predictions import of_seed, read_predictions, seeds_of
    from whence.runs.tables import write_parquet

    path = config.predictions
    whole = read_predictions(path)
    frame, seed = of_seed(whole, config.seed, path)
    sides = read_sides(frame, path, config.score_column, config.label_column, config.group_column)
    planned = plan(
        sides,
        Goal(config.objective, config.limit),
        Costs(config.cost_probe, config.cost_label),
        grid_size=config.grid_size,
        draws=config.draws,
    )
    told = {
        "score_column": config.score_column,
        "label_column": config.label_column,
        "group_column": config.group_column,
        "objective": config.objective,
        "limit": config.limit,
        "seed": seed,
        "seeds_in_table": seeds_of(whole),
        "grid_size": config.grid_size,
        **planned.told,
        "unlabelled_rows": sides.unlabelled,
        "unmatched_groups": sides.unmatched,
    }
    write_parquet(_decisions(planned, frame, config.score_column), folder / TABLE)
    write_json(folder / FILE, told)
    write_page(folder / PAGE, told, folder)


def _decisions(planned: Planned, frame: Any, score_column: str) -> Any:
    """One line a test row: which sentence, its score, what was decided, and the truth."""
    import numpy as np
    import pyarrow as pa

    from whence.anchors.defer.thresholds import DECISIONS

    rows = planned.test
    own = frame.iloc[rows.at]
    columns: dict[str, Any] = {"problem_id": own["problem_id"].tolist()}
    if "chunk_idx" in own.columns:
        columns["chunk_idx"] = own["chunk_idx"].to_numpy()
    columns["group"] = rows.groups.tolist()
    columns[score_column] = rows.scores
    columns["decision"] = np.array(DECISIONS)[planned.decisions].tolist()
    columns["anchor"] = rows.anchors
    return pa.table(columns)


def _refuse_other(output: Path, details: Path, overwrite: bool) -> None:
    """Raise BadInput where `output` is there and no run of this command stands behind it."""
    from whence.runs.record import read_record

    if not output.exists() or overwrite:
        return
    if output.is_dir():
        raise BadInput(f"--output {output}: is a folder, a JSON file was expected")
    if read_record(details) is None:
        raise BadInput(
            f"{output}: is there already, and no run of `whence anchors defer` in {details} "
            "wrote it; use --overwrite or another --output"
        )
