"""Every head, node and pair of heads in a few passes: attribution patching, and what it cannot see.

**One head** (`Screened.heads`): −slope of its gate at the undisturbed run, see `heads.gradients`.
It is blind where the answer has stopped moving: of two heads of which one is enough, neither has a
slope. `Screened.path` is therefore the same along the way from no head at all to all of them: every
gate at α, slopes integrated over α from 0 to 1 (integrated gradients, Sundararajan, Taly & Yan
2017, in the gates). Summed over heads it is what all heads removed at once do; it is no estimate of
one head's own effect, but shows that a head has something to do with the answer.

**A pair** (a, b): for every anchor a, slopes with a removed outright and with a left alone. Their
difference estimates the synergy Δ(a, b) − Δ(a) − Δ(b), an interaction in the manner of Janizek,
Sturmfels & Lee 2021:

    at the undisturbed run    slope_b(all at 1) − slope_b(a at 0, others at 1)
    along the way             the same with all others at α, integrated over α

The second is exact where no third head comes between: it integrates b's own way from removed to
present, once with a and once without. A pair of two anchors is the mean of both directions.

The integrals are Gauss–Radau sums whose last point is α = 1, so the undisturbed run serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.heads.gradients import CLEAN, NODES, Floats, Gates, Point
from whence.heads.names import Head, spell_head
from whence.runs.atomic import whole_file
from whence.runs.progress import Progress

if TYPE_CHECKING:
    from whence.models.sites import Kind


@dataclass(frozen=True)
class Screened:
    """Estimated changes of the logit difference, example by example.

    heads, path: [head, example], heads in order of (layer, head). norms: ‖z W_O‖, the same axes.
    nodes: (kind, layer) → [example]. pairs: (a, b), a < b; pair_synergy, pair_path:
    [pair, example]. anchors: the heads that pairs have one of. passes: forward and backward passes
    over the corpus that all this took.
    """

    names: tuple[Head, ...]
    heads: Floats
    path: Floats
    norms: Floats
    nodes: Mapping[tuple[Kind, int], Floats]
    pairs: tuple[tuple[Head, Head], ...]
    pair_synergy: Floats
    pair_path: Floats
    anchors: tuple[Head, ...]
    passes: int


def radau(points: int) -> tuple[Floats, Floats]:
    """Levels in (0, 1], rising, the last one 1, and weights that sum to 1.

    Gauss–Radau quadrature: exact for polynomials of degree 2 · points − 2. One point is α = 1.
    """
    from numpy.polynomial import legendre

    # Left Radau nodes on [−1, 1]: −1 and the other roots of P_{n−1} + P_n; turned round here.
    series = np.zeros(points + 1)
    series[points - 1 :] = 1
    nodes = np.sort(legendre.legroots(series).real)
    nodes[0] = -1.0
    before = legendre.legval(nodes, np.eye(points)[points - 1])
    weights = (1 - nodes) / (points * before) ** 2
    levels = (1 - nodes[::-1]) / 2
    levels[-1] = 1.0
    return levels, weights[::-1] / 2


def screen(gates: Gates, anchors: int, points: int, passes: Path) -> Screened:
    """Estimate every head, node and, among `anchors` heads and all others, pair.

    anchors: how many heads, those with the largest |mean| at the undisturbed run or along the way,
    to remove outright in turn; 0 for no pairs. points: of the integral along the way. passes: a
    folder that gets one file a pass; passes whose file is there are not made again.
    """
    levels, weights = radau(points)
    kept = _Kept(passes)
    layers, width = gates.anatomy.n_layers, gates.anatomy.n_heads
    names = tuple((layer, head) for layer in range(layers) for head in range(width))
    anchors = min(anchors, len(names))
    each = 2 * points - 1
    with Progress("screen", points + anchors * each + 2, "passes") as progress:

        def slopes(point: Point) -> Floats:
            found = kept(_name(point), lambda: gates.heads(point).reshape(len(names), -1))
            progress.advance()
            return found

        every = [slopes(_at(level)) for level in levels]
        heads, path = -every[-1], -_weighted(weights, every)
        norms = kept("norms", lambda: gates.norms().reshape(len(names), -1))
        progress.advance()
        nodes = _nodes(gates, kept)
        progress.advance()
        size = np.maximum(np.abs(heads.mean(1)), np.abs(path.mean(1)))
        chosen = sorted(names[n] for n in np.argsort(-size, kind="stable")[:anchors])
        synergy: dict[tuple[Head, Head], list[tuple[Floats, Floats]]] = {}
        for a in chosen:
            off = [slopes(_at(level, a, 0.0)) for level in levels]
            on = [slopes(_at(level, a, 1.0)) for level in levels[:-1]] + [every[-1]]
            here, along = on[-1] - off[-1], _weighted(weights, on) - _weighted(weights, off)
            for n, b in enumerate(names):
                if b != a:
                    pair = (a, b) if a < b else (b, a)
                    synergy.setdefault(pair, []).append((here[n], along[n]))
    pairs = tuple(sorted(synergy))
    means = [np.mean(synergy[pair], axis=0) for pair in pairs]
    both = np.array(means).reshape(len(pairs), 2, gates.count)
    made = points + len(chosen) * each + bool(nodes)
    return Screened(
        names=names,
        heads=heads,
        path=path,
        norms=norms,
        nodes=nodes,
        pairs=pairs,
        pair_synergy=both[:, 0],
        pair_path=both[:, 1],
        anchors=tuple(chosen),
        passes=made,
    )


def _at(level: float, held: Head | None = None, gate: float = 1.0) -> Point:
    if held is None or gate == level:
        return Point(float(level))
    return Point(float(level), held, gate)


def _weighted(weights: Floats, slopes: Sequence[Floats]) -> Floats:
    return np.asarray(np.tensordot(weights, np.stack(slopes), axes=1))


def _nodes(gates: Gates, kept: _Kept) -> dict[tuple[Kind, int], Floats]:
    sites = gates.nodes
    if not sites:
        return {}

    def make() -> Floats:
        found = gates.of_nodes()
        return -np.stack([found[site] for site in sites])

    return {
        (site.kind, site.layer or 0): values
        for site, values in zip(sites, kept("nodes", make), strict=True)
    }


def _name(point: Point) -> str:
    if point == CLEAN:
        return "clean"
    held = "" if point.held is None else f"-{spell_head(point.held)}-{point.gate:g}"
    return f"{point.level:.6f}{held}".replace(":", "_")


class _Kept:
    """Arrays in a folder, one file each, whole or not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, make: Callable[[], Floats]) -> Floats:
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            made = make()
            with whole_file(path) as temporary, temporary.open("wb") as file:
                np.save(file, made)
        found: Floats = np.load(path)
        return found


__all__ = ["NODES", "Screened", "radau", "screen"]
