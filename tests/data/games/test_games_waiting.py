"""How long a failed request waits."""

from __future__ import annotations

from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest

from whence.data.games.openai import FailedRequest
from whence.data.games.waiting import retry_after, wait_before_retry


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("0", None),
        (" 7 ", 7.0),
        ("-4", None),
        (formatdate(1_000_020, usegmt=True), 20.0),
        (formatdate(999_000, usegmt=True), None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, now=1_000_000) == seconds


def test_no_header() -> None:
    assert retry_after({}) is None


def state(attempt: int, asked: float | None) -> Any:
    error = FailedRequest("rate_limit", "429", "busy", asked)
    return SimpleNamespace(attempt_number=attempt, outcome=SimpleNamespace(exception=lambda: error))


def test_what_the_server_asks_for_is_waited_for_and_hardly_more() -> None:
    waits = [wait_before_retry(state(1, 4.0)) for _ in range(200)]
    assert 4.0 <= min(waits) < max(waits) <= 4.4
    assert 120 <= wait_before_retry(state(1, 9_999.0)) <= 121, "but not for hours"


def test_otherwise_waits_grow_and_differ_up_to_a_bound() -> None:
    for attempt, most in ((1, 0.5), (2, 1.0), (4, 4.0), (12, 30.0)):
        waits = [wait_before_retry(state(attempt, None)) for _ in range(400)]
        assert max(waits) <= most
        assert max(waits) > 0.8 * most
        assert min(waits) < 0.2 * most
