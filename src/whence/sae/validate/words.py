"""What a validation found, in words: the verdict first, then what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whence.sae.validate.measures import ATTRIBUTION, OUT_OF_FOLD, PREDICTED
from whence.sae.validate.verdict import Orthogonality, beyond, orthogonality
from whence.sae.written import interval, number

Told = Mapping[str, Any]
"""What `validation.json` holds."""

COLUMNS = ("field", "rows", "predicted", "q", "attribution", "q")


def verdict(
    side: Told, reward: str, margin: float, arm: str, of: str = "the prediction"
) -> Orthogonality | None:
    """The verdict on one arm, None where the rows have no reward or the arm is not there."""
    found = next(
        (c for c in side["correlations"] if c["arm"] == arm and c["field"] == reward), None
    )
    if found is None:
        return None
    return orthogonality(
        found["value"],
        found["interval"],
        margin,
        rows=found["rows"],
        of=of,
        to=reward,
        reason=found["reason"],
    )


def said_beyond(side: Told, reward: str) -> str | None:
    """Whether the prediction knows of attribution what the reward does not; None if not asked."""
    found = next((each for each in side["partial"] if each["given"] == [reward]), None)
    if found is None:
        return None
    return beyond(found["value"], found["interval"], to=reward, reason=found["reason"])


def headline(told: Told) -> str:
    """The verdict, and what the prediction knows beyond the reward."""
    return " ".join(f"{sentence}." for sentence in told["verdict"]["sentences"])


def sentences(measured: Mapping[str, Told], on: str, reward: str, margin: float) -> list[str]:
    """Is the prediction orthogonal to the reward, is attribution, and what does it know beyond?

    measured: side → what was measured; on: the side that judges.
    """
    side = measured[on]
    ours = verdict(side, reward, margin, PREDICTED)
    if ours is None:
        return [f"Whether it is orthogonal to {reward} cannot be asked: no row has it"]
    theirs = verdict(side, reward, margin, ATTRIBUTION, "attribution itself")
    said = [ours.sentence, theirs.sentence if theirs else None, said_beyond(side, reward)]
    if on != OUT_OF_FOLD and OUT_OF_FOLD in measured:
        more = verdict(
            measured[OUT_OF_FOLD], reward, margin, PREDICTED, "the prediction out of fold"
        )
        said.append(more.sentence if more else None)
    return [each for each in said if each]


def cautions(told: Told) -> list[str]:
    """What a reader should know before believing it, a sentence each."""
    side = told[told["on"]]
    said = []
    if side["in_sample_rows"]:
        said.append(
            f"{side['in_sample_rows']:,} of these {side['rows']:,} rows are among those that the "
            "predictor was fitted on, so what it has to do with attribution is too high."
        )
    elif told["part_unknown"]:
        said.append(
            "The predictions do not say which rows were fitted on; all are taken to be held out."
        )
    if told["target_column"] is None:
        said.append("Without the attribution itself nothing is said of what is predicted beyond.")
    said += [
        f"{name} is left out: {reason}."
        for name, reason in told["skipped"].items()
        if name != told["reward_field"]  # the verdict says that already
    ]
    for name, field in told["fields"].items():
        if field["unknown"]:
            words = ", ".join(f'"{word}" ({rows:,})' for word, rows in field["unknown"].items())
            said.append(f"{name}: words of no scale count as missing: {words}.")
    for each in side["categories"]:
        if each["arm"] == PREDICTED and each.get("shuffled") == "rows" and told["grouped"]:
            said.append(
                f"{each['field']} differs within groups, so its p takes rows for independent."
            )
    return said


def table(side: Told) -> Sequence[Sequence[str]]:
    """`COLUMNS` of every field, and of what is predicted, given and not."""
    rows = []
    entries = [*side["correlations"], *side["categories"]]
    for field in dict.fromkeys(each["field"] for each in entries):
        own = {each["arm"]: each for each in entries if each["field"] == field}
        kind = " (η²)" if "eta_squared" in own[PREDICTED] else ""
        rows.append(
            (
                f"{field}{kind}",
                f"{own[PREDICTED]['rows']:,}",
                *(cell for arm in (PREDICTED, ATTRIBUTION) for cell in _cells(own.get(arm))),
            )
        )
    for each in side["partial"]:
        given = f" given {' and '.join(each['given'])}" if each["given"] else ""
        rows.append((f"attribution{given}", f"{each['rows']:,}", *_cells(each), "", ""))
    return rows


def _cells(found: Told | None) -> tuple[str, str]:
    if found is None:
        return "–", "–"
    value = found["eta_squared"] if "eta_squared" in found else found["value"]
    if value is None:
        return found["reason"], "–"
    beside = interval(found.get("interval"))
    if "eta_squared" in found and found["chance"] is not None:
        beside = f" (chance {number(found['chance'])})"
    return number(value) + beside, "–" if found["q"] is None else f"{found['q']:.2g}"
