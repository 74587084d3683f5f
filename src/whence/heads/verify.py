"""`verify_slice`: the first examples once more, on another device and in float32.

A device that computes wrongly does so without a word. The first few interventions are run on the
first examples elsewhere, and every metric must agree within what arithmetic explains. How far
arithmetic moves a logit is measured on the slice's prompts (`whence.models.proof`): in half
precision twice the move that float32 makes of the same weights, in float32 as many last places as a
change of kernels may cost. A metric may move by that for every logit it puts together.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.heads.battery import (
    ActivationPatch,
    Battery,
    HeadsPairZero,
    HeadsSubsetZero,
    HeadsZero,
    resolve_heads,
    resolve_layers,
)
from whence.heads.metrics import METRICS, derive, requested

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from whence.heads.condition import ConditionResult
    from whence.heads.conditions import Subject
    from whence.heads.plan import Condition
    from whence.heads.prompts import Examples
    from whence.heads.reading import Reading
    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded

FEW = 4
"""Interventions of a battery that are run again."""

LOGITS = {"logit_diff": 2, "p_drop": 1, "seq_p_drop": 1}
"""Logits that a metric puts together, each off by a move; four where nothing is said.

A probability changes by at most half of what its logits do, and p_drop has two of them.
"""

WIDENED = 2.0
"""Room above the move of clean logits: an intervention may make another move."""

JUMPS = ("acc_flip_rate", "error_rate")
"""Metrics that jump by one where two tokens tie: how many do is said, and no tolerance holds."""

Key = tuple[str, str, float | None, int]
"""(kind, label, scale, example)."""


def verify(
    subject: Subject,
    condition: Condition,
    examples: Examples,
    reading: Reading,
    result: ConditionResult,
    scratch: Path,
) -> dict[str, Any]:
    """Run a slice of a condition elsewhere and compare it with `result`: `verify.json`.

    What depends on the other prompts (mean, resample) is compared with the same slice on the main
    device. A device that is not here is no failure: `passed` is None and `sentence` says why.
    """
    wanted = condition.verify_slice
    assert wanted is not None
    few = list(dict.fromkeys(result.per_example.column("example").to_pylist()))
    few = few[: wanted.n_examples]
    head = {"device": wanted.device, "dtype": "float32", "n_examples": len(few)}
    some = examples.only([at for at, row in enumerate(examples.rows) if row.example in set(few)])
    battery = first_few(condition.battery, subject.anatomy)
    try:
        other = subject.other(wanted.device)
        theirs = _table(other, some, battery, reading, scratch / "there")
        ours = result.per_example
        if getattr(battery, "method", None) in ("mean", "resample"):
            ours = _table(subject.loaded, some, battery, reading, scratch / "here")
    except BadInput as error:
        told = f"not verified on {wanted.device}: {error}"
        return {**head, "passed": None, "sentence": told}
    move = logit_move(subject.loaded, [row.clean for row in some.rows])
    longest = max(len(row.target) for row in some.rows)
    metrics = requested(reading.metrics, full_target=reading.metric_span == "full_target")
    compared = compare(ours, theirs, metrics, move, longest)
    main = {"device": str(subject.loaded.device), "dtype": _dtype(subject.loaded)}
    verdict = "agrees with" if compared["passed"] else "DIFFERS from"
    return {
        **head,
        "compared_with": main,
        "logit_move": move,
        **compared,
        "sentence": f"{main['device']} in {main['dtype']} {verdict} {wanted.device} in float32 "
        f"on {len(few)} examples",
    }


def _table(
    loaded: Loaded, examples: Examples, battery: Battery, reading: Reading, shards: Path
) -> pa.Table:
    """The battery on a slice, computed afresh under the first seed."""
    from whence.heads.condition import run_condition
    from whence.models.anatomy import find_anatomy

    shutil.rmtree(shards, ignore_errors=True)
    shards.mkdir(parents=True)
    once = reading.model_copy(update={"seeds": reading.seeds[:1], "subsample": None})
    anatomy = find_anatomy(loaded.model)
    label = f"verifying on {loaded.device}"
    return run_condition(loaded, anatomy, examples, battery, once, shards, label=label).per_example


def first_few(battery: Battery, anatomy: Anatomy) -> Battery:
    """The first `FEW` interventions of a battery, without random sets; of scales, the first."""
    if isinstance(battery, HeadsZero):
        layers = resolve_layers(battery.layers, anatomy.n_layers)[:1]
        heads = resolve_heads(battery.heads, anatomy.n_heads)[:FEW]
        few: dict[str, Any] = {"layers": tuple(layers), "heads": tuple(heads)}
        few["scales"] = battery.scales[:1]
    elif isinstance(battery, HeadsPairZero):
        few = {"pairs": battery.pairs[:FEW]}
    elif isinstance(battery, HeadsSubsetZero):
        few = {"groups": battery.groups[:FEW]}
    else:
        layers = resolve_layers(battery.layers, anatomy.n_layers)[:FEW]
        few = {"layers": tuple(layers)}
        if battery.granularity == "head_out":
            few["layers"] = tuple(layers[:1])
            few["heads"] = tuple(resolve_heads(battery.heads, anatomy.n_heads)[:FEW])
        # A window of fewer layers is another intervention.
        few["window"] = battery.window and tuple(layers) == tuple(
            resolve_layers(battery.layers, anatomy.n_layers)
        )
    if not isinstance(battery, ActivationPatch):
        few["random_control"] = False
    return battery.model_copy(update=few)


def compare(
    ours: pa.Table, theirs: pa.Table, metrics: Sequence[str], move: float, longest: int
) -> dict[str, Any]:
    """Largest difference of each metric over the rows of `theirs`, and what is allowed.

    move: how far arithmetic alone may move a logit. longest: tokens of the longest target.
    """
    import numpy as np

    mine, yours = _by_key(ours), _by_key(theirs)
    keys = [key for key in yours if key in mine]
    if not keys:
        raise BadInput("verify_slice: none of the interventions is in the main run")
    a = _columns(ours, [mine[key] for key in keys])
    b = _columns(theirs, [yours[key] for key in keys])
    names = [name for name in metrics if name not in JUMPS]
    difference = {n: _largest(derive(a, n)[0], derive(b, n)[0]) for n in names}
    tolerance = {
        name: move * LOGITS.get(name, 4) * (longest if METRICS[name].full_target else 1)
        for name in names
    }
    return {
        "interventions": len({key[:3] for key in keys}),
        "max_abs_difference": difference,
        "tolerance": tolerance,
        "predictions_that_differ": int(np.sum(a["predicted"] != b["predicted"])),
        "passed": all(difference[name] <= tolerance[name] for name in names),
    }


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(a - b).max())


def _by_key(table: pa.Table) -> dict[Key, int]:
    """Row numbers by what was done to which example, under the table's first seed."""
    names = ("kind", "label", "scale", "example", "seed")
    columns = [table.column(name).to_pylist() for name in names]
    found: dict[Key, int] = {}
    for at, (kind, label, scale, example, seed) in enumerate(zip(*columns, strict=True)):
        if seed == columns[-1][0]:
            found[(kind, label, scale, example)] = at
    return found


def _columns(table: pa.Table, rows: Sequence[int]) -> Mapping[str, np.ndarray]:
    """The numeric columns at some rows."""
    import pyarrow as pa

    some = table.take(pa.array(rows, pa.int64()))
    return {
        name: some.column(name).to_numpy()
        for name in some.column_names
        if not pa.types.is_string(some.schema.field(name).type)
    }


def logit_move(loaded: Loaded, prompts: Sequence[Sequence[int]]) -> float:
    """How far another arithmetic may move a logit of this model after these prompts."""
    from whence.models.proof import TOLERANCE, noise_floor

    floor = noise_floor(loaded, list(dict.fromkeys(map(tuple, prompts))))
    if floor.widened is not None:
        return WIDENED * floor.widened
    return TOLERANCE * floor.last_place


def _dtype(loaded: Loaded) -> str:
    return str(loaded.dtype).removeprefix("torch.")
