"""Every head, node and pair estimated in a few passes: attribution patching, and less local.

**At the undisturbed run** (`gradient`): −slope of a gate, see `heads.gradients`: attribution
patching. It is wrong where the answer bends between the head's presence and its absence: behind a
norm, in a saturated MLP. (It is blind, too, to heads that steer a saturated attention pattern, and
nothing here mends that. Kramár et al. 2024 do.)

**Integrated** (`estimate`): slopes averaged over gates on the way from 0 to 1 (integrated
gradients, Sundararajan, Taly & Yan 2017). If all heads went that way at once, each would be judged
in the company of heads that are half gone, and a norm after attention would undo the common factor.
So they go in parts: one part of the heads at α, all others at 1, slopes read of that part alone.
The more parts, the fewer go together; with as many parts as heads each goes alone, and the integral
is its exact effect.

**All at once** (`joint`, one part): what no single removal shows. Of two heads of which one is
enough, neither does anything alone; on the way from no head at all to all of them both do. (Where a
norm follows attention, as in Gemma and OLMo 2, it undoes the common factor, and this says no more
than the gradient.)

**A pair** (a, b): for every anchor a, slopes of all others with a removed outright and with a left
alone. Their difference estimates the synergy Δ(a, b) − Δ(a) − Δ(b), an interaction in the manner of
Janizek, Sturmfels & Lee 2021: exact, up to the quadrature, where no third head comes between. The
mean of both directions where both are anchors.

Integrals are Gauss–Radau sums whose last point is α = 1, so the undisturbed run serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.heads.gradients import CLEAN, Floats, Gates, Point
from whence.heads.names import Head
from whence.runs.atomic import whole_file
from whence.runs.progress import Progress

if TYPE_CHECKING:
    from whence.models.sites import Site


PAIR_PARTS = 2
JOINT_POINTS = 3
"""Two halves for pairs, that a norm after attention may not undo a common factor. Three points from
no head to all: an answer that needs few of them saturates early on the way."""


@dataclass(frozen=True)
class Screened:
    """Estimated changes of the logit difference, example by example.

    names: heads in order. gradient, estimate, joint: [head, example] as this module's head says,
    joint None where it was not asked for; norms: ‖z W_O‖. nodes, node_gradient, node_estimate:
    [node, example]. pairs: (a, b), a < b; pair_gradient, pair_estimate: synergy [pair, example].
    anchors: the heads that were removed in turn. passes: forward and backward passes over the
    corpus that all this took.
    """

    names: tuple[Head, ...]
    gradient: Floats
    estimate: Floats
    joint: Floats | None
    norms: Floats
    nodes: tuple[Site, ...]
    node_gradient: Floats
    node_estimate: Floats
    pairs: tuple[tuple[Head, Head], ...]
    pair_gradient: Floats
    pair_estimate: Floats
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


def screen(gates: Gates, folder: Path, *, anchors: int, points: int, parts: int) -> Screened:
    """Estimate every head, every node, and every pair that has one of `anchors` heads in it.

    anchors: how many heads to remove in turn, taken by turns from the largest |estimate| and the
    largest |joint|; 0 for no pairs. points: of each integral; 1 is attribution patching alone.
    parts: in how many parts heads and nodes go from present to absent. folder: gets one file a
    pass; passes whose file is there are not made again.
    """
    passes = _Passes(gates, folder, radau(points))
    names = tuple(
        (layer, head)
        for layer in range(gates.anatomy.n_layers)
        for head in range(gates.anatomy.n_heads)
    )
    anchors = min(anchors, len(names))
    with_joint = anchors > 0 and points > 1
    each = 1 + 2 * PAIR_PARTS * (points - 1)
    singles = (1 + bool(gates.nodes)) * (1 + parts * (points - 1))
    steps = singles + with_joint * (JOINT_POINTS - 1) + anchors * each
    with Progress("screen", steps, "passes") as progress:
        passes.advance = progress.advance
        gradient, estimate = passes.heads(Point(parts=parts))
        node_gradient, node_estimate = passes.nodes(Point(parts=parts))
        norms = passes.kept("norms", lambda: gates.norms().reshape(len(names), -1))
        joint = passes.heads(CLEAN, radau(JOINT_POINTS))[1] if with_joint else None
        chosen = _anchors(names, anchors, [estimate] if joint is None else [estimate, joint])
        synergy: dict[tuple[Head, Head], list[Floats]] = {}
        for a in chosen:
            off = passes.heads(Point(parts=PAIR_PARTS, held=a, gate=0.0))
            on = passes.heads(Point(parts=PAIR_PARTS, held=a, gate=1.0))
            # Estimates are minus slopes.
            change = np.stack(off) - np.stack(on)
            for n, b in enumerate(names):
                if b != a:
                    synergy.setdefault((min(a, b), max(a, b)), []).append(change[:, n])
    pairs = tuple(sorted(synergy))
    means = [np.mean(synergy[pair], axis=0) for pair in pairs]
    pair_gradient, pair_estimate = np.reshape(means, (len(pairs), 2, gates.count)).swapaxes(0, 1)
    return Screened(
        names=names,
        gradient=gradient,
        estimate=estimate,
        joint=joint,
        norms=norms,
        nodes=tuple(gates.nodes),
        node_gradient=node_gradient,
        node_estimate=node_estimate,
        pairs=pairs,
        pair_gradient=pair_gradient,
        pair_estimate=pair_estimate,
        anchors=tuple(chosen),
        passes=len(passes.made),
    )


def _anchors(names: Sequence[Head], count: int, rankings: Sequence[Floats]) -> list[Head]:
    """The first `count` heads of several rankings by |mean|, taken from each in turn."""
    orders = [np.argsort(-np.abs(values.mean(axis=1)), kind="stable") for values in rankings]
    turns = dict.fromkeys(int(n) for turn in zip(*orders, strict=True) for n in turn)
    return sorted(names[n] for n in list(turns)[:count])


class _Passes:
    """Passes over the corpus, each in a file of its own, whole or not there."""

    def __init__(self, gates: Gates, folder: Path, quadrature: tuple[Floats, Floats]) -> None:
        self.gates, self.folder, self.quadrature = gates, folder, quadrature
        self.made: set[str] = set()
        self.advance: Callable[[], object] = lambda: None

    def heads(
        self, point: Point, quadrature: tuple[Floats, Floats] | None = None
    ) -> tuple[Floats, Floats]:
        """Minus slopes [head, example] at level 1, and integrated part by part."""
        size = self.gates.anatomy.n_layers * self.gates.anatomy.n_heads

        def slopes(at: Point) -> Floats:
            return self.gates.heads(at).reshape(size, -1)

        return self._integrated(point, quadrature or self.quadrature, "heads", slopes, size)

    def nodes(self, point: Point) -> tuple[Floats, Floats]:
        """The same of nodes, [node, example]."""
        sites = self.gates.nodes
        if not sites:
            none = np.empty((0, self.gates.count))
            return none, none

        def slopes(at: Point) -> Floats:
            found = self.gates.of_nodes(at)
            return np.stack([found[site] for site in sites])

        return self._integrated(point, self.quadrature, "nodes", slopes, len(sites))

    def _integrated(
        self,
        point: Point,
        quadrature: tuple[Floats, Floats],
        what: str,
        slopes: Callable[[Point], Floats],
        count: int,
    ) -> tuple[Floats, Floats]:
        levels, weights = quadrature

        def once(at: Point) -> Floats:
            name = f"{what}-{_name(at)}"
            if name not in self.made:
                self.advance()
            self.made.add(name)
            return -self.kept(name, lambda: slopes(at))

        here = once(replace(point, level=1.0, part=0, parts=1))
        total = weights[-1] * here
        for part in range(point.parts):
            for level, weight in zip(levels[:-1], weights[:-1], strict=True):
                at = replace(point, level=float(level), part=part)
                own = list(at.moving(count))
                total[own] += weight * once(at)[own]
        return here, total

    def kept(self, name: str, make: Callable[[], Floats]) -> Floats:
        """The array of this name, from its file or made now."""
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            made = make()
            with whole_file(path) as temporary, temporary.open("wb") as file:
                np.save(file, made)
        found: Floats = np.load(path)
        return found


def _name(at: Point) -> str:
    """A name for a pass: the same for points that are the same."""
    held = ""
    if at.held is not None and not (at.gate == 1 and at.level == 1):
        held = f"-{at.held[0]}.{at.held[1]}-at-{at.gate:g}"
    return f"{at.level:.6f}-{at.part}-of-{at.parts}{held}"
