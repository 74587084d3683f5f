"""What another extraction already has: copied, trace by trace, instead of computed again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.anchors.features.store import Features, load, problem_file
from whence.anchors.features.wanted import Wanted
from whence.anchors.spans.source import text_hash
from whence.anchors.traces import Trace
from whence.errors import BadInput


@dataclass(frozen=True)
class Reuse:
    """Another folder of features, and the arrays of it that are wanted, by layer."""

    features: Features
    usable: dict[int, list[str]]
    layers: tuple[int, ...]

    def arrays(self, trace: Trace) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Arrays of a trace that are there, and the layers that are still to be captured."""
        from safetensors.numpy import load_file

        if self.features.texts.get(trace.problem_id) != text_hash(trace):
            return {}, self.layers
        file = self.features.folder / problem_file(trace.problem_id)
        wanted = {name for names in self.usable.values() for name in names}
        found = {name: array for name, array in load_file(file).items() if name in wanted}
        return found, tuple(layer for layer in self.layers if layer not in self.usable)


def open_reuse(folder: Path | None, fingerprint: str, wanted: Wanted) -> Reuse | None:
    """The other extraction, or None without one.

    A layer is taken where all that is wanted of it is there. Raises BadInput for another model,
    dtype or front.
    """
    if folder is None:
        return None
    features = load(folder)
    if features.fingerprint != fingerprint:
        raise BadInput(
            f"--reuse {folder}: was made with another model, adapter, dtype, storage dtype or BOS; "
            "leave it out"
        )
    settings = None if wanted.vertical is None else wanted.vertical.settings()
    same_vertical = settings is None or settings == features.vertical
    there = set(features.array_names())
    usable = {
        layer: names
        for layer in wanted.layers
        if same_vertical and set(names := wanted.names(layer)) <= there
    }
    return Reuse(features, usable, wanted.layers)
