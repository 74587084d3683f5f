"""The first sentence of a report on probes: does any beat every baseline, and could one tell?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whence.report import notation
from whence.report.anchors_told import Told
from whence.report.verdict_sections import Standing, standing

QUESTION = "Can a probe tell which sentences of its reasoning a model's answer depends on?"


@dataclass(frozen=True)
class Headline:
    """sentence: the answer. number, of, interval: the effect in large. facts: (name, value,
    explanation) beside it.
    """

    sentence: str
    standing: Standing
    number: str
    of: str
    interval: str
    facts: Sequence[tuple[str, str, str]]


def headline(told: Told) -> Headline:
    """The verdict on the primary metric over all probes, baselines counted one by one."""
    metric = notation.metric(told.primary)
    against = _primary(told)
    arms = [probe for probe in told.ranked() if probe in against]
    lead = _lead(told, arms)
    sentence, state = _sentence(told, against, arms, metric.label)
    if lead is None or lead not in against:
        return _without(told, sentence, state, metric)
    control = next(p for p in told.ranked() if p in against[lead])
    leading = against[lead][control]
    interval = leading["interval"]
    return Headline(
        sentence=sentence,
        standing=state,
        number=metric.difference(leading["effect"]),
        of=f"{metric.label}, {lead} − {control} (the strongest baseline)",
        interval=f"95 % interval {metric.interval(interval)}" if interval else "no interval",
        facts=_facts(told, lead, metric, len(arms)),
    )


def _primary(told: Told) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Probe → baseline → their comparison on the primary metric, probes that are no baselines."""
    wanted = told.primary.removesuffix("_mean")
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for each in told.comparisons:
        ours = each["metric"].removesuffix("_mean") == wanted
        if ours and each["arm"] in told.levels and each["control"] in told.levels:
            found.setdefault(each["arm"], {})[each["control"]] = each
    probes = {arm: own for arm, own in found.items() if arm not in told.baselines}
    if probes:
        return probes
    # Baselines alone: the trained ones against those that nobody trained.
    pairs = {arm: {c: own[c] for c in own if not _trained(told, c)} for arm, own in found.items()}
    return {arm: own for arm, own in pairs.items() if own and _trained(told, arm)}


def _trained(told: Told, probe: str) -> bool:
    return bool((told.raw.get("probes") or {}).get(probe, {}).get("trained", True))


def _lead(told: Told, arms: Sequence[str]) -> str | None:
    """The probe chosen on validation; without such a choice the one with the highest value."""
    selected = (told.raw.get("selected") or {}).get("probe")
    if selected in arms:
        return str(selected)
    return arms[0] if arms else None


def _sentence(
    told: Told, against: Mapping[str, Mapping[str, Any]], arms: Sequence[str], label: str
) -> tuple[str, Standing]:
    if not arms:
        return _alone(told, label), Standing("no comparison", "no comparison", "open")
    tones = {arm: [standing(c).tone for c in against[arm].values()] for arm in arms}
    every = [c for arm in arms for c in against[arm].values()]
    if all(c["interval"] is None for c in every):
        items = max(c["items"] for c in every)
        return (
            f"Nothing is settled on {label}: {_count(items, 'problem')} cannot carry an interval",
            Standing("no interval: not settled", "no interval", "open"),
        )
    best = [arm for arm in arms if all(tone == "for" for tone in tones[arm])]
    controls = list(dict.fromkeys(c["control"] for c in every))
    all_of_them = controls[0] if len(controls) == 1 else f"each of {len(controls)} baselines"
    noun = "baseline" if set(arms) <= told.baselines else "probe"
    if best:
        verb = "beats" if len(best) == 1 else "beat"
        return (
            f"On {label}, {_listed(best)} {verb} {all_of_them}",
            Standing("supported, all comparisons counted", "supported", "for"),
        )
    some = [arm for arm in arms if "for" in tones[arm]]
    said = f"No {noun} beats {all_of_them} on {label}"
    if some and len(controls) > 1:
        said += f"; {_listed(some)} {'beats' if len(some) == 1 else 'beat'} some of them"
    against_all = all("against" in own for own in tones.values())
    if against_all:
        return said, Standing("the opposite is supported", "worse", "against")
    return said, Standing("not settled", "not settled", "open")


def _alone(told: Told, label: str) -> str:
    ranked = told.ranked()
    level = told.levels[ranked[0]].get(told.primary) if ranked else None
    if level is None or level.value is None:
        return "No probe has a value to show"
    value = notation.metric(told.primary).value(level.value)
    return f"With nothing to compare it with, {ranked[0]} reaches a {label} of {value}"


def _without(told: Told, sentence: str, state: Standing, metric: notation.Metric) -> Headline:
    ranked = told.ranked()
    level = told.levels[ranked[0]].get(told.primary) if ranked else None
    interval = level.interval if level else None
    return Headline(
        sentence=sentence,
        standing=state,
        number=metric.value(level.value if level else None),
        of=f"{metric.label} of {ranked[0]}" if ranked else metric.label,
        interval=_bounds(metric, interval),
        facts=_facts(told, None, metric, 0),
    )


def _facts(
    told: Told, lead: str | None, metric: notation.Metric, arms: int
) -> list[tuple[str, str, str]]:
    facts = [("Judged on", *_split_once(told.on))]
    if lead is not None:
        level = told.levels[lead].get(told.primary)
        chosen = (told.raw.get("selected") or {}).get("probe") == lead
        others = f"the highest of {arms} compared" if arms > 1 else "the only one compared"
        why = "chosen on validation" if chosen else others
        facts.append(
            (f"{metric.label} of {lead}", metric.value(level.value if level else None), why)
        )
    chance, ceiling = told.chance.get(told.primary), told.ceiling.get(told.primary)
    if chance is not None:
        facts.append(("Chance", metric.value(chance), "scores that know nothing"))
    if ceiling is not None:
        facts.append(("Noise ceiling", metric.value(ceiling), "the best that these labels allow"))
    wires = told.raw.get("tripwires") or {}
    if wires.get("passed") is not None:
        facts.append(("Tripwires", "passed" if wires["passed"] else "FAILED", "see below"))
    return facts


def _bounds(metric: notation.Metric, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "no interval"
    return f"95 % interval [{metric.value(interval[0])}, {metric.value(interval[1])}]"


def _split_once(text: str) -> tuple[str, str]:
    head, _, rest = text.partition(", ")
    return head, rest


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
