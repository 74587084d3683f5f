"""`whence heads sweep`: every head of a model, one at a time."""

from __future__ import annotations

from pydantic import Field

from whence.heads.battery import HeadsZero, Positions
from whence.heads.commands.found import HeadsResult
from whence.heads.commands.ranges import listed
from whence.heads.commands.single import AblationConfig, measure


class SweepConfig(AblationConfig):
    """Ablate every head of a model in turn, and say what each does to the answer."""

    layers: tuple[str, ...] = Field(
        default=("all",), description="Layers: all, numbers, or ranges as 0-5."
    )
    heads: tuple[str, ...] = Field(
        default=("all",), description="Heads of each layer: all, numbers, or ranges."
    )
    scales: tuple[float, ...] = Field(
        default=(0.0,), description="Factors for heads under zero; 0 removes them."
    )

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
    with config.opened("heads sweep") as run:
        if not run.done:
            measure(config, config.bench(), battery, run, label="heads sweep")
    return HeadsResult.read(config.output_dir, run.done)
