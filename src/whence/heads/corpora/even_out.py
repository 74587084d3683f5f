"""Rows in which every answer is equally frequent.

Where one answer is more common than another, a head that pushes the common one for any prompt looks
like a head that answers. Two ways out:

- **Take rows away.** Rows are put into classes (by answer, by direction target → foil, or by answer
  within each truth value) and every class is cut to the size of the smallest. Within a class rows
  are drawn so that as many distinct clean prompts as can be remain, because those are the unit of
  every interval.
- **Add mirrored rows**, where one answer is all there is to take from: in the negation and logic
  corpora of the earlier lab every target is " true". The mirror of a row asks its corrupt prompt:
  clean ↔ corrupt, target ↔ foil. This is right exactly if the corrupt prompt's answer *is* the foil
  ("All dogs are not mammals" → " false"). That is how a corpus is defined, but a foil may also have
  been any wrong word; look at a few rows before `--by mirror`. Where the corpus itself can tell, it
  is asked: a row whose prompt has another answer elsewhere is left out, and so is its mirror.
  A mirrored row carries `"mirrored": true` in place of the row's other keys, which describe its
  first prompt. Row and mirror go into one part of the split (see `group_rows`), so that each part
  is balanced.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from whence.errors import BadInput
from whence.heads.corpora.faults import answers_of, conflicting, content, repeats, same_answers
from whence.heads.corpora.rows import Row

By = Literal["auto", "answer", "direction", "truth", "mirror"]


@dataclass(frozen=True)
class Balanced:
    """rows: of the new corpus. dropped: reason → indices of old rows. added: mirrored rows."""

    by: By
    rows: list[Row]
    dropped: dict[str, list[int]]
    added: int


def even_out(
    rows: Sequence[Row],
    by: By = "auto",
    *,
    seed: int = 0,
    at_least: int = 1,
    truth_field: str = "truth",
    where: Callable[[Row], str] = lambda row: f"row {row.index}",
) -> Balanced:
    """Drop rows given before and rows with target = foil, then make the answers equally frequent.

    by "auto": mirror where one target is all there is, else answer. at_least: classes with fewer
    rows are left out. where: what an error calls a row.

    Raises BadInput at a row without what `by` needs: a truth value, a corrupt prompt.
    """
    again = set(repeats(rows, content))
    dropped = {
        "given before": [rows[at].index for at in sorted(again)],
        "target = foil": [
            row.index for at, row in enumerate(rows) if at not in again and same_answers(row)
        ],
    }
    left = [row for at, row in enumerate(rows) if at not in again and not same_answers(row)]
    if by == "auto":
        by = "mirror" if len({row.target for row in left}) == 1 else "answer"
    if by == "mirror":
        kept, added, unfit = _mirrored(left, where)
        return Balanced(by, kept, dropped | unfit, added)
    kept, why = _thinned(left, _class_of(by, truth_field, where), seed, at_least)
    return Balanced(by, kept, dropped | why, 0)


def _class_of(by: By, truth_field: str, where: Callable[[Row], str]) -> Callable[[Row], Any]:
    def truth(row: Row) -> tuple[bool, str]:
        value = row.extra.get(truth_field)
        if not isinstance(value, bool):
            raise BadInput(
                f'{where(row)}: "{truth_field}" is {value!r}, true or false was expected for '
                "--by truth; name the key with --truth-field, or balance by answer"
            )
        return value, row.target

    if by == "truth":
        return truth
    if by == "direction":
        return lambda row: (row.target, row.foil)
    return lambda row: row.target


def _thinned(
    rows: Sequence[Row], class_of: Callable[[Row], Any], seed: int, at_least: int
) -> tuple[list[Row], dict[str, list[int]]]:
    """Cut every class to the smallest one that has `at_least` rows."""
    classes: dict[Any, list[Row]] = {}
    for row in rows:
        classes.setdefault(class_of(row), []).append(row)
    rare = [found for found in classes.values() if len(found) < at_least]
    common = {key: found for key, found in classes.items() if len(found) >= at_least}
    size = min(map(len, common.values()), default=0)
    rng = random.Random(f"whence.heads.corpora.balance:{seed}")
    kept = [row for key in sorted(common) for row in _spread(common[key], rng)[:size]]
    kept.sort(key=lambda row: row.index)
    taken = {row.index for row in kept} | {row.index for found in rare for row in found}
    return kept, {
        "in a class that is too rare": sorted(row.index for found in rare for row in found),
        "in a class that is too common": [row.index for row in rows if row.index not in taken],
    }


def _spread(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """Rows in random order, but every prompt's first row before any prompt's second."""
    shuffled = list(rows)
    rng.shuffle(shuffled)
    times: dict[str, int] = {}
    turns = []
    for row in shuffled:
        turns.append(times.get(row.clean, 0))
        times[row.clean] = turns[-1] + 1
    order = sorted(range(len(shuffled)), key=turns.__getitem__)
    return [shuffled[at] for at in order]


def _mirrored(
    rows: Sequence[Row], where: Callable[[Row], str]
) -> tuple[list[Row], int, dict[str, list[int]]]:
    """Every row followed by its mirror, unless the mirror is a row already."""
    answers = answers_of(rows)
    present = {content(row) for row in rows}
    kept: list[Row] = []
    unfit: dict[str, list[int]] = {"clean = corrupt": [], "prompt has another answer elsewhere": []}
    added = 0
    for row in rows:
        if row.corrupt is None:
            raise BadInput(
                f"{where(row)}: has no corrupt prompt, so the row has no mirror; "
                "balance by answer, direction or truth"
            )
        if row.clean == row.corrupt:
            unfit["clean = corrupt"].append(row.index)
        elif conflicting(row, answers):
            unfit["prompt has another answer elsewhere"].append(row.index)
        else:
            mirror = replace(
                row, clean=row.corrupt, corrupt=row.clean, target=row.foil, foil=row.target,
                extra={"mirrored": True},
            )  # fmt: skip
            kept.append(row)
            if content(mirror) not in present:
                present.add(content(mirror))
                kept.append(mirror)
                added += 1
    return kept, added, unfit
