"""What a screen says in numbers: one row per head, node and pair, and how well it ranked them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.heads.gradients import Floats
from whence.heads.screen import Screened
from whence.heads.screen_exact import Exact

if TYPE_CHECKING:
    import pyarrow as pa

    from whence.heads.names import Head
    from whence.stats.ranking import RankStatistic

DEPTHS = (5, 10, 20)
_WHOLE = ("layer", "head", "layer_b", "head_b", "rank")
COLUMNS = (
    "kind layer head layer_b head_b rank estimate estimate_ci_low estimate_ci_high gradient joint "
    "output_norm exact exact_ci_low exact_ci_high verified"
).split()


def strongest(values: Floats, count: int) -> list[int]:
    """The first `count` rows of [item, example] by |mean|, ties in order."""
    order = np.argsort(-np.abs(values.mean(axis=1)), kind="stable")
    return [int(n) for n in order[:count]]


def screen_table(
    screened: Screened, exact: Exact, every: Mapping[Head, Floats], prompts: Sequence[int]
) -> pa.Table:
    """One row per head, node (attn_out, mlp_out) and pair, kinds in this order.

    Heads and nodes: change of the logit difference; pairs: synergy, `exact` too. rank: 1 for the
    largest |estimate| of its kind. exact, where known: `verified`. every: exact changes of heads
    that were not measured in this run, from a sweep. prompts: the cluster of each example, which
    intervals resample. What does not exist is null.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for part in (
        _heads(screened, {**every, **exact.heads}),
        _nodes(screened, exact),
        _pairs(screened, exact),
    ):
        keys, estimate, gradient, known, more = part
        if not keys:
            continue
        ranks = np.empty(len(keys), int)
        ranks[strongest(estimate, len(keys))] = np.arange(1, len(keys) + 1)
        means, ends = _with_interval(estimate, prompts)
        found = [n for n, one in enumerate(known) if one is not None]
        exactly: dict[int, tuple[float, tuple[float | None, float | None]]] = {}
        if found:
            values = np.stack([one for one in known if one is not None])
            exactly = dict(
                zip(found, zip(*_with_interval(values, prompts), strict=True), strict=True)
            )
        for n, key in enumerate(keys):
            delta, between = exactly.get(n, (None, (None, None)))
            row = {
                **key,
                "rank": int(ranks[n]),
                "estimate": means[n],
                "estimate_ci_low": ends[n][0],
                "estimate_ci_high": ends[n][1],
                "gradient": float(gradient[n].mean()),
                "exact": delta,
                "exact_ci_low": between[0],
                "exact_ci_high": between[1],
                "verified": delta is not None,
                **{name: float(values[n].mean()) for name, values in more.items()},
            }
            for name, column in columns.items():
                column.append(row.get(name))
    kinds = {"kind": pa.string(), "verified": pa.bool_(), **dict.fromkeys(_WHOLE, pa.int32())}
    return pa.table(
        {name: pa.array(values, kinds.get(name, pa.float64())) for name, values in columns.items()}
    )


_Part = tuple[list[dict[str, Any]], Floats, Floats, list[Floats | None], dict[str, Floats]]


def _heads(screened: Screened, exact: Mapping[Head, Floats]) -> _Part:
    keys = [{"kind": "head", "layer": at[0], "head": at[1]} for at in screened.names]
    more = {"output_norm": screened.norms}
    if screened.joint is not None:
        more["joint"] = screened.joint
    known = [exact.get(name) for name in screened.names]
    return keys, screened.estimate, screened.gradient, known, more


def _nodes(screened: Screened, exact: Exact) -> _Part:
    keys = [{"kind": site.kind, "layer": site.layer} for site in screened.nodes]
    known = [exact.nodes.get(site) for site in screened.nodes]
    return keys, screened.node_estimate, screened.node_gradient, known, {}


def _pairs(screened: Screened, exact: Exact) -> _Part:
    keys = [
        {"kind": "pair", "layer": a[0], "head": a[1], "layer_b": b[0], "head_b": b[1]}
        for a, b in screened.pairs
    ]
    known = [exact.synergy(a, b) if (a, b) in exact.pairs else None for a, b in screened.pairs]
    return keys, screened.pair_estimate, screened.pair_gradient, known, {}


def _with_interval(
    values: Floats, prompts: Sequence[int]
) -> tuple[list[float], list[tuple[float | None, float | None]]]:
    """Means of [item, example], and their intervals over prompts."""
    from whence.stats.many import many_differences

    found = many_differences(values.T, prompts)
    ends: list[tuple[float | None, float | None]] = [
        (None, None) if np.isnan(low) else (float(low), float(high))
        for low, high in zip(found.low, found.high, strict=True)
    ]
    return [float(mean) for mean in found.effect], ends


def agreement(screened: Screened, every: Mapping[Head, Floats]) -> dict[str, Any]:
    """How well each ranking of all heads by size agrees with the exact |change|.

    recall: ranking → k → share of the k truly strongest among its first k, with the share that a
    random order finds (k over the number of heads). spearman: ranking → ρ of sizes. Rankings:
    estimate, gradient (attribution patching), output_norm, the trivial one. `every` must have all
    heads.
    """
    from whence.stats.ranking import overlap_at_k, spearman

    exact = _sizes(np.stack([every[name] for name in screened.names]))
    rankings = {
        "estimate": _sizes(screened.estimate),
        "gradient": _sizes(screened.gradient),
        "output_norm": _sizes(screened.norms),
    }
    depths = [k for k in DEPTHS if k < len(exact)] or [max(1, len(exact) // 2)]
    return {
        "recall": {
            name: {str(k): _told(overlap_at_k(sizes, exact, k)) for k in depths}
            for name, sizes in rankings.items()
        },
        "random": {str(k): k / len(exact) for k in depths},
        "spearman": {name: _told(spearman(sizes, exact)) for name, sizes in rankings.items()},
    }


def _sizes(values: Floats) -> Floats:
    """|mean| of [item, example]; what is nothing but rounding beside the largest counts as equal,
    so that no ranking is made of noise."""
    sizes = np.abs(values.mean(axis=1))
    return np.where(sizes > 1e-6 * sizes.max(initial=0.0), sizes, 0.0)


def _told(statistic: RankStatistic) -> dict[str, Any]:
    ends = statistic.interval
    return {
        "value": statistic.value,
        "interval": None if ends is None else [ends.low, ends.high],
        "reason": statistic.reason,
    }


def parts(table: pa.Table) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of heads, nodes and pairs, best first, of a table as `screen_table` makes it."""
    rows = table.to_pylist()
    kinds = {"heads": ("head",), "nodes": ("attn_out", "mlp_out"), "pairs": ("pair",)}
    for name, own in kinds.items():
        yield name, sorted((r for r in rows if r["kind"] in own), key=lambda r: r["rank"])
