"""How numbers are written in a report: signs, units, rounding, and what stands for "missing"."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

MISSING = "–"
_MINUS = "\N{MINUS SIGN}"
_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Metric:
    """How one metric is named and written.

    scale multiplies a value before it is written; unit follows a difference, value_unit a value.
    """

    name: str
    label: str
    scale: float = 1.0
    decimals: int = 3
    unit: str = ""
    value_unit: str = ""
    lower_is_better: bool = False

    def value(self, number: float | None) -> str:
        """A level, such as an arm's mean."""
        if not known(number):
            return MISSING
        return _signed(number * self.scale, self.decimals).lstrip("+") + self.value_unit

    def difference(self, number: float | None, *, unit: bool = False) -> str:
        """A signed difference, with its unit when asked."""
        if not known(number):
            return MISSING
        written = _signed(number * self.scale, self.decimals)
        return f"{written} {self.unit}" if unit and self.unit else written

    def magnitude(self, number: float | None) -> str:
        """The size of a difference, without sign or unit."""
        return f"{abs(number * self.scale):.{self.decimals}f}" if known(number) else MISSING

    def interval(self, bounds: tuple[float, float] | list[float] | None) -> str:
        """`[low, high]` of a difference."""
        if bounds is None:
            return MISSING
        return f"[{self.difference(bounds[0])}, {self.difference(bounds[1])}]"


_METRICS = {
    metric.name: metric
    for metric in (
        Metric("correct", "accuracy", 100.0, 1, "points", f"{_NARROW_SPACE}%"),
        Metric("accuracy", "accuracy", 100.0, 1, "points", f"{_NARROW_SPACE}%"),
        Metric("loss", "loss", 1.0, 3, "nats per token", lower_is_better=True),
        Metric("perplexity", "perplexity", 1.0, 2, lower_is_better=True),
        Metric("pr_auc", "PR-AUC"),
        Metric("pr_auc_trapezoid", "PR-AUC, trapezoid"),
        Metric("spearman", "Spearman ρ"),
        Metric("spearman_mean", "Spearman ρ"),
        Metric("residual_pr_auc", "PR-AUC of residuals"),
        Metric("residual_spearman", "Spearman ρ of residuals"),
        Metric("brier", "Brier score", lower_is_better=True),
        Metric("ece", "calibration error", lower_is_better=True),
    )
}


def metric(name: str) -> Metric:
    """The way a metric of this name is written; an unknown one keeps its name and has no unit."""
    return _METRICS.get(name, Metric(name, name.replace("_", " ")))


def known(number: float | None) -> TypeGuard[float]:
    """Whether there is such a number: None and NaN both mean that there is not."""
    return number is not None and not math.isnan(number)


def significant(number: float | None, digits: int = 3) -> str:
    """A number at so many significant digits, without an exponent where that is readable."""
    if not known(number):
        return MISSING
    return f"{number:.{digits}g}".replace("-", _MINUS)


def column(number: float | None) -> str:
    """A number in a table's column: decimals that line up with its neighbours'."""
    if not known(number) or isinstance(number, int):
        return count(number)
    return _signed(number, 3 if abs(number) < 100 else 1).lstrip("+")


def p_value(number: float | None) -> str:
    """p and q to two digits; below 0.001 only that they are."""
    if not known(number):
        return MISSING
    return "< 0.001" if number < 0.001 else f"{number:.3f}" if number < 0.1 else f"{number:.2f}"


def count(number: float | None) -> str:
    """A whole number with its thousands set apart."""
    return f"{number:,.0f}" if known(number) else MISSING


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if not known(seconds):
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def words(name: object) -> str:
    """An identifier as words: `matched_random` reads "matched random"."""
    return str(name).replace("_", " ")


def _signed(number: float, decimals: int) -> str:
    rounded = round(number, decimals)
    sign = _MINUS if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.{decimals}f}"
