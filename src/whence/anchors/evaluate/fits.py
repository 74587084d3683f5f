"""One probe fitted on some rows and asked to score others; finished fits survive a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whence.anchors.evaluate.material import Material, Rows
from whence.anchors.evaluate.shared import shared_fit
from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.probe import Fitted, Fitting, Probe
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json


@dataclass(frozen=True)
class Scores:
    """values: of the rows that were asked for, [rows]. notes: what the fit chose."""

    values: Floats
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """Rows to fit on, taken once for all probes and seeds: probes may remember what they derive
    from this very object. validation: what early stopping may look at, None without a val part."""

    data: ProbeData
    labels: Labels
    validation: tuple[ProbeData, Labels] | None = None


def training(material: Material, y: Floats, train: Rows, validation: Rows | None) -> Training:
    """Labelled rows of a split; y: the target of every row of the table."""
    held = None
    if validation is not None and len(validation):
        held = material.data.take(validation), material.labels(y, validation)
    return Training(material.data.take(train), material.labels(y, train), held)


def fit(
    material: Material,
    probe: Probe,
    given: Training,
    seed: int,
    where: str,
    *,
    shared: bool = True,
) -> Fitted:
    """Fit. Raises BadInput with `where` (a fold, a split) before what does not fit.

    shared: whether it is one that another evaluation could ask for too.
    """
    config = material.config
    fitting = Fitting(
        settings=config.settings,
        fixed=config.fixed,
        seed=seed,
        validation=given.validation,
        device=device_for(probe, config.device),
    )
    try:
        folder = config.shared if shared else None
        return shared_fit(folder, probe, given.data, given.labels, fitting)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def kept(path: Path, compute: Callable[[], Scores]) -> Scores:
    """What an earlier attempt left in `path`, or what `compute` gives, which is then left there.

    Floats go through JSON unchanged (shortest text that reads back the same), so that a run which
    was killed and one which was not end in the same bytes.
    """
    if not path.exists():
        found = compute()
        write_json(path, {"values": found.values, "notes": found.notes})
    stored = read_json(path)
    return Scores(np.asarray(stored["values"], dtype=np.float64), stored["notes"])


def device_for(probe: Probe, name: str) -> str:
    """`auto` for probes in torch: a GPU where there is one. Others have no device."""
    if "tokens" not in probe.reads:
        return "cpu"
    from whence.models.load import device_named

    return str(device_named(name))
