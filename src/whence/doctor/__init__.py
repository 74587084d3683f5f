"""`whence doctor`: is everything here, and does this model mean what Whence takes it to mean?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from whence.doctor.check import Check
from whence.errors import BadInput
from whence.runs.config import Config
from whence.runs.finding import Finding

__all__ = ["Check", "DoctorConfig", "DoctorResult", "doctor"]


class DoctorConfig(Config):
    """What to look at: the machine always, a model when one is given."""

    model: str | None = Field(
        default=None,
        description="Prove this model too: a folder, a hub id, or tiny. Loads it, reads what its "
        "tokenizer adds, measures whether batch or padding moves a logit beyond the noise floor of "
        "the dtype, and proves where blocks, heads and residual parts are.",
    )
    adapter: Path | None = Field(default=None, description="LoRA adapter to put on the model.")
    revision: str | None = Field(default=None, description="Branch, tag or commit on the hub.")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:N or mps.")
    dtype: str = Field(default="auto", description="auto, float32, bfloat16 or float16.")
    trust_remote_code: bool = Field(
        default=False, description="Run code that the model brings along. Read it first."
    )
    output_json: Path | None = Field(
        default=None, description="Also write the lines to this file, as JSON."
    )


@dataclass(frozen=True)
class DoctorResult:
    """Every line of the diagnosis, in the order in which it was made."""

    checks: tuple[Check, ...]
    model: str | None
    output_json: Path | None = None

    @property
    def failed(self) -> bool:
        return any(check.status == "fail" for check in self.checks)

    def finding(self) -> Finding:
        """Whether everything holds, and the lines."""
        wrong = [check.name for check in self.checks if check.status == "fail"]
        warned = sum(check.status == "warn" for check in self.checks)
        subject = f"this machine and {self.model}" if self.model else "this machine"
        warnings = f"; {warned} {'warning' if warned == 1 else 'warnings'}" if warned else ""
        headline = (
            f"{subject}: {', '.join(wrong)} failed{warnings}"
            if wrong
            else f"{subject}: all is well{warnings}"
        )
        return Finding(
            headline=headline,
            columns=("", "check", "found", "what to do"),
            rows=[(c.status, c.name, c.found, c.advice) for c in self.checks],
            files={"checks": self.output_json} if self.output_json else {},
            failed=bool(wrong),
        )


def doctor(config: DoctorConfig) -> DoctorResult:
    """Check the machine and, when a model is given, prove it.

    What is wrong is a line of the result, not an exception. Raises BadInput for settings that name
    nothing: a model folder that is not there, an adapter without a model.
    """
    if config.adapter is not None and config.model is None:
        raise BadInput("--adapter needs --model: the base that it was trained on")
    if config.model is not None:
        from whence.models.load import model_source

        model_source(config.model)
    result = DoctorResult(tuple(_checks(config)), config.model, config.output_json)
    if config.output_json is not None:
        from whence.runs.jsonfile import write_json

        write_json(config.output_json, {"failed": result.failed, "checks": result.checks})
    return result


def _checks(config: DoctorConfig) -> Iterator[Check]:
    from whence.doctor.machine import machine_checks

    yield from machine_checks()
    if config.model is None:
        return
    from whence.doctor.model import model_checks
    from whence.models.load import load_model

    try:
        loaded = load_model(
            config.model,
            adapter=config.adapter,
            revision=config.revision,
            dtype=config.dtype,
            device=config.device,
            trust_remote_code=config.trust_remote_code,
        )
    except BadInput as error:
        yield Check("model", "fail", str(error), "")
        return
    yield from model_checks(loaded)
