"""The first sentence of a report on heads: what matters most, by how much, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from whence.report import notation
from whence.report.verdict_sections import Standing

Told = Mapping[str, Mapping[str, Any]]
"""Condition → the content of its `summary.json`."""

ALPHA = 0.05

_QUESTIONS = {
    "pairs": "Which heads do together what neither does alone?",
    "subsets": "What does this set of heads do that a random set does not?",
    "layers": "At which layer does what separates the two prompts act?",
    "heads": "Which attention heads carry the answer, and which hold it back?",
}


@dataclass(frozen=True)
class Headline:
    """question, sentence: what was asked, and the answer. number, of: the effect in large, and of
    what. facts: (name, value, explanation) beside it.
    """

    question: str
    sentence: str
    standing: Standing
    number: str
    of: str
    interval: str
    facts: Sequence[tuple[str, str, str]]


def headline(told: Told, across: Mapping[str, Any] | None) -> Headline:
    """Of pairs where pairs were removed, else of sets, of layers, of heads.

    across: `invariants.json`, or None with one condition. With several, a head that holds in all of
    them comes first; else the first condition speaks.
    """
    tag, first = next(iter(told.items()))
    where = f"In {tag}: " if len(told) > 1 else ""
    kind = _kind(first)
    if kind == "heads" and across and across["heads"]:
        return _everywhere(told, across)
    if kind == "heads":
        return _head(first, where, len(told) if across and across["tested"] else 1)
    return {"pairs": _pair, "subsets": _set, "layers": _layer}[kind](first, where)


def logits(*values: Iterable[float | None] | float | None) -> notation.Metric:
    """How changes of a logit difference are written: decimals for the largest of `values`."""
    flat = [v for value in values for v in (value if isinstance(value, Iterable) else [value])]
    largest = max((abs(v) for v in flat if notation.known(v)), default=0.0)
    first = -math.floor(math.log10(largest)) if largest > 0 else 0
    return notation.Metric("", "change of the logit difference", decimals=min(6, max(3, first + 2)))


def _kind(told: Mapping[str, Any]) -> str:
    return next((kind for kind in ("pairs", "subsets", "layers") if told.get(kind)), "heads")


def act(battery: Mapping[str, Any], what: str = "it") -> str:
    """What was done to a head, as a gerund: "removing it"."""
    if battery.get("type") == "activation_patch":
        return f"patching {what}"
    method = battery.get("method", "zero")
    if method == "mean":
        return f"replacing {what} by its mean"
    if method == "resample":
        return f"replacing {what} by its output on another prompt"
    scale = battery.get("scale", next(iter(battery.get("scales") or [0.0])))
    return f"removing {what}" if scale == 0 else f"scaling {what} by {scale:g}"


def sure(effect: Mapping[str, Any], q: str = "q", interval: str = "interval") -> bool:
    """Whether an effect has q < 0.05 and an interval clear of zero."""
    bounds = effect[interval]
    clear = bounds is not None and not bounds[0] <= 0 <= bounds[1]
    return clear and effect[q] is not None and effect[q] < ALPHA


def _standing(is_sure: bool, *, no_interval: bool) -> Standing:
    if is_sure:
        return Standing("clear of zero, all comparisons counted", "clear", "for")
    told = "no interval: not settled" if no_interval else "not settled"
    return Standing(told, told, "open")


def _of(
    effect: Mapping[str, Any],
    sentence: str,
    of: str,
    told: Mapping[str, Any],
    *,
    key: str = "delta_logit_diff",
    prefix: str = "",
    facts: Sequence[tuple[str, str, str]] = (),
) -> Headline:
    bounds, q = effect[f"{prefix}interval"], effect[f"{prefix}q"]
    metric = logits(effect[key])
    is_sure = sure(effect, f"{prefix}q", f"{prefix}interval")
    clean = told.get("clean", {}).get("logit_diff")
    run = told.get("baseline_run", "clean")
    return Headline(
        question=_QUESTIONS[_kind(told)],
        sentence=sentence[:1].upper() + sentence[1:],
        standing=_standing(is_sure, no_interval=bounds is None),
        number=metric.difference(effect[key]),
        of=of,
        interval=f"95 % interval {metric.interval(bounds)}" if bounds else "no interval",
        facts=[
            ("q", notation.p_value(q), f"over {told['n_prompts']} distinct prompts"),
            *facts,
            (f"Logit difference of the {run} run", logits(clean).value(clean), _decided(told)),
        ],
    )


def _head(told: Mapping[str, Any], where: str, conditions: int) -> Headline:
    top = told["strongest"][0]
    metric = logits(top["delta_logit_diff"])
    verb = "raises" if top["delta_logit_diff"] > 0 else "lowers"
    moved = f"{verb} the logit difference by {metric.magnitude(top['delta_logit_diff'])}"
    rank = top["percentile_in_layer"]
    if sure(top):
        beside = "" if rank is None else f", {_rank(rank)}"
        text = f"{where}head {top['name']} matters most: {act(told['battery'])} {moved}{beside}"
    else:
        text = (
            f"{where}no head stands out. The largest change is that of head {top['name']}: "
            f"{act(told['battery'])} {moved}, and that is not settled"
        )
    if conditions > 1:
        text += f". No head holds in all {conditions} conditions"
    return _of(top, text, f"head {top['name']}", told, facts=_rank_fact(top))


def _everywhere(told: Told, across: Mapping[str, Any]) -> Headline:
    top = across["heads"][0]
    effects = {tag: own["delta_logit_diff"] for tag, own in top["conditions"].items()}
    ordered = sorted(effects, key=lambda tag: abs(effects[tag]))
    least, most = ordered[0], ordered[-1]
    metric = logits(effects[least])
    first = next(iter(told.values()))
    verb = "raises" if top["sign"] > 0 else "lowers"
    text = (
        f"Head {top['head']} matters in all {len(told)} conditions: {act(first['battery'])} "
        f"{verb} the logit difference by {metric.magnitude(effects[least])} ({least}) to "
        f"{metric.magnitude(effects[most])} ({most}), every interval clear of zero"
    )
    own = top["conditions"][least]
    chance = notation.significant(across["expected_by_chance"], 2)
    facts = [
        (
            "Heads that hold in all conditions",
            f"{len(across['heads'])} of {across['tested']}",
            f"{chance} expected if none had an effect",
        )
    ]
    return _of(own, text, f"head {top['head']} in {least}, its weakest", told[least], facts=facts)


def _layer(told: Mapping[str, Any], where: str) -> Headline:
    rows = [row for row in told["layers"] if row["layers"].isdigit()] or told["layers"]
    battery = told["battery"]
    what = f"{battery.get('granularity', 'layer_resid')} at {battery.get('positions')}"
    top = max(rows, key=lambda row: abs(row["delta_logit_diff"]))
    metric = logits(top["delta_logit_diff"])
    steps = [(abs(b["delta_logit_diff"] - a["delta_logit_diff"]), a, b) for a, b in pairwise(rows)]
    if battery.get("granularity") == "layer_resid" and len(rows) > 2:
        # The residual stream carries all that came before: what counts is where it changes.
        _, before, top = max(steps, key=lambda step: step[0])
        text = (
            f"{where}between layers {before['layers']} and {top['layers']} the patch changes most: "
            f"its effect goes from {metric.difference(before['delta_logit_diff'])} to "
            f"{metric.difference(top['delta_logit_diff'])}{_shares(before, top)}"
        )
    else:
        verb = "raises" if top["delta_logit_diff"] > 0 else "lowers"
        text = (
            f"{where}patching layer {top['layers']} {verb} the logit difference most, by "
            f"{metric.magnitude(top['delta_logit_diff'])}{_share(top)}"
        )
    sham = told.get("sham")
    facts = []
    if sham:
        facts = [("Sham", notation.significant(sham["largest_change"], 2), "largest change")]
    return _of(top, text, f"layer {top['layers']}, {what}", told, facts=facts)


def _pair(told: Mapping[str, Any], where: str) -> Headline:
    top = told["pairs"][0]
    a, b = top["name"].split("+")
    if top["synergy"] is None:
        done = act(told["battery"], f"heads {a} and {b}")
        return _of(top, f"{where}{done} together", a, told)
    metric = logits(top["synergy"])
    more = "more" if top["synergy"] * top["delta_logit_diff"] > 0 else "less"
    text = (
        f"{where}heads {a} and {b} together do {metric.magnitude(top['synergy'])} {more} than the "
        f"sum of each"
    )
    if not sure(top, "synergy_q", "synergy_interval"):
        text = (
            f"{where}no pair does clearly more or less than the sum of its heads; the largest "
            f"synergy is that of {a} and {b}"
        )
    parts = " and ".join(metric.difference(top[f"delta_{side}"]) for side in "ab")
    facts = [("Together", metric.difference(top["delta_logit_diff"]), f"alone {parts}")]
    return _of(
        top, text, f"synergy of {a} and {b}", told, key="synergy", prefix="synergy_", facts=facts
    )


def _set(told: Mapping[str, Any], where: str) -> Headline:
    top = max(told["subsets"], key=lambda row: abs(row["delta_logit_diff"]))
    metric = logits(top["delta_logit_diff"])
    verb = "raises" if top["delta_logit_diff"] > 0 else "lowers"
    these = f"{top['label']} ({' '.join(top['heads'])})"
    text = (
        f"{where}{act(told['battery'], these)} {verb} the logit "
        f"difference by {metric.magnitude(top['delta_logit_diff'])}"
    )
    random = top["random_sets"]
    facts = []
    if random is not None:
        rank = top["percentile_of_random"]
        share = "all" if rank >= 100 else f"{rank:.0f} % of"
        text += f", more than {share} {random['sets']} random sets of the same layers"
        bounds = metric.interval([random["low"], random["high"]])
        facts = [("Random sets", bounds, "the middle 90 % of them")]
    return _of(top, text, top["label"], told, facts=facts)


def _decided(told: Mapping[str, Any]) -> str:
    """What to know of the undisturbed run: nothing was changed, and whether it has a preference."""
    ends = told.get("clean", {}).get("logit_diff_interval")
    if ends is not None and ends[0] <= 0 <= ends[1]:
        return "not clear of zero: the model itself is undecided"
    return "nothing changed"


def _share(row: Mapping[str, Any]) -> str:
    share = row["recovered"]
    # Far outside, the two prompts hardly differ, and a share of nothing says nothing.
    if share is None or not 0 <= share <= 1.2:
        return ""
    return f", {100 * share:.0f} % of what separates the two prompts"


def _shares(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What two patches recover, where both are shares of something."""
    first, second = before["recovered"], after["recovered"]
    if first is None or second is None or not _share(after) or not -0.2 <= first <= 1.2:
        return ""
    return f" ({100 * first:.0f} % to {100 * second:.0f} % of what separates the two prompts)"


def _rank(percentile: float) -> str:
    if percentile >= 100:
        return "the largest change in its layer"
    return f"percentile {percentile:.0f} of its layer"


def _rank_fact(top: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    others = top["others_in_layer"]
    if others is None:
        return []
    bounds = logits(top["delta_logit_diff"]).interval([others["low"], others["high"]])
    return [("Other heads of its layer", bounds, f"the middle 90 % of {others['heads']}")]
