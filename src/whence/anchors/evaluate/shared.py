"""Fits and checks that several evaluations rest on, made once and left in a folder for the others.

A baseline of position does not change with the layer, nor a noise ceiling with the probe. Each is a
file named by the content of everything that decides it: the columns it reads, labels, settings,
seed, versions. What is read back is what was computed, to the last bit. Files appear whole, so that
any number of processes may share the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.probes.data import Labels, ProbeData, Ragged
from whence.anchors.probes.probe import Fitted, Fitting, Probe, State
from whence.errors import BadInput
from whence.runs.atomic import whole_file
from whence.runs.fingerprint import fingerprint, text_digest
from whence.runs.jsonfile import plain, read_json, write_json
from whence.runs.record import versions

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("whence", "numpy", "scipy", "scikit-learn", "torch")
SETTINGS = "settings"
COLUMNS = ("chunk_idx", "num_chunks", "relative_position", "token_count")
WORDS = ("chunk_text", "function_tag", "problem_id")


def shared_value(
    folder: Path | None, decides: Callable[[], Any], compute: Callable[[], Any]
) -> Any:
    """What `compute` gives, as JSON values; from `folder` where another evaluation has left it.

    decides: all that the value rests on, as JSON values, asked for only where there is a folder.
    """
    if folder is None:
        return plain(compute())
    path = folder / f"{_named(decides())}.json"
    if path.exists():
        with suppress(BadInput):  # what a disk has spoilt is made again
            return read_json(path)
    write_json(path, compute())
    return read_json(path)


def shared_fit(
    folder: Path | None, probe: Probe, data: ProbeData, labels: Labels, fitting: Fitting
) -> Fitted:
    """`probe.fit(data, labels, fitting)`, or what another evaluation has fitted of the same.

    Fits on a GPU are not shared: a fit that is read back scores on the CPU.
    """
    if folder is None or not probe.trained or fitting.device != "cpu":
        return probe.fit(data, labels, fitting)
    path = folder / f"{_named(_of_fit(probe, data, labels, fitting))}.safetensors"
    state = _read(path)
    if state is not None:
        return probe.fitted.from_state(state)
    fitted = probe.fit(data, labels, fitting)
    _write(fitted, path)
    return fitted


def rows_content(data: ProbeData, reads: Sequence[str]) -> dict[str, str]:
    """Hashes of what probes that read `reads` can see of these rows."""
    found = {"frame": frame_content(data.frame, (*COLUMNS, *WORDS))}
    if "mean" in reads and data.mean is not None:
        found["mean"] = array_content(data.mean)
    if "vertical" in reads and data.vertical is not None:
        found["vertical"] = array_content(data.vertical)
    if "tokens" in reads and data.tokens is not None:
        found["tokens"] = _tokens_content(data.tokens)
    return found


def frame_content(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    """A hash of those columns that the table has, and of their names."""
    own = {}
    for name in columns:
        if name in frame.columns:
            values = frame[name]
            if name in WORDS:
                own[name] = text_digest(*map(str, values)).hex()
            else:
                own[name] = array_content(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return fingerprint(own)


def array_content(values: Any) -> str:
    """A hash of an array's type, shape and bytes."""
    array = np.ascontiguousarray(values)
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


def _of_fit(probe: Probe, data: ProbeData, labels: Labels, fitting: Fitting) -> dict[str, Any]:
    reads = sorted(probe.reads)
    found: dict[str, Any] = {
        "fit": probe.name,
        "rows": rows_content(data, reads),
        "labels": _labels_content(labels),
        "fixed": fitting.fixed,
    }
    if probe.seeded:
        found |= {"seed": fitting.seed, SETTINGS: fitting.settings.model_dump()}
        if fitting.validation is not None:
            rows, held = fitting.validation
            found["validation"] = [rows_content(rows, reads), _labels_content(held)]
    return found


def _labels_content(labels: Labels) -> list[Any]:
    return [labels.continuous, array_content(labels.y)]


def _tokens_content(tokens: Ragged) -> str:
    """Of the tokens that these rows have, in their order: other rows share the same array."""
    digest = hashlib.sha256(array_content(tokens.length).encode())
    for row in range(len(tokens.start)):
        digest.update(np.ascontiguousarray(tokens.tokens(row)).data)
    return digest.hexdigest()


def _named(decides: Mapping[str, Any]) -> str:
    known = versions()
    return fingerprint({"decides": decides, "with": {name: known.get(name) for name in PACKAGES}})


def _write(fitted: Fitted, path: Path) -> None:
    from safetensors.numpy import save_file

    arrays, settings = fitted.state()
    own = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    with whole_file(path) as temporary:
        save_file(own, temporary, {SETTINGS: json.dumps(plain(settings), allow_nan=False)})


def _read(path: Path) -> State | None:
    """None where there is no such file, or one that a disk has spoilt."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, json.loads(file.metadata()[SETTINGS])
    except SafetensorError:
        return None
