"""What a run cost: seconds by phase, blocks run, memory. Costs are no part of a result, so a replay
leaves the keys that hold them (`seconds`, `runtime`, `…_memory_bytes`) out of its comparison.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from whence.runs.record import Record, end

if TYPE_CHECKING:
    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded


class Subject(Protocol):
    """Whatever holds the model that is measured."""

    @property
    def loaded(self) -> Loaded: ...
    @property
    def anatomy(self) -> Anatomy: ...


COSTS = ("block_tokens", "tokens")
"""Notes of a condition that say what this attempt ran; one that was cut off ran less."""


class Profile:
    """Takes the time of one condition's phases."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds of a block under `name`, also where it raises."""
        started = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - started
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)

    def summary(self, notes: Mapping[str, Any]) -> dict[str, Any]:
        """`profile.json` of one condition; notes: of its `ConditionResult`."""
        return {
            **where(self.subject),
            "seconds": self.seconds,
            "runtime": cost(notes, self.subject.anatomy.n_layers),
            **peak_memory(),
        }


def where(subject: Subject) -> dict[str, Any]:
    """Device and dtype of the model."""
    return {
        "device": str(subject.loaded.device),
        "dtype": str(subject.loaded.dtype).removeprefix("torch."),
    }


def cost(notes: Mapping[str, Any], n_layers: int) -> dict[str, Any]:
    """What this attempt ran; start layers finished by an earlier one are not in it.

    tokens: of the corpus, once. block_forwards: how often one block ran over that many tokens.
    forwards: the same in whole models (DESIGN §6 has the floor).
    """
    tokens, block_tokens = notes["tokens"], notes["block_tokens"]
    return {
        "interventions": notes["interventions"],
        "tokens": tokens,
        "block_tokens": block_tokens,
        "block_forwards": round(block_tokens / tokens, 3),
        "forwards": round(block_tokens / tokens / n_layers, 3),
    }


def together(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`profile.json` of a run of several conditions: tag → that of each."""
    first = next(iter(parts.values()))
    totals = ("interventions", "tokens", "block_tokens", "block_forwards", "forwards")
    runtimes = {tag: part["runtime"] for tag, part in parts.items()}
    return {
        "device": first["device"],
        "dtype": first["dtype"],
        "seconds": {tag: part["seconds"] for tag, part in parts.items()},
        "runtime": {
            **runtimes,
            "total": {key: sum(r[key] for r in runtimes.values()) for key in totals},
        },
        **peak_memory(),
    }


def peak_memory() -> dict[str, int | None]:
    """Most that this process has held so far, in bytes; on the GPU None without one."""
    # A record measures memory as it is closed; this one is thrown away.
    closed = end(Record("", {}, (), {}, ()), "done", 0.0)
    return {
        "peak_memory_bytes": closed.peak_memory_bytes,
        "peak_device_memory_bytes": closed.peak_device_memory_bytes,
    }
