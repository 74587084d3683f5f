"""What is kept of one rollout: the sentence that was taken out, what came instead, and the answer.

The rollouts themselves (thousands of tokens each) are not kept: importance needs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from whence.errors import BadInput

UNANSWERED = ("", "None")
"""What stands in `answer` where a rollout gave none, in the published files."""


class Rollout(NamedTuple):
    """removed, resampled: None where a forced rollout has none. correct: None where not judged."""

    removed: str | None
    resampled: str | None
    answer: str | None
    correct: bool | None

    @property
    def counts(self) -> bool:
        """Whether it counts in an accuracy: it was judged and its answer is not empty."""
        return self.correct is not None and self.answer != ""

    @property
    def compared(self) -> bool:
        """Whether counterfactual importance looks at it at all."""
        return self.answer not in UNANSWERED


def parse_rollouts(raw: Any, where: str) -> list[Rollout]:
    """The list in a `solutions.json`. Raises BadInput naming `where` and the entry."""
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise BadInput(f"{where}: a list of rollouts was expected, not {type(raw).__name__}")
    return [_parse(entry, f"{where} rollout {number}") for number, entry in enumerate(raw)]


def _parse(entry: Any, where: str) -> Rollout:
    if not isinstance(entry, Mapping):
        raise BadInput(f"{where}: an object was expected, not {type(entry).__name__}")
    correct = entry.get("is_correct")
    if correct is not None and not isinstance(correct, bool):
        raise BadInput(f"{where}: is_correct is {correct!r}; true, false or null was expected")
    answer = entry.get("answer", "")
    return Rollout(
        _text(entry.get("chunk_removed")),
        _text(entry.get("chunk_resampled")),
        answer if answer is None else str(answer),
        correct,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
