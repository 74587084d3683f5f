"""What a battery does, intervention by intervention, each with the row it becomes in the tables."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from whence.heads.battery import (
    ActivationPatch,
    Battery,
    Head,
    HeadsPairZero,
    HeadsSubsetZero,
    HeadsZero,
    check_heads,
    resolve_heads,
    resolve_layers,
    spell_head,
    spell_heads,
)
from whence.models.sites import Kind, Site

if TYPE_CHECKING:
    from whence.models.anatomy import Anatomy

Fill = Literal["scale", "mean", "resample", "source", "self"]
"""What takes the place of a value: it times a factor, its mean over prompts, its value on another
prompt, on the partner prompt, or its own (a sham)."""

RowKind = Literal["head", "pair", "subset", "patch", "random", "sham"]

_SITE: dict[str, Kind] = {
    "layer_resid": "resid_post",
    "mlp_out": "mlp_out",
    "attn_out": "attn_out",
    "head_out": "z",
}


@dataclass(frozen=True)
class Touch:
    """One place that is changed: a site, or one head of `hook_z`."""

    site: Site
    head: int | None = None


@dataclass(frozen=True)
class Intervention:
    """One change of the forward pass, at all its touches at once.

    label, heads, layer, head, scale: as in the tables; layer and head are None for several.
    """

    kind: RowKind
    label: str
    touches: tuple[Touch, ...]
    fill: Fill
    factor: float = 0.0
    seed: int = 0

    @property
    def layers(self) -> list[int]:
        return sorted({touch.site.layer for touch in self.touches if touch.site.layer is not None})

    @property
    def start(self) -> int:
        """The first block that must run again. What leaves block L enters block L + 1."""
        return min(
            layer + (touch.site.kind == "resid_post")
            for touch in self.touches
            if (layer := touch.site.layer) is not None
        )

    @property
    def layer(self) -> int | None:
        return self.layers[0] if len(self.layers) == 1 else None

    @property
    def head(self) -> int | None:
        return self.touches[0].head if len(self.touches) == 1 else None

    @property
    def heads(self) -> str:
        return spell_heads((t.site.layer or 0, t.head) for t in self.touches if t.head is not None)

    @property
    def scale(self) -> float | None:
        return self.factor if self.fill == "scale" else None


def interventions(battery: Battery, anatomy: Anatomy, seeds: Sequence[int]) -> list[Intervention]:
    """Everything that `battery` asks for on this model, in order.

    seeds: resampling draws its sources anew for each; everything else is deterministic and is done
    once. Raises BadInput for layers or heads that the model does not have.
    """
    if isinstance(battery, ActivationPatch):
        return _patches(battery, anatomy)
    if isinstance(battery, HeadsZero):
        layers = resolve_layers(battery.layers, anatomy.n_layers)
        heads = resolve_heads(battery.heads, anatomy.n_heads)
        asked = [
            _ablation("head", spell_head((layer, head)), [(layer, head)], battery.method, scale)
            for scale in battery.scales
            for layer in layers
            for head in heads
        ]
        sets = {(layer, head) for layer in layers for head in heads}
        if battery.n_random:
            asked += _other_heads(asked, sets, anatomy, battery.n_random)
    elif isinstance(battery, HeadsPairZero):
        pairs = [tuple(check_heads(pair.heads, *_size(anatomy))) for pair in battery.pairs]
        singles = sorted({head for pair in pairs for head in pair})
        asked = [
            _ablation("head", spell_head(head), [head], battery.method, battery.scale)
            for head in singles
        ]
        for pair in pairs:
            name = spell_heads(pair, "+")
            asked.append(_ablation("pair", name, pair, battery.method, battery.scale))
            asked += _random_sets(name, pair, battery, anatomy)
    else:
        asked = []
        for group in battery.groups:
            check_heads(group.heads, *_size(anatomy))
            asked.append(
                _ablation("subset", group.label, group.heads, battery.method, battery.scale)
            )
            asked += _random_sets(group.label, group.heads, battery, anatomy)
    repeats = seeds if battery.method == "resample" else seeds[:1]
    return [replace(one, seed=seed) for seed in repeats for one in asked]


def _ablation(
    kind: RowKind, label: str, heads: Iterable[Head], method: str, scale: float
) -> Intervention:
    touches = tuple(Touch(Site("z", layer), head) for layer, head in heads)
    fill: Fill = "mean" if method == "mean" else "resample" if method == "resample" else "scale"
    return Intervention(kind, label, touches, fill, scale)


def _patches(battery: ActivationPatch, anatomy: Anatomy) -> list[Intervention]:
    site = _SITE[battery.granularity]
    layers = resolve_layers(battery.layers, anatomy.n_layers)
    heads: list[int | None] = [None]
    if battery.granularity == "head_out":
        heads = list(resolve_heads(battery.heads, anatomy.n_heads))
    sets = [[Touch(Site(site, layer), head)] for layer in layers for head in heads]
    if battery.window and len(layers) > 1:
        sets += [[Touch(Site(site, layer), head) for layer in layers] for head in heads]
    asked = []
    for touches in sets:
        own = [t.site.layer or 0 for t in touches]
        label = str(own[0]) if len(own) == 1 else spell_window(own)
        if touches[0].head is not None:
            label = spell_head((own[0], touches[0].head)) if len(own) == 1 else label
        asked.append(Intervention("patch", label, tuple(touches), "source"))
        if battery.sham_control:
            asked.append(Intervention("sham", label, tuple(touches), "self"))
    return asked


def spell_window(layers: Sequence[int]) -> str:
    """`9-13` for layers without a gap, `3,5,9` for others."""
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}-{layers[-1]}"
    return ",".join(map(str, layers))


def _other_heads(
    asked: Sequence[Intervention], sets: set[Head], anatomy: Anatomy, count: int
) -> list[Intervention]:
    """Heads of the same layers that were not asked for, at most `count` a layer and scale."""
    others = []
    for factor in dict.fromkeys(one.factor for one in asked):
        for layer in sorted({layer for layer, _ in sets}):
            free = [(layer, h) for h in range(anatomy.n_heads) if (layer, h) not in sets]
            drawn = random.Random(f"heads:{layer}").sample(free, min(count, len(free)))
            template = asked[0]
            others += [
                replace(
                    template,
                    kind="random",
                    label=f"random {spell_head(head)} of layer {layer}",
                    touches=(Touch(Site("z", layer), head[1]),),
                    factor=factor,
                )
                for head in sorted(drawn)
            ]
    return others


def _random_sets(
    name: str, heads: Sequence[Head], battery: HeadsPairZero | HeadsSubsetZero, anatomy: Anatomy
) -> list[Intervention]:
    """Sets with as many heads of the same layers, other than `heads`, each at most once."""
    rng = random.Random(f"sets:{name}:{spell_heads(heads)}")
    per_layer = {layer: sum(1 for at, _ in heads if at == layer) for layer, _ in heads}
    seen = {tuple(sorted(heads))}
    drawn: list[tuple[Head, ...]] = []
    # Few heads have few sets: stop when they are used up.
    for _ in range(20 * battery.n_random):
        if len(drawn) == battery.n_random:
            break
        one = tuple(
            (layer, head)
            for layer, count in sorted(per_layer.items())
            for head in sorted(rng.sample(range(anatomy.n_heads), count))
        )
        if one not in seen:
            seen.add(one)
            drawn.append(one)
    return [
        _ablation("random", f"random {at} of {name}", one, battery.method, battery.scale)
        for at, one in enumerate(drawn, start=1)
    ]


def _size(anatomy: Anatomy) -> tuple[int, int]:
    return anatomy.n_layers, anatomy.n_heads
