"""What was run, on what, with what: `whence.json`."""

from __future__ import annotations

import functools
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

import whence
from whence.errors import BadInput
from whence.runs.config import not_identity, resolved
from whence.runs.fingerprint import RECORD_NAME, hash_path
from whence.runs.jsonfile import plain, read_json, write_json

RECORDED_PACKAGES = (
    "accelerate", "bergson", "datasets", "numpy", "peft", "pyarrow", "pydantic", "safetensors",
    "scikit-learn", "scipy", "sentence-transformers", "tokenizers", "torch", "transformers", "trl",
)  # fmt: skip

Status = Literal["running", "failed", "interrupted", "publishing", "done"]


@dataclass(frozen=True)
class Record:
    """One run. No environment variables and no keys are ever part of it.

    not_identity: dotted names in `config` that do not change what is computed.
    inputs: name → `{"path", "sha256"}`, or `{"value"}` for what has no file (a hub id).
    seconds: wall time of the last attempt. attempts: how often it was started before it was whole.
    peak_memory_bytes: largest resident size of this process or one of its children, since it began.
    peak_device_memory_bytes: most that torch held on the GPU, or null without one.
    outputs: relative name → `{"sha256", "bytes"}`.
    replaces: while publishing into a folder that holds an earlier run, that run's outputs.
    """

    command: str
    config: Mapping[str, Any]
    not_identity: Sequence[str]
    inputs: Mapping[str, Any]
    seeds: Sequence[int]
    status: Status = "running"
    error: str | None = None
    started: str = ""
    seconds: float | None = None
    attempts: int = 1
    peak_memory_bytes: int | None = None
    peak_device_memory_bytes: int | None = None
    device: str | None = None
    output_dir: str = ""
    working_folder: str = ""
    host: str = ""
    pid: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    git: Mapping[str, Any] | None = None
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    replaces: Sequence[str] = ()


def begin(
    command: str,
    output_dir: Path,
    config: BaseModel,
    inputs: Mapping[str, Any],
    seeds: Sequence[int],
) -> Record:
    """The record of a run that starts now. Raises BadInput when an input is absent."""
    return Record(
        command=command,
        config=resolved(config),
        not_identity=not_identity(config),
        inputs={name: _input(value) for name, value in inputs.items() if value is not None},
        seeds=list(seeds),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        output_dir=str(output_dir),
        working_folder=str(Path.cwd()),
        host=socket.gethostname(),
        pid=os.getpid(),
        versions=dict(versions()),
        git=_git(),
    )


def end(record: Record, status: Status, seconds: float, error: str | None = None) -> Record:
    """`record` with how it ended and what it cost."""
    return replace(
        record,
        status=status,
        error=error,
        seconds=round(seconds, 3),
        peak_memory_bytes=peak_memory(),
        peak_device_memory_bytes=_peak_device_memory(),
        device=_device(),
    )


def read_record(folder: Path) -> Record | None:
    """The record in `folder`, or None when it has none. Raises BadInput when it cannot be read."""
    path = folder / RECORD_NAME
    if not path.is_file():
        return None
    raw = read_json(path)
    known = {f.name for f in fields(Record)}
    try:
        return Record(**{key: value for key, value in raw.items() if key in known})
    except (AttributeError, TypeError) as error:
        raise BadInput(f"{path}: not a record of a whence run ({error})") from None


def write_record(folder: Path, record: Record) -> None:
    """Write `whence.json`; what does not apply (an error, what is replaced) is left out."""
    values = plain(record)
    if not record.replaces:
        del values["replaces"]
    if record.error is None:
        del values["error"]
    write_json(folder / RECORD_NAME, values)


def differences(old: Record, new: Record) -> list[str]:
    """What keeps two runs from being the same: `key: old → new`, one entry a key."""
    if old.command != new.command:
        return [f"command: {old.command} → {new.command}"]
    ignored = {*old.not_identity, *new.not_identity}
    before, after = _deciding(old, ignored), _deciding(new, ignored)
    found = [
        f"{key}: {_short(before.get(key))} → {_short(after.get(key))}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    for name in sorted({*old.inputs, *new.inputs}):
        was, now = old.inputs.get(name), new.inputs.get(name)
        if _content(was) != _content(now):
            found.append(f"input {name}: {_describe(was)} → {_describe(now)}")
    if list(old.seeds) != list(new.seeds):
        found.append(f"seeds: {_short(list(old.seeds))} → {_short(list(new.seeds))}")
    return found


def changed_inputs(record: Record) -> list[str]:
    """Which recorded inputs are gone or hold something else now, one sentence each."""
    found = []
    for name, recorded in record.inputs.items():
        for part in recorded if isinstance(recorded, list) else [recorded]:
            if not isinstance(part, Mapping) or "path" not in part:
                continue
            path = Path(part["path"])
            if not path.exists():
                found.append(f"input {name} is gone: {path}")
            elif hash_path(path) != part["sha256"]:
                found.append(f"input {name} has changed: {path}")
    return found


def _input(value: Any) -> Any:
    if isinstance(value, Path):
        return {"path": str(value.absolute()), "sha256": hash_path(value)}
    if isinstance(value, list | tuple):
        return [_input(item) for item in value]
    return {"value": plain(value)}


def _content(recorded: Any) -> Any:
    """An input without its place: moving a file does not change what a run computes."""
    if isinstance(recorded, list):
        return [_content(item) for item in recorded]
    if isinstance(recorded, Mapping):
        return recorded.get("sha256", recorded.get("value"))
    return recorded


def _describe(recorded: Any) -> str:
    if isinstance(recorded, list):
        return ", ".join(map(_describe, recorded))
    if isinstance(recorded, Mapping) and "sha256" in recorded:
        return f"{recorded['path']} ({recorded['sha256'][:8]})"
    return _short(_content(recorded))


def _deciding(record: Record, ignored: set[str]) -> dict[str, Any]:
    """The settings that decide what is computed, as dotted name → value."""
    return {
        key: value
        for key, value in _flat(record.config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in ignored)
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    parts = (_flat(item, f"{prefix}.{key}" if prefix else key) for key, item in value.items())
    return {key: item for part in parts for key, item in part.items()}


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


@functools.cache  # parsing a dozen packages' metadata costs more than the rest of a record
def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "whence": whence.__version__}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any] | None:
    """Commit of the repository around the working folder; whether tracked files differ from it."""

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()

    try:
        commit = ask("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory() -> int:
    """Largest resident size of this process so far (Linux: since it was last reset), in bytes."""
    with suppress(OSError):
        # Linux carries ru_maxrss over from the process that started this one; VmHWM is our own.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Elsewhere: Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return unit * max(resource.getrusage(w).ru_maxrss for w in who)


def _cuda() -> Any | None:
    """`torch.cuda` if this process has used it; asking must not be what starts it."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    return torch.cuda if torch is not None and used else None


def _peak_device_memory() -> int | None:
    cuda = _cuda()
    return int(cuda.max_memory_allocated()) if cuda else None


def _device() -> str:
    cuda = _cuda()
    if cuda:
        return f"cuda: {cuda.get_device_name()}"
    torch = sys.modules.get("torch")
    if torch and torch.backends.mps.is_available() and torch.mps.driver_allocated_memory():
        return f"mps: {platform.machine()}"
    return f"cpu: {platform.machine()}, {os.cpu_count()} cores"
