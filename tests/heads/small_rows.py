"""Ten rows whose answers are single tokens under the tokenizers of the zoo."""

from __future__ import annotations

SMALL_CORPUS: tuple[tuple[str, str, str, str], ...] = (
    ("The animal that barks is the", "The color of grass is", " fox", " red"),
    ("The color of the river is", "The color of the fox is", " blue", " red"),
    ("Two plus two is", "Three plus three is", " two", " six"),
    ("Is a fox a bird?", "Is an owl a bird? Say", " no", " yes"),
    ("Is an owl a bird?", "Is a fox a bird?", " yes", " no"),
    ("A bird that came to the river every morning is the", "It is the", " owl", " fox"),
    ("The fox is", "The river is", " red", " blue"),
    ("Four plus two is", "Four minus two is", " six", " two"),
    ("The river is", "The fox is", " blue", " red"),
    ("The river is", "The fox is", " blue", " two"),  # the same prompt twice: one cluster
)
