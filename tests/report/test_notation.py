"""How numbers are written."""

from __future__ import annotations

import pytest

from whence.report import notation


def test_accuracy_is_written_in_percent_and_its_differences_in_points():
    accuracy = notation.metric("correct")
    assert accuracy.value(0.4251).replace("\u202f", " ") == "42.5 %"
    assert accuracy.difference(0.1239, unit=True) == "+12.4 points"
    assert accuracy.difference(-0.1239) == "−12.4"
    assert accuracy.interval([-0.01, 0.2]) == "[−1.0, +20.0]"
    assert accuracy.magnitude(-0.051) == "5.1"


def test_a_difference_that_rounds_to_nothing_has_no_sign():
    assert notation.metric("loss").difference(-0.0001) == "0.000"
    assert notation.column(-0.0001) == "0.000"


def test_an_unknown_metric_keeps_its_name():
    assert notation.metric("exact_match").label == "exact match"
    assert notation.metric("exact_match").difference(0.5, unit=True) == "+0.500"


def test_none_and_nan_are_both_missing():
    for number in (None, float("nan")):
        assert notation.significant(number) == notation.MISSING
        assert notation.p_value(number) == notation.MISSING
        assert notation.count(number) == notation.MISSING
        assert notation.duration(number) == notation.MISSING
        assert notation.metric("loss").value(number) == notation.MISSING
        assert notation.metric("loss").difference(number) == notation.MISSING
    assert notation.metric("loss").interval(None) == notation.MISSING


@pytest.mark.parametrize(
    ("p", "written"), [(0.0, "< 0.001"), (0.0123, "0.012"), (0.0996, "0.100"), (0.71, "0.71")]
)
def test_p_value(p: float, written: str):
    assert notation.p_value(p) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(4.25, "4.25 s"), (59.9, "1 min 0 s"), (201.4, "3 min 21 s"), (7260, "2 h 1 min")],
)
def test_duration(seconds: float, written: str):
    assert notation.duration(seconds) == written
