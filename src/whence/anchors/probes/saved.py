"""A fitted probe on disk: `probe.safetensors` with its arrays, `probe.json` with the rest.

`probe.json` is written last and holds the hash of the arrays, so a folder cut off at any moment is
no probe, and one whose files do not belong together is refused. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whence.anchors.probes.probe import Fitted, Probe
from whence.anchors.probes.registry import probe_named
from whence.errors import BadInput
from whence.runs.atomic import whole_file
from whence.runs.jsonfile import read_json, write_json

ARRAYS = "probe.safetensors"
DESCRIPTION = "probe.json"
FORMAT = "whence-probe-1"

ABOUT = (
    "target", "anchor_percentile", "residualize", "seed", "fixed", "layer", "pooling", "model",
    "bos", "vertical", "trained_on", "metadata_sha256",
)  # fmt: skip
"""What is kept of where a probe comes from; null where whoever saved it did not say."""


@dataclass(frozen=True)
class SavedProbe:
    """A probe that was read again. about: where it comes from, every key of ABOUT at least."""

    probe: Probe
    fitted: Fitted
    about: Mapping[str, Any]
    folder: Path


def save_probe(fitted: Fitted, probe: Probe, about: Mapping[str, Any], folder: Path) -> None:
    """Write a fitted probe into `folder`, or over the one there. Equal probes: equal bytes."""
    from safetensors.numpy import save

    arrays, settings = fitted.state()
    data = save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})
    (folder / DESCRIPTION).unlink(missing_ok=True)
    with whole_file(folder / ARRAYS) as temporary:
        temporary.write_bytes(data)
    write_json(
        folder / DESCRIPTION,
        {
            "format": FORMAT,
            "probe": probe.name,
            "reads": sorted(probe.reads),
            "about": {**dict.fromkeys(ABOUT), **about},
            "settings": settings,
            "arrays": {"file": ARRAYS, "sha256": hashlib.sha256(data).hexdigest()},
        },
    )


def load_probe(folder: Path) -> SavedProbe:
    """Read a probe. Raises BadInput where the folder holds none, or one that was tampered with."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file():
        raise BadInput(
            f"{folder}: no {DESCRIPTION} in it, so it is no saved probe; `whence anchors train` "
            "writes one folder a probe below <output-dir>/probes"
        )
    said = read_json(folder / DESCRIPTION)
    if not isinstance(said, Mapping) or said.get("format") != FORMAT:
        raise BadInput(f"{folder / DESCRIPTION}: its format is not {FORMAT}; train the probe again")
    try:
        data = (folder / ARRAYS).read_bytes()
    except OSError as error:
        raise BadInput(f"{folder / ARRAYS}: cannot be read ({error.strerror})") from None
    try:
        probe = probe_named(said["probe"])
        if hashlib.sha256(data).hexdigest() != said["arrays"]["sha256"]:
            raise BadInput(
                f"{folder / ARRAYS}: is not the file that {DESCRIPTION} was written for; copy the "
                "whole folder again, or train the probe again"
            )
        fitted = probe.fitted.from_state((load(data), said["settings"]))
        about = {**dict.fromkeys(ABOUT), **said["about"]}
    except (KeyError, TypeError, ValueError, IndexError, SafetensorError) as error:
        what = " ".join(str(error).split())
        raise BadInput(
            f"{folder / DESCRIPTION}: does not describe its arrays ({type(error).__name__}: {what})"
        ) from None
    return SavedProbe(probe, fitted, about, folder)
