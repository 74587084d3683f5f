"""Which mode's ranking moves least when queries and projections are drawn anew.

Stability over query resamples of a mode: the mean agreement of two rankings against queries drawn
anew, under one projection, averaged over projections. Over projection seeds: of two rankings under
two projections, against all queries. Between modes: under one projection, against all queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from whence.data.stability.make import ranking_name
from whence.data.stability.outcome import estimate, of_pairs
from whence.data.stability.settings import Mode, StabilityConfig
from whence.stats.agreement import SPEARMAN, Agreement, overlap_name
from whence.stats.intervals import NoInterval
from whence.stats.multiplicity import benjamini_hochberg
from whence.stats.pairs_of_resamples import pairs_within, two_chances, without_each

ALPHA = 0.05


def of_modes(config: StabilityConfig, found: Agreement, ks: Sequence[int]) -> dict[str, Any]:
    """`modes` (mode → over_query_resamples, over_projection_seeds), `between_modes`, the
    `comparisons` of modes with each other, and the `verdict`, in one sentence.
    """
    blocks = {mode: _blocks(config, found, mode) for mode in config.modes}
    modes: dict[str, dict[str, Any]] = {
        mode: {
            "over_query_resamples": _over_queries(config, found, ks, blocks[mode]),
            "over_projection_seeds": _over_projections(config, found, ks, mode),
        }
        for mode in config.modes
    }
    comparisons = _comparisons(config, found, blocks)
    return {
        "modes": modes,
        "between_modes": _between(config, found, ks),
        "comparisons": comparisons,
        "verdict": _verdict(config, modes, comparisons),
    }


def _projections(config: StabilityConfig, mode: Mode) -> Sequence[int | None]:
    return (None,) if mode == "none" else config.projection_seeds


def _blocks(config: StabilityConfig, found: Agreement, mode: Mode) -> list[list[int]]:
    """Per projection, the rankings against each query resample, the full queries left out."""
    return [
        [
            found.names.index(ranking_name(mode, seed, resample))
            for resample in range(1, config.query_resamples + 1)
        ]
        for seed in _projections(config, mode)
    ]


def _over_queries(
    config: StabilityConfig, found: Agreement, ks: Sequence[int], blocks: Sequence[Sequence[int]]
) -> dict[str, Any] | None:
    """None without resamples."""
    if not config.query_resamples:
        return None
    pairs = pairs_within(found, blocks)

    def measured(measure: str, chance: float) -> dict[str, Any]:
        value = found.value(measure, pairs)
        without = without_each(found, measure, blocks)
        interval, _ = two_chances(
            value,
            found.draws(measure, pairs),
            without,
            found.clusters,
            bounds=(-1.0 if measure == SPEARMAN else 0.0, 1.0),
        )
        return estimate(value, interval, chance)

    return {
        "interval_covers": "other query resamples and other pools like this one",
        "spearman": measured(SPEARMAN, 0.0),
        "overlap_at_k": {str(k): measured(overlap_name(k), k / found.rows) for k in ks},
    }


def _over_projections(
    config: StabilityConfig, found: Agreement, ks: Sequence[int], mode: Mode
) -> dict[str, Any]:
    seeds = _projections(config, mode)
    if mode == "none":
        return {"reason": "exact gradients: there is no projection"}
    if len(seeds) < 2:
        return {"reason": "one projection seed: no two to compare"}
    full = [found.names.index(ranking_name(mode, seed, 0)) for seed in seeds]
    return {
        "interval_covers": "other pools like this one, under these projections",
        **of_pairs(found, ks, found.numbers(full)),
    }


def _between(config: StabilityConfig, found: Agreement, ks: Sequence[int]) -> list[dict[str, Any]]:
    lines = []
    for a, b in combinations(config.modes, 2):
        # A mode without projections is held against the other under each of its own.
        seeds = [
            (x, y)
            for x in _projections(config, a)
            for y in _projections(config, b)
            if x is None or y is None or x == y
        ]
        numbers = [
            found.numbers(
                [found.names.index(ranking_name(a, x, 0))],
                [found.names.index(ranking_name(b, y, 0))],
            )[0]
            for x, y in seeds
        ]
        lines.append({"a": a, "b": b, **of_pairs(found, ks, numbers)})
    return lines


def _comparisons(
    config: StabilityConfig, found: Agreement, blocks: Mapping[Mode, Sequence[Sequence[int]]]
) -> list[dict[str, Any]]:
    """Mode − control in mean Spearman over query resamples; the same resamples and rows in both."""
    if not config.query_resamples:
        return []
    drafts = []
    for mode, control in combinations(config.modes, 2):
        pairs, against = (pairs_within(found, blocks[each]) for each in (mode, control))
        effect = found.value(SPEARMAN, pairs) - found.value(SPEARMAN, against)
        interval, p = two_chances(
            effect,
            found.draws(SPEARMAN, pairs) - found.draws(SPEARMAN, against),
            without_each(found, SPEARMAN, blocks[mode])
            - without_each(found, SPEARMAN, blocks[control]),
            found.clusters,
            bounds=(-2.0, 2.0),
        )
        drafts.append((mode, control, effect, interval, p))
    q_values = benjamini_hochberg([p for *_, p in drafts])
    return [
        {
            "mode": mode,
            "control": control,
            "metric": "spearman over query resamples",
            "effect": effect,
            "interval": None if isinstance(interval, NoInterval) else [interval.low, interval.high],
            "p": p,
            "q": q,
            "resamples": config.query_resamples,
            "rows": found.rows,
            **({"reason": interval.reason} if isinstance(interval, NoInterval) else {}),
        }
        for (mode, control, effect, interval, p), q in zip(drafts, q_values, strict=True)
    ]


def _verdict(
    config: StabilityConfig,
    modes: Mapping[str, Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
) -> str:
    if not config.query_resamples:
        return "no queries were drawn anew: which mode moves least with them is not known"
    stays = {mode: modes[mode]["over_query_resamples"]["spearman"] for mode in modes}
    best = max(stays, key=lambda mode: stays[mode]["estimate"])
    if len(stays) == 1:
        return f"with queries drawn anew, rankings in mode {best} agree by {_said(stays[best])}"
    others = [c for c in comparisons if best in (c["mode"], c["control"])]
    if any(c["q"] is None for c in others):
        reason = next(c["reason"] for c in others if c["q"] is None)
        return f"not settled which mode moves least with the queries: {reason}"
    open_still = [
        c["control"] if c["mode"] == best else c["mode"] for c in others if c["q"] > ALPHA
    ]
    if open_still:
        return (
            f"not settled which mode moves least with the queries: {best} agrees with itself by "
            f"{_said(stays[best])}, and {' and '.join(open_still)} cannot be told from it"
        )
    return (
        f"mode {best} moves least with the queries: two of its rankings agree by "
        f"{_said(stays[best])}"
    )


def _said(each: Mapping[str, Any]) -> str:
    if each["interval"] is None:
        return f"{each['estimate']:.3f} (no interval: {each['reason']})"
    low, high = each["interval"]
    return f"{each['estimate']:.3f} [{low:.3f}, {high:.3f}]"
