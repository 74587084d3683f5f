"""`whence heads sweep`: every head of a model, one at a time."""

from __future__ import annotations

from pydantic import Field, field_validator

from whence.heads.battery import HeadsZero, Method, Positions
from whence.heads.commands.found import HeadsResult
from whence.heads.commands.ranges import listed
from whence.heads.commands.single import HeadsConfig, measure
from whence.runs.store import open_run


class SweepConfig(HeadsConfig):
    """Ablate every head of a model in turn, and say what each does to the answer."""

    ablation: Method = Field(
        default="zero",
        description="What takes the place of a head's output: zero (times --scales), its mean over "
        "prompts, or its output on another prompt.",
    )
    positions: str = Field(
        default="all",
        description="Tokens where it does: all, last_token, first, final_K, or a list as 0,2,-1.",
    )
    layers: tuple[str, ...] = Field(
        default=("all",), description="Layers: all, numbers, or ranges as 0-5."
    )
    heads: tuple[str, ...] = Field(
        default=("all",), description="Heads of each layer: all, numbers, or ranges."
    )
    scales: tuple[float, ...] = Field(
        default=(0.0,), description="Factors for heads under zero; 0 removes them."
    )

    @field_validator("positions")
    @classmethod
    def _one_spelling(cls, value: str) -> str:
        return str(Positions(value))

    def battery(self) -> HeadsZero:
        """The same as a battery of a configuration file."""
        return HeadsZero(
            method=self.ablation,
            positions=Positions(self.positions),
            layers=listed(self.layers, "--layers"),
            heads=listed(self.heads, "--heads"),
            scales=self.scales,
        )


def sweep(config: SweepConfig) -> HeadsResult:
    """Ablate every head and write `metrics/head_impact.parquet`, one row per head and metric.

    A killed sweep goes on with the layers that are missing. Raises BadInput for whatever of model,
    corpus or settings does not fit, before anything is computed.
    """
    battery = config.battery()
    with open_run(
        config.output_dir,
        command="heads sweep",
        config=config,
        inputs=config.inputs(),
        overwrite=config.overwrite,
        seeds=config.seeds,
    ) as run:
        if not run.done:
            measure(config, config.bench(), battery, run, label="heads sweep")
    return HeadsResult.read(config.output_dir, run.done)
