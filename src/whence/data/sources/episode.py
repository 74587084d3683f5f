"""Played games as training rows: one episode from one player's side, and which ones are wanted."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whence.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

Message = Mapping[str, str]

ABORTED = "aborted"
NAMES_SHOWN = 12


@dataclass(frozen=True)
class Episode:
    """One game as one of its players saw it.

    row_id: unique in its source. place: what messages about it name. split: of the source. outcome:
    as the source has it ("success", "failure", "aborted", …), None where it does not say. (game,
    experiment, task_id) say which instance was played, model who played it. messages: `role` and
    `content` of every turn, game master as user, player as assistant. word: the target word, where
    the source says it apart from the messages.
    """

    row_id: str
    place: str
    split: str
    game: str
    game_role: str
    outcome: str | None
    experiment: str
    task_id: str
    model: str | None
    messages: Sequence[Message]
    word: str | None = None

    @property
    def aborted(self) -> bool:
        """Whether a player broke the format, so that the game has no result."""
        return self.outcome is not None and self.outcome.strip().casefold() == ABORTED


@dataclass
class Sieve:
    """Keeps the episodes of one role of one game that were played to their end.

    seen: game → role → episodes met, of all splits. left_out: split → reason → episodes.
    """

    game: str
    role: str
    seen: dict[str, Counter[str]] = field(default_factory=dict)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)

    def keeps(self, split: str, game: str, role: str, *, aborted: bool) -> bool:
        """Whether such an episode is wanted; counts it where it is not."""
        self.seen.setdefault(game, Counter())[role] += 1
        if (game, role) != (self.game, self.role):
            self.leave_out(split, "other_game_or_role")
            return False
        if aborted:
            self.leave_out(split, "aborted")
        return not aborted

    def leave_out(self, split: str, reason: str) -> None:
        """Count one episode that is not kept."""
        self.left_out.setdefault(split, Counter())[reason] += 1

    def check(self, split: str, origin: str, kept: int) -> None:
        """Raise BadInput where a split gave nothing, naming games and roles that there are."""
        if kept:
            return
        if self.game not in self.seen:
            raise BadInput(
                f"--game {self.game}: {origin} has no such game; {_known(self.game, self.seen)}"
            )
        roles = self.seen[self.game]
        if self.role not in roles:
            raise BadInput(
                f"--role {self.role}: {origin} has no such role in {self.game}; "
                f"{_known(self.role, roles)}"
            )
        reasons = ", ".join(
            f"{count} {reason.replace('_', ' ')}"
            for reason, count in self.left_out.get(split, Counter()).items()
        )
        raise BadInput(
            f"{origin}: has no game of {self.game} as {self.role} that was played to its end "
            f"(left out: {reasons or 'none'})"
        )


def episodes_table(episodes: Sequence[Episode], words: Sequence[str | None]) -> pa.Table:
    """One row an episode, with its target word.

    Columns: `row_id`, `group_id` (`experiment::task_id`, so that all games of one instance stay
    together), `game`, `game_role`, `pair_key` (`game::role`), `outcome`, `experiment`, `task_id`,
    `model`, `target_word`, and `messages` as a list of `{role, content}`.
    """
    import pyarrow as pa

    text = pa.string()
    columns: dict[str, list[str | None]] = {
        "row_id": [one.row_id for one in episodes],
        "group_id": [f"{one.experiment}::{one.task_id}" for one in episodes],
        "game": [one.game for one in episodes],
        "game_role": [one.game_role for one in episodes],
        "pair_key": [f"{one.game}::{one.game_role}" for one in episodes],
        "outcome": [one.outcome for one in episodes],
        "experiment": [one.experiment for one in episodes],
        "task_id": [one.task_id for one in episodes],
        "model": [one.model for one in episodes],
        "target_word": list(words),
    }
    turns = pa.list_(pa.struct([("role", text), ("content", text)]))
    return pa.table(
        {
            **{name: pa.array(values, text) for name, values in columns.items()},
            "messages": pa.array([list(one.messages) for one in episodes], turns),
        }
    )


def _known(wanted: str, names: Mapping[str, object]) -> str:
    names = {name: count for name, count in names.items() if name}
    if not names:
        return "it has none at all"
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    shown = sorted(names)[:NAMES_SHOWN]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{hint}it has {', '.join(shown)}{more}"
