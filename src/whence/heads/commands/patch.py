"""`whence heads patch`: activations of one prompt put into the run of its partner."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from whence.heads.battery import ActivationPatch, Direction, Granularity, Positions
from whence.heads.commands.found import HeadsResult
from whence.heads.commands.ranges import listed
from whence.heads.commands.single import HeadsConfig, measure


class PatchConfig(HeadsConfig):
    """Put activations of the corrupt prompt into the clean run (or the other way round)."""

    granularity: Granularity = Field(
        default="layer_resid",
        description="What is replaced: the residual stream after a layer, what its MLP or its "
        "attention adds, or one head's output.",
    )
    layers: tuple[str, ...] = Field(
        default=("all",), description="Layers, one at a time: all, numbers, or ranges as 9-13."
    )
    heads: tuple[str, ...] = Field(
        default=("all",), description="Heads of each layer, for head_out."
    )
    window: str | None = Field(
        default=None, description="Layers as 9-13: each of them, and all of them at once."
    )
    positions: str = Field(
        default="last_token",
        description="Tokens that are replaced: all, last_token, first, final_K, or a list as 0,-1.",
    )
    direction: Direction = Field(
        default="corrupt->clean", description="Whose activations go into whose run."
    )
    sham: bool = Field(
        default=True, description="Also put a run's own activations into it: exactly nothing."
    )

    @field_validator("positions")
    @classmethod
    def _one_spelling(cls, value: str) -> str:
        return str(Positions(value))

    @model_validator(mode="after")
    def _one_choice(self) -> PatchConfig:
        if self.window is not None and self.layers != ("all",):
            raise ValueError("window and layers both name layers: give one of them")
        return self

    def battery(self) -> ActivationPatch:
        """The same as a battery of a configuration file."""
        layers = listed(self.layers, "--layers")
        if self.window is not None:
            layers = listed((self.window,), "--window")
        return ActivationPatch(
            granularity=self.granularity,
            layers=layers,
            heads=listed(self.heads, "--heads"),
            positions=Positions(self.positions),
            patch_direction=self.direction,
            sham_control=self.sham,
            window=self.window is not None,
        )


def patch(config: PatchConfig) -> HeadsResult:
    """Patch layer by layer and write `metrics/layer_impact.parquet` (head_out: head_impact).

    The baseline is the run that is patched into: the clean prompt's for corrupt->clean. Raises
    BadInput for whatever of model, corpus or settings does not fit, before anything is computed.
    """
    battery = config.battery()
    with config.opened("heads patch") as run:
        if not run.done:
            measure(config, config.bench(), battery, run, label="heads patch")
    return HeadsResult.read(config.output_dir, run.done)
