"""The six importances of a sentence, by the names they are published under, and their signs.

Definitions (Bogdan et al. 2025, "Thought Anchors"; `analyze_rollouts.py` of
interp-reasoning/thought-anchors). Rollouts of sentence i start where sentence i was taken
out; those of a later sentence therefore contain it.

    accuracy(i)   right among the rollouts of i that were judged and gave an answer
    resampling    accuracy(i + 1) − accuracy(i)
    counterfactual   accuracy of the rollouts of i whose new sentence differs from the old one
                     (cosine < 0.8) − accuracy of the rollouts of the next sentence
    forced        as resampling, on rollouts made to answer at once, with the next sentence there is
    …_kl          KL divergence between the answers of the two sides, never negative

The published signs are kept, and they are not one another's: see `SIGNS`.
"""

from __future__ import annotations

from typing import Literal, get_args

Importance = Literal[
    "counterfactual_importance_accuracy",
    "counterfactual_importance_kl",
    "resampling_importance_accuracy",
    "resampling_importance_kl",
    "forced_importance_accuracy",
    "forced_importance_kl",
]
IMPORTANCES: tuple[Importance, ...] = get_args(Importance)

DEFAULT: Importance = "counterfactual_importance_accuracy"

AFTER_MINUS_BEFORE = (
    "accuracy with the sentence minus accuracy without it: positive where it helps the right answer"
)
DISTANCE = "a distance, never negative: it has no direction"
SIGNS: dict[Importance, str] = {
    "counterfactual_importance_accuracy": "accuracy without the sentence (resampled to another "
    "meaning) minus accuracy with it: negative where the sentence helps the right answer",
    "counterfactual_importance_kl": DISTANCE,
    "resampling_importance_accuracy": AFTER_MINUS_BEFORE,
    "resampling_importance_kl": DISTANCE,
    "forced_importance_accuracy": AFTER_MINUS_BEFORE,
    "forced_importance_kl": DISTANCE,
}

ERRORS: dict[Importance, str] = {name: f"{name}_se" for name in IMPORTANCES}
"""The column of each one's standard error."""

EXTRAS = ("accuracy", "different_trajectories_fraction", "overdeterminedness")
"""What else is published of a sentence, and recomputed."""

# Why an importance is missing. What was published as 0 without a comparison has the same causes.
NO_ROLLOUTS = "no rollouts of the sentence"
NO_NEXT = "no later sentence with rollouts"
NO_DISSIMILAR = "no dissimilar rollout"
NO_ANSWER = "no judged answer on one side"
NOT_PUBLISHED = "not published"
NOT_COMPUTED = "not computed"
STORED_AS_ZERO = "stored as exactly 0"
NO_LABEL = "no label in the input"
