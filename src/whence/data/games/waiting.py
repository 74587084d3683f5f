"""How long to wait before a failed request is sent again."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_ASKED = 120.0
"""Seconds up to which a server's Retry-After is waited for; it then says 120 s by saying more."""
FIRST, LONGEST = 0.5, 30.0
"""Without one: a wait drawn evenly between 0 and 0.5, 1, 2, … 30 s (full jitter), so that requests
that failed together do not come back together.
"""


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that the server asks to wait, from seconds or an HTTP date; None where it does not,
    as with 0 or a date that is past: a server in trouble is not asked at once, time and again.

    now: Unix time that a date is compared with.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = at - (time.time() if now is None else now)
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def wait_before_retry(state: Any) -> float:
    """tenacity's wait: what the server asked for and a little more, else backoff with full jitter.

    The little (up to a tenth, at most a second) parts requests that were all told the same.
    """
    import tenacity

    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    if asked is None:
        backoff = tenacity.wait_random_exponential(multiplier=FIRST, max=LONGEST)
        return float(backoff(state))
    asked = min(float(asked), LONGEST_ASKED)
    return asked + random.uniform(0, min(1.0, 0.1 * asked))
