"""The exact words, for verdicts of every kind."""

from __future__ import annotations

import dataclasses

import pytest

from whence.stats import Comparison
from whence.stats.sentence import sentence

FOUND = Comparison(
    arm="top_k",
    control="matched_random",
    metric="correct",
    effect=0.2134,
    interval=(0.1498, 0.2711),
    p=0.00019998,
    q=0.0004,
    seeds=3,
    items=200,
    minimum_detectable_effect=0.08123,
    seeds_needed=2,
    sentence="",
)


def say(*, better: bool = True, reason: str | None = None, dropped=0, repeats=0, **changes) -> str:
    return sentence(
        dataclasses.replace(FOUND, **changes),
        higher_is_better=better,
        alpha=0.05,
        reason=reason,
        dropped=dropped,
        repeats=repeats,
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            say(),
            "top_k beats matched_random on accuracy by 0.21 [0.15, 0.27] "
            "(3 seeds, 200 items, p = 0.0002)",
        ),
        (
            say(effect=-0.2134, interval=(-0.2711, -0.1498)),
            "top_k is worse than matched_random on accuracy by 0.21 [0.15, 0.27] "
            "(3 seeds, 200 items, p = 0.0002)",
        ),
        (
            say(metric="loss", better=False, effect=-0.2134, interval=(-0.2711, -0.1498)),
            "top_k beats matched_random on loss, lower by 0.21 [0.15, 0.27] "
            "(3 seeds, 200 items, p = 0.0002)",
        ),
        (
            say(metric="loss", better=False),
            "top_k is worse than matched_random on loss, higher by 0.21 [0.15, 0.27] "
            "(3 seeds, 200 items, p = 0.0002)",
        ),
        (
            say(effect=0.02, interval=(-0.03, 0.07), p=0.41, q=0.5, seeds_needed=37),
            "no difference between top_k and matched_random on accuracy that this design could "
            "see: 0.02 [-0.03, 0.07] (3 seeds, 200 items, p = 0.41); smallest detectable 0.08, and "
            "an effect of this size would take about 37 seeds",
        ),
        (
            say(effect=0.02, interval=(-0.03, 0.07), p=0.41, q=0.5, seeds_needed=None),
            "no difference between top_k and matched_random on accuracy that this design could "
            "see: 0.02 [-0.03, 0.07] (3 seeds, 200 items, p = 0.41); smallest detectable 0.08, and "
            "more seeds alone would not settle an effect of this size: it takes more items",
        ),
        (
            say(q=0.09),
            "top_k is above matched_random on accuracy by 0.21 [0.15, 0.27] (3 seeds, 200 items, "
            "p = 0.0002), but not once all comparisons of this table count (q = 0.09)",
        ),
        (
            say(seeds=1),
            "one seed: not a finding (top_k minus matched_random on accuracy is "
            "0.21 [0.15, 0.27] over 200 items)",
        ),
        (
            say(seeds=1, items=1, interval=None, p=None, reason="1 cluster, too few", dropped=1),
            "one seed: not a finding (top_k minus matched_random on accuracy is 0.21 over 1 item; "
            "1 cluster, too few); 1 row without a partner left out",
        ),
        (
            say(interval=None, p=None, items=4, reason="4 items, too few", repeats=2),
            "no verdict: 4 items, too few (top_k minus matched_random on accuracy is 0.21; "
            "3 seeds, 4 items); 2 seeds only repeated another, counted once",
        ),
        (
            say(effect=0.02, interval=(-0.03, 0.07), p=0.41, seeds=0, items=20, seeds_needed=None),
            "no difference between top_k and matched_random on accuracy that this design could "
            "see: 0.02 [-0.03, 0.07] (no seed changes either, 20 items, p = 0.41); smallest "
            "detectable 0.08, and only more items would settle it",
        ),
        (
            say(effect=0.0041, interval=(0.0004, 0.0078)),
            "top_k beats matched_random on accuracy by 0.0041 [0.0004, 0.0078] "
            "(3 seeds, 200 items, p = 0.0002)",
        ),
    ],
)
def test_words(said: str, expected: str) -> None:
    assert said == expected
