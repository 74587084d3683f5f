"""`whence sae validate`: what does a predicted usefulness go with?

With the reward model's score, with difficulty, quality, category and length; and, once the reward
is taken out, with attribution itself. So that a reader can tell whether the features found
something that the metadata knew all along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.progress import track
from whence.runs.store import open_run

if TYPE_CHECKING:
    from whence.runs.store import Run

RESULT, PAGE = "validation.json", "report.html"


class ValidateConfig(OutputConfig):
    """Compare predicted usefulness with what the metadata says of the rows."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"predictions", "metadata"})

    predictions: Path = Field(
        description="Folder of `whence sae predict`, or a table with row_id and pred_value or "
        "score (higher: predicted more useful)."
    )
    metadata: Path | None = Field(
        default=None, description="Table with row_id to join, for fields the predictions lack."
    )
    fields: Words = Field(
        default=("reward_model_score", "difficulty", "quality", "category", "length"),
        description="Fields to compare with: numbers, words on a scale, or categories. length is "
        "length_tokens or tokens.",
    )
    reward_field: str = Field(
        default="reward_model_score", description="The reward model's score, a number."
    )
    margin: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Rank correlation up to which a prediction counts as orthogonal to the reward.",
    )
    group_key_fields: Words = Field(
        default=(),
        description="Fields whose values together name a row's group. Default: group_id.",
    )
    seed: int = Field(default=42, description="Seed of the resampling and of the shuffles.")


@dataclass(frozen=True)
class ValidateResult:
    """told: what `validation.json` holds. done_before: an earlier run had made it."""

    folder: Path
    told: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """Whether the prediction is orthogonal to the reward, and the table of correlations."""
        from whence.sae.validate.words import COLUMNS, table

        said = [*(["Already done:"] if self.done_before else []), self.told["headline"]]
        return Finding(
            headline=" ".join([*said, *self.told["cautions"]]),
            columns=COLUMNS,
            rows=table(self.told[self.told["on"]]),
            files={"report": self.folder / PAGE, "all numbers": self.folder / RESULT},
        )


def validate(config: ValidateConfig) -> ValidateResult:
    """Write `validation.json` and `report.html`.

    Raises BadInput, naming file, row or flag, for predictions that cannot be read, and where none
    of the fields is there.
    """
    from whence.sae.validate.predicted import predictions_file

    with open_run(
        config.output_dir,
        command="sae validate",
        config=config,
        inputs={
            "predictions": predictions_file(config.predictions),
            "metadata": config.metadata,
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            _validate(config, run)
    return ValidateResult(config.output_dir, read_json(config.output_dir / RESULT), run.done)


def _validate(config: ValidateConfig, run: Run) -> None:
    import numpy as np

    from whence.sae.validate.fields import read_fields
    from whence.sae.validate.measures import PREDICTED, judged_values, measure, sides_of
    from whence.sae.validate.page import write_page
    from whence.sae.validate.predicted import read_predictions
    from whence.sae.validate.words import cautions, headline, sentences, verdict

    reward = config.reward_field
    found = read_predictions(config.predictions, config.metadata, config.group_key_fields)
    fields, skipped = read_fields(found.rows, config.fields, reward)
    sides = sides_of(found)
    measured = {
        name: measure(found, fields, name, reward, config.seed)
        for name in track(list(sides), label="validate", unit="sides")
    }
    on = next(iter(sides))
    answer = verdict(measured[on], reward, config.margin, PREDICTED)
    told: dict[str, Any] = {
        "on": on,
        "reward_field": reward,
        "margin": config.margin,
        "predicted_column": found.predicted_column,
        "target_column": found.target_column,
        "part_unknown": "part" not in found.rows.columns,
        "grouped": len(np.unique(found.groups)) < len(found.groups),
        "verdict": {
            "answer": answer.answer if answer else None,
            "rows_needed": answer.rows_needed if answer else None,
            "sentences": sentences(measured, on, reward, config.margin),
        },
        "fields": {
            name: {
                "column": field.column,
                "kind": field.kind,
                "levels": field.levels,
                "missing": field.missing,
                "unknown": field.unknown,
            }
            for name, field in fields.items()
        },
        "skipped": skipped,
        **measured,
    }
    told = {"headline": headline(told), "cautions": cautions(told), **told}
    write_json(run.folder / RESULT, told)
    write_page(run.folder, told, judged_values(found, on), fields, sides[on])
