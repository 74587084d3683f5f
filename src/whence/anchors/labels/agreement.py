"""Published against recomputed, sentence by sentence and importance by importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whence.anchors.labels.names import IMPORTANCES
from whence.anchors.labels.recompute import Measured
from whence.anchors.rollouts.problem import Problem

if TYPE_CHECKING:
    import pandas as pd


def table_of(
    problem: Problem, published: Sequence[Measured], recomputed: Sequence[Measured]
) -> pd.DataFrame:
    """One row a sentence and importance: both values, and why one of ours is missing."""
    import pandas as pd

    rows = [
        {
            "problem_id": problem.problem_id,
            "chunk_idx": sentence.number,
            "importance": name,
            "published": theirs.values[name],
            "recomputed": ours.values[name],
            "missing": ours.why.get(name),
        }
        for sentence, theirs, ours in zip(problem.sentences, published, recomputed, strict=True)
        for name in IMPORTANCES
    ]
    frame = pd.DataFrame(rows)
    frame["difference"] = frame["recomputed"] - frame["published"]
    frame["missing"] = frame["missing"].astype("string")
    return frame


def compare(table: pd.DataFrame, tolerances: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Importance → how far published and recomputed are apart, and whether that is too far.

    mean, largest: of the absolute difference over sentences that have both, None where none has.
    `number_there_missing_here` counts what was published as a number other than 0 and cannot be
    recomputed. A judged importance that cannot be compared at all is "not compared".
    """
    found: dict[str, dict[str, Any]] = {}
    for name in IMPORTANCES:
        own = table[table["importance"] == name]
        apart = own["difference"].abs().dropna()
        only_theirs = own[own["recomputed"].isna() & own["published"].notna()]
        mean = float(apart.mean()) if len(apart) else None
        verdict = "not judged"
        if name in tolerances and len(apart):
            verdict = "agrees" if float(apart.mean()) <= tolerances[name] else "differs"
        elif name in tolerances:
            verdict = "not compared"
        found[name] = {
            "compared": len(apart),
            "mean": mean,
            "largest": float(apart.max()) if len(apart) else None,
            "zero_there_missing_here": int((only_theirs["published"] == 0).sum()),
            "number_there_missing_here": int((only_theirs["published"] != 0).sum()),
            "verdict": verdict,
        }
    return found
