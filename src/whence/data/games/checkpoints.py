"""What is on disk while games are played: finished games, requests, and a summary so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whence.data.games.journal import Journal
from whence.data.games.ledger import Ledger
from whence.data.games.records import cause_of, in_brief, training_row
from whence.data.games.schedule import Game
from whence.data.games.summary import summarize
from whence.data.games.tournament import PASSING_CAUSES
from whence.runs.jsonfile import write_json, write_jsonl

GAMES, ROWS, SUMMARY = "games.jsonl", "rows_wordguesser.jsonl", "summary.json"
ROWS_FOLDER = "rows_wordguesser_hf"
SUMMARY_SECONDS = 1.0
SUMMARY_SHARE = 20
"""Least time between two summaries of an unfinished run: a second, and twenty times what one costs,
so that long runs do not spend their time on them.
"""


class Books:
    """Keeps the games of one run. folder: its partial folder; scratch: what is not published.

    Opening the books of a run that was cut off takes its finished games over; those that failed by
    requests are taken out, to be played again.
    """

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        games: Sequence[Game],
        settings: Mapping[str, Any],
        *,
        most_requests: int,
        every: int,
    ) -> None:
        self.ledger = Ledger(scratch / "requests.tsv", most_requests)
        self.journal = Journal(folder / GAMES)
        self._folder, self._games, self._settings = folder, games, settings
        self._every, self._since, self._due, self._told = every, 0, 0.0, 0
        failed = [r["game_id"] for r in self.journal.read() if cause_of(r) in PASSING_CAUSES]
        if failed:
            self.journal.forget(failed)
        self._briefs = {record["game_id"]: in_brief(record) for record in self.journal.read()}
        self._write_summary(partial=True)

    @property
    def left(self) -> list[Game]:
        """Games that are still to be played, in the order of the schedule."""
        return [game for game in self._games if game.game_id not in self.journal]

    @property
    def finished(self) -> int:
        return len(self.journal)

    def enter(self, record: dict[str, Any]) -> None:
        """Keep a finished game; from time to time see that the disk holds it."""
        self.journal.append(record)
        self._briefs[record["game_id"]] = in_brief(record)
        self._since += 1
        if self._since >= self._every:
            self.journal.flush()
            self._since = 0
            if time.monotonic() >= self._due:
                self._write_summary(partial=True)

    def failed_wholly(self) -> dict[str, Any] | None:
        """A game's record, where every game failed by its requests; else None."""
        records = self.journal.read()
        first = next(records, None)
        if first is None or any(b["cause"] not in PASSING_CAUSES for b in self._briefs.values()):
            return None
        return first

    def finish(self, *, save_dataset: bool) -> None:
        """Write the finished run: games in the order of the schedule, rows, summary."""
        order = [game.game_id for game in self._games]
        self.journal.rewrite(order)
        self._briefs = {game_id: self._briefs[game_id] for game_id in order}
        rows = (training_row(record) for record in self.journal.read())
        write_jsonl(self._folder / ROWS, (row for row in rows if row is not None))
        if save_dataset:
            _save_dataset(self._folder / ROWS, self._folder / ROWS_FOLDER)
        self._write_summary(partial=False)

    def close(self) -> None:
        """Leave everything on disk as it is now."""
        self.journal.flush()
        if self._told != len(self._briefs):
            self._write_summary(partial=True)
        self.journal.close()
        self.ledger.close()

    def _write_summary(self, *, partial: bool) -> None:
        began = time.monotonic()
        content = summarize(
            list(self._briefs.values()),
            len(self._games),
            self.ledger,
            self._settings,
            partial=partial,
        )
        write_json(self._folder / SUMMARY, content)
        now = time.monotonic()
        self._due = now + max(SUMMARY_SECONDS, SUMMARY_SHARE * (now - began))
        self._told = len(self._briefs)


def _save_dataset(rows: Path, folder: Path) -> None:
    """The rows as a folder that `datasets.load_from_disk` and `data build --dataset-name` read."""
    import shutil

    from datasets import Dataset

    from whence.models.load import no_progress_bars
    from whence.runs.jsonfile import read_jsonl

    shutil.rmtree(folder, ignore_errors=True)  # what a kill left of an earlier attempt
    with no_progress_bars():
        Dataset.from_list(read_jsonl(rows)).save_to_disk(str(folder))
