"""Draw the rows of arms from a ranking and its pool."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.data.arms import Arm, target_of
from whence.data.matched import MatchedDraw, matched_random
from whence.data.splits import seeded
from whence.errors import BadInput
from whence.runs.manifest import Manifest
from whence.runs.ranking import ranked_ids, token_lengths

if TYPE_CHECKING:
    import pandas as pd

LENGTH_BINS = 5


@dataclass(frozen=True)
class Drawn:
    """The rows of one arm. `row_ids`: by rank for top, bottom and window, else ascending.

    A matched_random arm also has `of`, the arm that it is matched to, and `match`, how well.
    """

    arm: Arm
    row_ids: list[str]
    of: str | None = None
    match: MatchedDraw | None = None


def draw(
    arm: Arm,
    ranking: pd.DataFrame,
    pool: pd.DataFrame,
    seed: int,
    taken: Mapping[str, Sequence[str]] | None = None,
    *,
    match_on: Sequence[str] = (),
    allow_overlap: bool = False,
    rankings: Mapping[str, pd.DataFrame] | None = None,
) -> list[str]:
    """The row ids of one arm; see `draw_arms`.

    `taken` has the rows of arms drawn before (name → row ids): a matched_random arm takes its size
    and make-up from the one that its `of` names, or from the only one there is.
    """
    drawn = _draw(arm, ranking, rankings or {}, pool, seed, taken or {}, match_on, allow_overlap)
    return drawn.row_ids


def ranking_of(
    arm: Arm, ranking: pd.DataFrame, rankings: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """What an arm is drawn from: the one of `rankings` that its `by` names, or `ranking`.

    Raises BadInput where there is none of that name.
    """
    if arm.by is None:
        return ranking
    if arm.by not in rankings:
        raise BadInput(f"--arm {arm.spec}: no ranking {arm.by} is at hand")
    return rankings[arm.by]


def draw_arms(
    arms: Sequence[Arm],
    ranking: pd.DataFrame,
    pool: pd.DataFrame,
    seed: int,
    *,
    match_on: Sequence[str] = (),
    allow_overlap: bool = False,
    rankings: Mapping[str, pd.DataFrame] | None = None,
) -> dict[str, Drawn]:
    """Draw every arm, in the order given.

    ranking: `row_id` and `rank` (1 is best) or `score` (highest is best), one row per pool row, and
    `length_tokens` where known. rankings: the same by name, for arms with `by`. pool: `row_id`,
    `prompt`, `completion` and the `match_on` columns. Each random arm has its own stream under
    `seed`, keyed by its name, so adding an arm changes no other. allow_overlap: what `overlap=yes`
    says of one matched_random, said of all. Raises BadInput when an arm asks for more rows or ranks
    than there are, or for a ranking that is not among them.
    """
    kinds = {arm.name: arm.kind for arm in arms if arm.kind != "matched_random"}
    drawn: dict[str, Drawn] = {}
    for arm in sorted(arms, key=lambda arm: arm.kind == "matched_random"):
        taken = {}
        if arm.kind == "matched_random":
            target = target_of(arm, kinds)
            taken = {target: drawn[target].row_ids}
        drawn[arm.name] = _draw(
            arm, ranking, rankings or {}, pool, seed, taken, match_on, allow_overlap
        )
    return {arm.name: drawn[arm.name] for arm in arms}


def _draw(
    arm: Arm,
    ranking: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame],
    pool: pd.DataFrame,
    seed: int,
    taken: Mapping[str, Sequence[str]],
    match_on: Sequence[str],
    allow_overlap: bool,
) -> Drawn:
    if arm.kind == "full":
        return Drawn(arm, pool["row_id"].tolist())
    if arm.kind == "matched_random":
        if arm.of not in taken and len(taken) != 1:
            raise BadInput(f"--arm {arm.spec}: the arm to match is not among {', '.join(taken)}")
        target = str(arm.of) if arm.of in taken else next(iter(taken))
        lengths, _ = token_lengths(pool, ranking)
        match = matched_random(
            pool,
            taken[target],
            match_on=match_on,
            length_bins=LENGTH_BINS,
            seed=seed,
            allow_overlap=allow_overlap or arm.overlap,
            token_lengths=lengths,
            name=arm.name,
        )
        return Drawn(arm, match.row_ids, target, match)
    ranked = ranked_ids(ranking_of(arm, ranking, rankings))
    size, last = arm.size or 0, arm.last or 0
    if max(arm.after + size, last) > len(ranked):
        raise BadInput(
            f"--arm {arm.spec}: needs {max(arm.after + size, last)} ranked rows, "
            f"the pool has {len(ranked)}"
        )
    if arm.kind == "top":
        return Drawn(arm, ranked[:size])
    if arm.kind == "bottom":
        return Drawn(arm, ranked[-size:])
    if arm.kind == "window":
        return Drawn(arm, ranked[(arm.first or 1) - 1 : last])
    candidates = sorted(ranked[arm.after :])
    picks = seeded(seed, arm.name).choice(len(candidates), size=size, replace=False)
    return Drawn(arm, sorted(candidates[pick] for pick in picks))


def default_match_on(manifest: Manifest, columns: Collection[str]) -> tuple[str, ...]:
    """What matched random is matched on when nobody says: the columns the data was stratified by.

    Only those that the pool has, of which `columns` are the names.
    """
    policy = manifest.raw.get("split_policy")
    stratified = policy.get("stratify_by") if isinstance(policy, Mapping) else None
    return tuple(column for column in stratified or () if column in columns)
