"""The exact effects that a screen is held against: made by the engine, or read from a sweep."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import BadInput
from whence.heads.baseline import Baseline
from whence.heads.condition import ConditionResult, run_shards
from whence.heads.gradients import Against, Floats
from whence.heads.groups import make_groups, units_of
from whence.heads.interventions import Fill, Intervention, Touch
from whence.heads.names import Head, spell_head, spell_heads
from whence.heads.positions import Positions
from whence.heads.prompts import Examples
from whence.heads.reading import Reading
from whence.heads.sweep import Sweep
from whence.models.sites import Site
from whence.runs.jsonfile import read_json
from whence.runs.tables import read_table

if TYPE_CHECKING:
    from whence.models.replay import Replay

FILL: Mapping[Against, Fill] = {"zero": "scale", "mean": "mean", "corrupt": "source"}

# Share of the largest clean logit difference by which a sweep's may differ from ours, by dtype.
_SAME = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.03}


@dataclass(frozen=True)
class Exact:
    """What the engine did, and each intervention's change of the logit difference [example]."""

    result: ConditionResult
    heads: Mapping[Head, Floats]
    pairs: Mapping[tuple[Head, Head], Floats]
    nodes: Mapping[Site, Floats]

    def synergy(self, a: Head, b: Head) -> Floats:
        """Δ(a, b) − Δ(a) − Δ(b), [example]."""
        return np.asarray(self.pairs[a, b] - self.heads[a] - self.heads[b])


def head(one: Head, against: Against) -> Intervention:
    """One head, replaced."""
    touches = (Touch(Site("z", one[0]), one[1]),)
    return Intervention("head", spell_head(one), touches, FILL[against])


def pair(two: tuple[Head, Head], against: Against) -> Intervention:
    """Two heads, replaced together."""
    touches = tuple(Touch(Site("z", layer), number) for layer, number in two)
    return Intervention("pair", spell_heads(two, "+"), touches, FILL[against])


def node(site: Site, against: Against) -> Intervention:
    """What attention or MLP of one layer adds, replaced."""
    return Intervention("patch", site.name, (Touch(site),), FILL[against])


def measure_exactly(
    replay: Replay,
    examples: Examples,
    against: Against,
    positions: Positions,
    reading: Reading,
    shards: Path,
    *,
    heads: Sequence[Head],
    pairs: Sequence[tuple[Head, Head]],
    nodes: Sequence[Site],
    device: object,
) -> Exact:
    """Make these interventions one by one, and the two heads of every pair alone as well.

    shards: a folder that gets one file per start layer; those present are not computed again.
    `result.per_example` has heads and pairs, not nodes.
    """
    singles = sorted({*heads, *(one for two in pairs for one in two)})
    asked = [head(one, against) for one in singles]
    asked += [pair(two, against) for two in pairs]
    shown = len(asked)
    asked += [node(site, against) for site in nodes]
    full = reading.metric_span == "full_target"
    units = units_of(
        examples.rows, reading.metric_span, patch_from="corrupt" if against == "corrupt" else None
    )
    groups = make_groups(
        examples.rows, units, reading.metric_span, max_rows=reading.batch_size, device=device
    )
    sweep = Sweep(replay, groups, positions, full, reading.memory_gb)
    before = replay.block_tokens
    baseline = Baseline(examples, units, sweep.baseline())
    names = "\n".join([against, positions, *(one.label for one in asked)])
    folder = shards / hashlib.sha256(names.encode()).hexdigest()[:12]
    table = run_shards(sweep, asked, baseline, folder, "exact verification")
    changes = table["logit_diff"].to_numpy() - table["clean_logit_diff"].to_numpy()
    rows = changes.reshape(len(asked), -1)
    kept = table.slice(0, shown * rows.shape[1]).drop_columns(["row"])
    result = ConditionResult(
        per_example=kept,
        baseline=baseline.summary(),
        notes={
            "interventions": len(asked),
            "block_tokens": replay.block_tokens - before,
            "tokens": sum(group.ids.numel() for group in groups),
            "layers": replay.anatomy.n_layers,
            "heads": replay.anatomy.n_heads,
            "seeds": {
                "given": list(reading.seeds),
                "used": [reading.seeds[0]],
                "vary": "prompt subsample" if reading.subsample else "nothing: ran once",
            },
        },
    )
    at = len(singles) + len(pairs)
    return Exact(
        result,
        heads=dict(zip(singles, rows, strict=False)),
        pairs=dict(zip(pairs, rows[len(singles) : at], strict=True)),
        nodes=dict(zip(nodes, rows[at:], strict=True)),
    )


def read_sweep(
    folder: Path,
    examples: Examples,
    against: Against,
    positions: Positions,
    *,
    clean: Floats | None,
    names: Sequence[Head],
    dtype: str,
) -> dict[Head, Floats]:
    """Every head's change of the logit difference [example], from an output of `heads sweep` (of
    `heads patch --granularity head_out` for corrupt).

    clean: our own undisturbed logit differences, None while they are not known. Raises BadInput
    where the folder holds another intervention, or lacks heads or rows, or was made on another
    model or corpus: where its undisturbed run is not ours.
    """
    path = folder / "metrics" / "summary.json"
    if not path.is_file():
        raise BadInput(f"--sweep {folder}: no metrics/summary.json; give an output of heads sweep")
    battery = read_json(path).get("battery") or {}
    _check_battery(folder, battery, against, positions)
    table = read_table(folder / "metrics" / "per_example.parquet").to_pandas()
    table = table[table["head"].notna() & table["kind"].isin(["head", "patch"])]
    table = table[table["scale"].isna() | (table["scale"] == 0)]
    table = table[table["seed"] == table["seed"].min()]
    table["change"] = table["logit_diff"] - table["clean_logit_diff"]
    by_head = {
        (int(at[0]), int(at[1])): own.set_index("example")
        for at, own in table.groupby(["layer", "head"])
    }
    rows = [row.example for row in examples.rows]
    lacking = sorted(set(names) - set(by_head))
    if lacking:
        raise BadInput(
            f"--sweep {folder}: head {spell_head(lacking[0])} is not in it; recall needs a sweep "
            "of all heads of the same model"
        )
    first = by_head[names[0]]
    gone = sorted(set(rows) - set(first.index))
    if gone:
        raise BadInput(
            f"--sweep {folder}: row {gone[0]} of the corpus is not in it; give a sweep of the same "
            "corpus, part and subsample"
        )
    theirs = first.loc[rows, "clean_logit_diff"].to_numpy()
    ours = theirs if clean is None else clean
    off = float(np.abs(theirs - ours).max())
    if off > _SAME.get(dtype, 1e-3) * max(1.0, float(np.abs(ours).max())):
        raise BadInput(
            f"--sweep {folder}: its undisturbed logit differences are not ours (up to {off:.3g} "
            "apart): another model, corpus, dtype or BOS"
        )
    return {name: by_head[name].loc[rows, "change"].to_numpy(np.float64) for name in names}


def _check_battery(
    folder: Path, battery: Mapping[str, object], against: Against, positions: Positions
) -> None:
    if against == "corrupt":
        same = battery.get("type") == "activation_patch"
        same &= battery.get("granularity") == "head_out"
        same &= battery.get("patch_direction") == "corrupt->clean"
        wanted = "heads patch --granularity head_out"
    else:
        same = battery.get("method") == against and battery.get("type") == "heads_zero"
        wanted = f"heads sweep --ablation {against}"
    if not same or battery.get("positions") != positions:
        raise BadInput(
            f"--sweep {folder}: it holds another intervention; expected the output of `whence "
            f"{wanted} --positions {positions}`"
        )
