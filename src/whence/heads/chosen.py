"""Which prompts take part: those that a patch can meet, and what each seed draws of them."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.heads.battery import ActivationPatch, Battery
from whence.heads.groups import Side, units_of
from whence.heads.prompts import Examples, Ids
from whence.heads.reading import Reading

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

Drawn = Mapping[int, frozenset[Ids]]
"""Seed → the prompts that it drew."""


def that_meet(examples: Examples, battery: ActivationPatch) -> Examples:
    """Examples with a corrupt prompt that `battery.positions` can match with the clean one.

    `all` replaces token by token and needs two prompts of one length; the others are left out and
    counted. Raises BadInput where none is left.
    """
    paired = [at for at, row in enumerate(examples.rows) if row.corrupt is not None]
    if not paired:
        raise BadInput('no row has a corrupt prompt: patching needs "corrupt" beside "clean"')
    examples = examples.only(paired, "no corrupt prompt")
    if battery.positions != "all":
        return examples
    equal = [at for at, row in enumerate(examples.rows) if len(row.clean) == len(row.corrupt or ())]
    if not equal:
        raise BadInput(
            "positions all: in no row are clean and corrupt prompts of equal length, token by token"
            "; use --positions last_token"
        )
    lost = len(examples.rows) - len(equal)
    if lost:
        logger.warning("positions all: %d rows left out, their prompts differ in length", lost)
    return examples.only(equal, "clean and corrupt prompts differ in length")


def subsamples(examples: Examples, reading: Reading, patch_from: Side | None) -> Drawn:
    """The prompts that each seed draws; nothing where no subsample is asked for.

    Raises BadInput where there are fewer prompts than that.
    """
    if reading.subsample is None:
        return {}
    units = units_of(examples.rows, reading.metric_span, patch_from=patch_from)
    prompts = list(dict.fromkeys(unit.prompt for unit in units))
    if reading.subsample > len(prompts):
        raise BadInput(
            f"--subsample {reading.subsample}: the corpus has {len(prompts)} distinct prompts"
        )
    return {
        seed: frozenset(random.Random(f"subsample:{seed}").sample(prompts, reading.subsample))
        for seed in dict.fromkeys(reading.seeds)
    }


def with_seeds(table: pa.Table, drawn: Drawn, prompts: Sequence[Ids]) -> pa.Table:
    """`table` with each seed's own prompts under that seed; as it is where none were drawn.

    What was computed once for all prompts is repeated, never computed again. prompts: by example
    position (the column `row`, which is taken off).
    """
    import numpy as np
    import pyarrow as pa

    at = table.column("row").to_numpy()
    result = table.drop_columns(["row"])
    if not drawn:
        return result
    own = result.column("seed").to_numpy()
    varies = len(np.unique(own)) > 1
    parts = []
    for seed, kept in drawn.items():
        is_in = np.array([prompt in kept for prompt in prompts])[at]
        rows = result.filter(pa.array(is_in & (own == seed) if varies else is_in))
        seeds = pa.array(np.full(rows.num_rows, seed), pa.int64())
        parts.append(rows.set_column(rows.column_names.index("seed"), "seed", seeds))
    return pa.concat_tables(parts)


def what_seeds_vary(battery: Battery, reading: Reading) -> dict[str, Any]:
    """For summary.json: the seeds that were used and what they changed."""
    resampled = getattr(battery, "method", None) == "resample"
    varied = [
        name
        for name, is_so in (
            ("prompt subsample", reading.subsample is not None),
            ("resample sources", resampled),
        )
        if is_so
    ]
    used = list(dict.fromkeys(reading.seeds)) if varied else [reading.seeds[0]]
    vary = " and ".join(varied) or "nothing: the battery is deterministic and ran once"
    return {"given": list(reading.seeds), "used": used, "vary": vary}
