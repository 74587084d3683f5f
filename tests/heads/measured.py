"""Tables of examples as the engine writes them, with planted effects: `import measured`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from whence.heads.effects import Intervention

SCHEMA = pa.schema(
    [
        ("intervention", pa.int32()),
        ("kind", pa.string()),
        ("label", pa.string()),
        ("heads", pa.string()),
        ("layer", pa.int32()),
        ("head", pa.int32()),
        ("scale", pa.float64()),
        ("seed", pa.int64()),
        ("example", pa.int32()),
        ("prompt", pa.int32()),
        *((n, pa.float64()) for n in ("clean_logit_diff", "logit_diff", "clean_p_target")),
        *((n, pa.float64()) for n in ("p_target", "kl_div")),
        *((n, pa.int32()) for n in ("clean_predicted", "predicted", "target_id")),
    ]
)
WHOLE_TARGET = ("clean_seq_logprob", "seq_logprob", "seq_kl_mean")


MODEL = {"name": "m", "n_layers": 3, "n_heads": 4}


@dataclass
class Result:
    """What the engine returns of a condition, as far as it is written."""

    per_example: pa.Table
    baseline: dict[str, Any] = field(default_factory=lambda: {"clean": {"logit_diff": 1.5}})
    notes: dict[str, Any] = field(default_factory=dict)


def head(layer: int, number: int, kind: str = "head", scale: float | None = 0.0) -> Intervention:
    name = f"{layer}:{number}"
    return Intervention(kind, name, name, layer, number, scale)


def pair(a: tuple[int, int], b: tuple[int, int]) -> Intervention:
    names = [f"{layer}:{number}" for layer, number in sorted((a, b))]
    same = a[0] if a[0] == b[0] else None
    return Intervention("pair", "+".join(names), " ".join(names), same, None, 0.0)


def layer(number: int, kind: str = "patch") -> Intervention:
    return Intervention(kind, str(number), "", number, None, None)


@dataclass
class Truth:
    """What to measure: intervention → planted mean change of the logit difference."""

    effects: Mapping[Intervention, float]
    prompts: int = 40
    noise: float = 0.2
    seeds: Sequence[int] = (0,)
    per_prompt: int = 1
    subsample: int | None = None
    resample: bool = False
    full_target: bool = False
    source: float | None = None
    """Mean logit difference of the source run, for patches."""
    random_state: int = 0
    synergy: Mapping[Intervention, float] = field(default_factory=dict)
    """Pair → what it adds to the sum of its two heads in every example."""

    def table(self) -> pa.Table:
        """The rows, in the order of intervention, seed, example."""
        rng = np.random.default_rng(self.random_state)
        n = self.prompts * self.per_prompt
        clean = rng.normal(1.0, 1.5, n)
        deltas: dict[Any, Any] = {}
        for made, effect in self.effects.items():
            shape = (len(self.seeds), n) if self.resample else (1, n)
            noise = rng.normal(0, self.noise, shape) if made.kind != "sham" else 0 * np.ones(shape)
            deltas[made] = np.broadcast_to(effect + noise, (len(self.seeds), n))
        for made, extra in self.synergy.items():
            a, b = (deltas[head(*map(int, name.split(":")))] for name in made.heads.split())
            deltas[made] = a + b + extra
        source = None if self.source is None else rng.normal(self.source, 0.3, n)
        chosen = [
            np.arange(n)
            if self.subsample is None
            else np.sort(np.random.default_rng(100 + s).choice(n, self.subsample, replace=False))
            for s in self.seeds
        ]
        blocks = [
            self._rows(number, made, at, chosen[at], clean, deltas[made], source)
            for number, made in enumerate(self.effects)
            for at in range(len(self.seeds))
        ]
        return pa.concat_tables(blocks)

    def _rows(
        self,
        number: int,
        made: Intervention,
        at: int,
        chosen: np.ndarray,
        clean: np.ndarray,
        delta: np.ndarray,
        source: np.ndarray | None,
    ) -> pa.Table:
        n, before, change = len(chosen), clean[chosen], delta[at][chosen]
        after = before + change
        sigmoid = lambda x: 0.9 / (1 + np.exp(-x))  # noqa: E731
        columns: dict[str, Any] = {
            "intervention": np.full(n, number, np.int32),
            **{name: [getattr(made, name)] * n for name in Intervention._fields},
            "seed": np.full(n, self.seeds[at], np.int64),
            "example": chosen.astype(np.int32),
            "prompt": (chosen // self.per_prompt).astype(np.int32),
            "clean_logit_diff": before,
            "logit_diff": after,
            "clean_p_target": sigmoid(before),
            "p_target": sigmoid(after),
            "kl_div": change**2 / 2,
            "clean_predicted": np.where(before > 0, 7, 9).astype(np.int32),
            "predicted": np.where(after > 0, 7, 9).astype(np.int32),
            "target_id": np.full(n, 7, np.int32),
        }
        schema = SCHEMA
        if self.full_target:
            columns |= {
                "clean_seq_logprob": np.log(sigmoid(before)) - 1,
                "seq_logprob": np.log(sigmoid(after)) - 1,
                "seq_kl_mean": change**2 / 4,
            }
            for name in WHOLE_TARGET:
                schema = schema.append(pa.field(name, pa.float64()))
        if source is not None:
            columns["source_logit_diff"] = source[chosen]
            schema = schema.append(pa.field("source_logit_diff", pa.float64()))
        return pa.table(columns, schema=schema)


def sweep(layers: int, heads: int, planted: Mapping[tuple[int, int], float], **truth: Any) -> Truth:
    """All heads one at a time, all without effect but the planted ones."""
    return Truth(
        {
            head(at, number): planted.get((at, number), 0.0)
            for at in range(layers)
            for number in range(heads)
        },
        **truth,
    )
