"""Batteries: which interventions a run makes. The earlier lab's JSON, with optional keys added.

{"type": "heads_zero", "layers": "all", "scales": [0.0], "positions": "all"}
{"type": "heads_pair_zero", "pairs": [{"layer": 0, "h1": 2, "h2": 4}, {"a": "0:2", "b": "3:1"}]}
{"type": "heads_subset_zero", "groups": [{"heads": ["0:2", "0:4", "5:1"], "label": "triplet"}]}
{"type": "activation_patch", "granularity": "layer_resid", "layers": [9, 10, 11],
 "positions": "last_token", "patch_direction": "corrupt->clean"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from whence.errors import BadInput
from whence.heads.checked import checked, nearest
from whence.heads.names import (
    Head,
    Which,
    check_heads,
    parse_head,
    resolve_heads,
    resolve_layers,
    spell_head,
    spell_heads,
)
from whence.heads.positions import Positions
from whence.runs.config import Config

__all__ = [
    "ActivationPatch",
    "Battery",
    "Direction",
    "Granularity",
    "Group",
    "Head",
    "HeadsPairZero",
    "HeadsSubsetZero",
    "HeadsZero",
    "Method",
    "Pair",
    "Positions",
    "VerifySlice",
    "Which",
    "check_heads",
    "parse_battery",
    "parse_head",
    "resolve_heads",
    "resolve_layers",
    "spell_head",
    "spell_heads",
]

Method = Literal["zero", "mean", "resample"]
Granularity = Literal["layer_resid", "mlp_out", "attn_out", "head_out"]
Direction = Literal["corrupt->clean", "clean->corrupt"]

RANDOM_SETS = 20
"""Random sets drawn for `random_control: true`: a percentile in steps of five."""


class VerifySlice(Config):
    """Run the first examples again on another device, in float32, and compare."""

    device: str = Field(default="cpu", description="Device to compare with.")
    n_examples: int = Field(default=10, ge=1, description="Examples taken from the start.")


def _listed(value: Any) -> Any:
    """Say in one sentence what pydantic would say once for each form."""
    if value == "all":
        return value
    if not isinstance(value, list | tuple) or not all(type(item) is int for item in value):
        raise ValueError(f'"all" or a list of whole numbers was expected, got {value!r}')
    if not value:
        raise ValueError('the list is empty: give at least one, or "all"')
    _refuse_repeats("", [str(item) for item in value])
    return tuple(value)


def _count(value: Any) -> Any:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"true, false or a number of random sets was expected, got {value!r}")
    return value


Listed = Annotated[Which, BeforeValidator(_listed)]


class _Battery(Config):
    """What every battery may say beside its interventions; a run's own settings otherwise."""

    positions: Positions = Field(default=Positions("all"), description="Tokens that are changed.")
    batch_size: int | None = Field(default=None, ge=1, description="Prompts in a batch.")
    max_seq_len: int | None = Field(default=None, ge=2, description="Tokens a prompt may have.")
    metrics: tuple[str, ...] | None = Field(default=None, description="Metrics to write.")
    verify_slice: VerifySlice | None = Field(default=None, description="Check on another device.")


class _HeadBattery(_Battery):
    """Ablation of heads. `scales` and `scale` multiply a head's output; 0 removes it."""

    method: Method = Field(
        default="zero",
        description="What takes the place of a head's output: zero (times `scale`), its mean over "
        "prompts, or its output on another prompt.",
    )
    random_control: Annotated[bool | int, BeforeValidator(_count)] = Field(
        default=False,
        description="Random sets of as many heads of the same layers to compare with; true is 20.",
    )

    @property
    def n_random(self) -> int:
        """How many random sets to draw for each set of heads."""
        return RANDOM_SETS if self.random_control is True else int(self.random_control)


class HeadsZero(_HeadBattery):
    """Every head of some layers, one at a time."""

    type: Literal["heads_zero", "heads_mean", "heads_resample"] = "heads_zero"
    layers: Listed = Field(default="all", description="Layers.")
    heads: Listed = Field(default="all", description="Heads of each of them.")
    scales: tuple[float, ...] = Field(default=(0.0,), min_length=1, description="Factors, in turn.")

    @model_validator(mode="before")
    @classmethod
    def _method_of_type(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        spelled = str(value.get("type", "heads_zero")).removeprefix("heads_")
        if spelled in ("mean", "resample"):
            if value.get("method", spelled) != spelled:
                raise ValueError(f"type heads_{spelled} contradicts method {value['method']}")
            value = {**value, "method": spelled}
        return value

    @model_validator(mode="after")
    def _scales_scale(self) -> HeadsZero:
        if self.method != "zero" and self.scales != (0.0,):
            raise ValueError(f"scales: belong to method zero, not to {self.method}")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales: one is listed twice in {list(self.scales)}")
        return self


class Pair(Config):
    """Two heads, (layer, head) each. Also read from `{"layer": 0, "h1": 2, "h2": 4}`."""

    a: Head
    b: Head

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and len(value) == 2:
            value = {"a": value[0], "b": value[1]}
        if not isinstance(value, Mapping):
            return value
        if "layer" in value:
            old, rest = {"layer", "h1", "h2"}, dict(value)
            for name in sorted(old - set(value)):
                raise ValueError(f"{name} is required beside layer")
            for name in set(value) - old:
                raise ValueError(f"{name}: no such key{nearest(name, sorted(old))}")
            layer = rest.pop("layer")
            value = {"a": (layer, rest["h1"]), "b": (layer, rest["h2"])}
        return value

    @field_validator("a", "b", mode="before")
    @classmethod
    def _head(cls, value: Any) -> Any:
        return _read_head(value)

    @model_validator(mode="after")
    def _two(self) -> Pair:
        if self.a == self.b:
            raise ValueError(f"a pair of one head, {spell_head(self.a)}")
        return self

    @property
    def heads(self) -> tuple[Head, Head]:
        return (self.a, self.b)


class HeadsPairZero(_HeadBattery):
    """Pairs of heads, and each head of one alone: synergy is what two do beyond their sum."""

    type: Literal["heads_pair_zero"] = "heads_pair_zero"
    pairs: tuple[Pair, ...] = Field(min_length=1, description="Pairs.")
    scale: float = Field(default=0.0, description="Factor.")

    @model_validator(mode="after")
    def _each_once(self) -> HeadsPairZero:
        _refuse_repeats("pairs", [spell_heads(pair.heads, "+") for pair in self.pairs])
        return self


class Group(Config):
    """A set of heads, of one layer or several. `{"layer": 0, "heads": [2, 4]}` is read as well."""

    heads: tuple[Head, ...] = Field(min_length=1)
    label: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "heads" not in value:
            return value
        value = dict(value)
        heads = value["heads"]
        if not isinstance(heads, list | tuple):
            raise ValueError(f'heads: a list as ["0:2", "5:1"] was expected, got {heads!r}')
        if "layer" in value:
            layer = value.pop("layer")
            heads = [(layer, head) if isinstance(head, int) else head for head in heads]
        value["heads"] = tuple(_read_head(head) for head in heads)
        if value.get("label") is None:
            value["label"] = "+".join(map(_shown, value["heads"]))
        return value

    @field_validator("heads")
    @classmethod
    def _each_once(cls, heads: tuple[Head, ...]) -> tuple[Head, ...]:
        _refuse_repeats("heads", [spell_head(head) for head in heads])
        return tuple(sorted(heads))


class HeadsSubsetZero(_HeadBattery):
    """Sets of heads, each removed as a whole."""

    type: Literal["heads_subset_zero"] = "heads_subset_zero"
    groups: tuple[Group, ...] = Field(min_length=1, description="Sets of heads.")
    scale: float = Field(default=0.0, description="Factor.")

    @model_validator(mode="after")
    def _labels_differ(self) -> HeadsSubsetZero:
        _refuse_repeats("groups: the label", [group.label for group in self.groups])
        return self


class ActivationPatch(_Battery):
    """Activations of one prompt put into the run of its partner, layer by layer."""

    type: Literal["activation_patch"] = "activation_patch"
    granularity: Granularity = Field(default="layer_resid", description="What is replaced.")
    layers: Listed = Field(default="all", description="Layers.")
    heads: Listed = Field(default="all", description="Heads, for head_out.")
    positions: Positions = Field(
        default=Positions("last_token"),
        description="Tokens that are replaced.",
    )
    patch_direction: Direction = Field(
        default="corrupt->clean", description="Whose activations go into whose run."
    )
    sham_control: bool = Field(
        default=False, description="Also put a run's own activations into it: exactly nothing."
    )
    window: bool = Field(default=False, description="Also all layers at once.")

    @model_validator(mode="after")
    def _heads_of_head_out(self) -> ActivationPatch:
        if self.heads != "all" and self.granularity != "head_out":
            raise ValueError(f"heads: belong to granularity head_out, not to {self.granularity}")
        return self


Battery = HeadsZero | HeadsPairZero | HeadsSubsetZero | ActivationPatch

_BY_TYPE: dict[str, type[Any]] = {
    name: model
    for model in get_args(Battery)
    for name in get_args(model.model_fields["type"].annotation)
}


def parse_battery(value: object, where: str) -> Battery:
    """Read one battery. Raises BadInput naming `where`, the key, and the nearest valid one."""
    if isinstance(value, HeadsZero | HeadsPairZero | HeadsSubsetZero | ActivationPatch):
        return value
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: a battery (an object with a type) was expected, got {value!r}")
    kind = value.get("type")
    if kind not in _BY_TYPE:
        told = "type is required" if kind is None else f"type {kind!r} is no battery"
        raise BadInput(f"{where}: {told}{nearest(str(kind), list(_BY_TYPE))}")
    battery: Battery = checked(_BY_TYPE[str(kind)], value, where)
    return battery


def _read_head(value: Any) -> Any:
    """(layer, head) from `"0:2"` or `[0, 2]`; anything else as it is, for pydantic to refuse."""
    if isinstance(value, str):
        try:
            return parse_head(value)
        except BadInput as error:
            raise ValueError(str(error)) from None
    if isinstance(value, int):
        raise ValueError(f'head {value} has no layer: write "LAYER:{value}", or give layer')
    return value


def _shown(head: Any) -> str:
    return spell_head(head) if isinstance(head, list | tuple) and len(head) == 2 else str(head)


def _refuse_repeats(what: str, names: list[str]) -> None:
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            raise ValueError(f"{what} {name} is given twice".strip())
