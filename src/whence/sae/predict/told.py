"""A prediction's summary in one sentence and one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whence.sae.predict.judged import PREDICTOR

ALPHA = 0.05
COLUMNS = ("predictor", "Spearman", "Pearson", "RMSE", "top k", f"{PREDICTOR} minus it", "to know")


def headline(summary: Mapping[str, Any]) -> str:
    """How well SAE features predict held-out rows, and against what that holds."""
    metrics = summary["test_metrics"]
    what = f"attribution {summary['target_type']}"
    on = f"{metrics['rows']:,} held-out rows in {_count(metrics['groups'], 'group')}"
    said = f"SAE features predict {what} at Spearman {estimate(metrics, 'spearman')} on {on}"
    if metrics["spearman"] is None:
        reason = metrics["reasons"]["spearman"]
        return f"SAE features cannot be judged on {on}: {reason}."
    interval = metrics["intervals"]["spearman"]
    if interval is None:
        said += f" (no interval: {metrics['reasons']['spearman']})"
    elif interval[0] <= 0:
        not_shown = "are not shown to predict" if interval[1] >= 0 else "order the wrong way round"
        said = f"SAE features {not_shown} {what}: Spearman {estimate(metrics, 'spearman')} on {on}"
    return "; ".join([said, *_against(summary["comparisons"])]) + "."


def applied_headline(summary: Mapping[str, Any]) -> str:
    """How many rows were scored, and how far they are from those the predictor knows."""
    outside = summary["outside_training_predictions"]["share"]
    length = summary["length_correlation"]["spearman"]
    parts = [
        f"{summary['rows']:,} rows scored without gradients",
        f"{outside:.1%} of predictions lie beyond those of the training rows",
    ]
    if length is not None:
        parts.append(f"rank correlation with length {length:+.2f}")
    if "metrics" in summary:
        metrics = summary["metrics"]
        parts.append(
            f"Spearman with the scores given {estimate(metrics, 'spearman')} on all "
            f"{metrics['rows']:,} rows"
        )
    if shared := summary["rows_also_trained_on"]:
        parts.append(f"{shared:,} of the rows were trained on, so their predictions know them")
    return "; ".join(parts) + "."


def table(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a predictor, under COLUMNS, all on the same held-out rows."""
    verdicts = {each["control"]: each for each in summary["comparisons"]}
    rows = [_row(PREDICTOR, summary["test_metrics"], "", _penalty(summary["regularisation"]))]
    for name, baseline in summary["baselines"].items():
        if "test_metrics" not in baseline:
            rows.append((name, "–", "–", "–", "–", "–", f"not run: {baseline['not_run']}"))
            continue
        verdict = verdicts.get(name)
        difference = "–" if verdict is None else signed(verdict["effect"], verdict["interval"])
        q = "" if verdict is None or verdict["q"] is None else f"; q = {verdict['q']:.2g}"
        rows.append(_row(name, baseline["test_metrics"], difference, f"{baseline['what']}{q}"))
    return rows


def estimate(metrics: Mapping[str, Any], name: str) -> str:
    """A metric with its interval, as in 0.61 [0.50, 0.70]; – where it has no value."""
    value, interval = metrics[name], metrics["intervals"][name]
    if value is None:
        return "–"
    if interval is None:
        return _number(value)
    return f"{_number(value)} [{_number(interval[0])}, {_number(interval[1])}]"


def signed(effect: float, interval: Sequence[float] | None) -> str:
    if interval is None:
        return f"{effect:+.2f}"
    return f"{effect:+.2f} [{interval[0]:+.2f}, {interval[1]:+.2f}]"


def _against(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """The comparisons by what came of them, in words."""
    found: dict[str, list[str]] = {}
    for each in comparisons:
        said = f"{each['control']} ({signed(each['effect'], each['interval'])})"
        found.setdefault(_outcome(each), []).append(said)
    order = ("better than", "worse than", "no difference seen from", "no verdict against")
    return [f"{outcome} {', '.join(found[outcome])}" for outcome in order if outcome in found]


def _outcome(comparison: Mapping[str, Any]) -> str:
    p, q = comparison["p"], comparison["q"]
    if p is None or q is None:
        return "no verdict against"
    if max(p, q) > ALPHA:
        return "no difference seen from"
    return "better than" if comparison["effect"] > 0 else "worse than"


def _penalty(regularisation: Mapping[str, Any]) -> str:
    said = f"l2 {regularisation['l2']:.3g}"
    if regularisation["given"]:
        return f"{said}, given"
    edge = regularisation["search"]["edge"]
    if edge == "highest":
        return f"{said}, the highest tried: next to nothing is predicted but the mean"
    return f"{said}, the lowest tried" if edge else said


def _row(name: str, metrics: Mapping[str, Any], difference: str, to_know: str) -> tuple[str, ...]:
    top = metrics["topk_overlap"]
    return (
        name,
        estimate(metrics, "spearman"),
        estimate(metrics, "pearson"),
        estimate(metrics, "rmse"),
        f"{top['overlap_fraction']:.2f} of {top['k']} (chance {top['chance']:.2f})",
        difference,
        to_know,
    )


def _number(value: float) -> str:
    """Two decimals, or three digits of what is smaller."""
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
