"""The house's court: is one arm better than its control, and could this design have told?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from whence.stats.hierarchical import hierarchical_bootstrap, over_clusters, spread
from whence.stats.intervals import CONFIDENCE, DRAWS
from whence.stats.multiplicity import benjamini_hochberg
from whence.stats.paired import mcnemar_exact
from whence.stats.pairing import Pairs, metric_values, pair, require_columns
from whence.stats.power import (
    minimum_detectable_effect,
    minimum_detectable_over_seeds,
    seeds_needed,
)
from whence.stats.sentence import sentence

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """One row of a verdict: the same twelve keys in every JSON that Whence writes.

    effect: mean of arm − control in the metric's unit, whatever its direction.
    interval: (low, high) or None; p, q: None without an interval.
    seeds, items: distinct seeds and distinct row_ids that were compared; 0 seeds where no seed
    changes either arm, so that the items are all there is to vary.
    minimum_detectable_effect: smallest |effect| this design finds with 80 % power; None without an
    interval. seeds_needed: seeds at which an effect of the observed size would be found with 80 %
    power; None with one seed or none (the spread between seeds is then unknown), with
    an effect of 0, or when no number of seeds on these items would do.
    """

    arm: str
    control: str
    metric: str
    effect: float
    interval: tuple[float, float] | None
    p: float | None
    q: float | None
    seeds: int
    items: int
    minimum_detectable_effect: float | None
    seeds_needed: int | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: plain numbers, interval as [low, high] or None."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"interval": None if self.interval is None else list(self.interval)}


def compare(
    items: pd.DataFrame,
    arm: str,
    control: str,
    metric: str,
    *,
    higher_is_better: bool = True,
    cluster: str = "row_id",
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Comparison:
    """Compare two arms; a table of its own, so q is p. See `verdicts`."""
    return verdicts(
        items,
        [(arm, control)],
        {metric: higher_is_better},
        cluster=cluster,
        draws=draws,
        confidence=confidence,
        seed=seed,
    )[0]


def verdicts(
    items: pd.DataFrame,
    pairs: Iterable[tuple[str, str]],
    metrics: Mapping[str, bool],
    *,
    cluster: str = "row_id",
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    leave_out_undefined: bool = False,
) -> list[Comparison]:
    """One Comparison per (arm, control) and metric, with q over the whole table.

    items: one row per arm, seed and item: columns `arm, seed, row_id`, the metrics, and `cluster`
    when items come in groups that are not independent. metrics: column → whether higher is better
    (`{"correct": True, "loss": False}`). leave_out_undefined: an item that has no such metric (NaN:
    the rank correlation of a constant) is no row of that metric; otherwise it is refused.

    - Pairing: on (seed, row_id) that both arms have; rows without a partner are left out and
      counted in the sentence. An arm whose `seed` is empty (None/NaN) throughout depends on no
      seed and is paired with every seed of the other. Where both arms are such, items alone are
      judged (`over_clusters`), seeds is 0, and more seeds are neither wanted nor missed.
    - Seeds that only repeat another seed's numbers in both arms are counted once.
    - Two seeds or more: `hierarchical_bootstrap` over seeds × clusters of items. One seed: items
      alone, p by exact McNemar for right/wrong metrics on single items (it may then disagree with
      the interval at the edge), and the sentence says that it is not a finding.

    Raises BadInput as `whence.stats.pairing.pair` says.
    """
    wanted = [(arm, control, metric) for arm, control in pairs for metric in metrics]
    return verdicts_of(
        items,
        wanted,
        metrics,
        cluster=cluster,
        draws=draws,
        confidence=confidence,
        seed=seed,
        leave_out_undefined=leave_out_undefined,
    )


def verdicts_of(
    items: pd.DataFrame,
    wanted: Iterable[tuple[str, str, str]],
    higher_is_better: Mapping[str, bool],
    *,
    cluster: str = "row_id",
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    leave_out_undefined: bool = False,
    noun: str = "item",
) -> list[Comparison]:
    """`verdicts` of these (arm, control, metric), for a table where not every pair has each metric.

    higher_is_better: of every metric that is asked for. noun: what sentences call a row_id.
    """
    drafts = [
        _draft(
            pair(items, arm, control, metric, cluster, leave_out_undefined=leave_out_undefined),
            (arm, control, metric),
            higher_is_better[metric],
            draws,
            confidence,
            seed,
        )
        for arm, control, metric in wanted
    ]
    q_values = benjamini_hochberg([draft.comparison.p for draft in drafts])
    return [
        _conclude(draft, q, confidence, noun) for draft, q in zip(drafts, q_values, strict=True)
    ]


def arm_means(items: pd.DataFrame, metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """arm → metric → mean over all of the arm's rows, arms in order of appearance.

    Raises BadInput for a missing column or a value that is not finite.
    """
    require_columns(items, ["arm", "seed", "row_id", *metrics])
    checked = items[["arm"]].assign(**{name: metric_values(items, name) for name in metrics})
    means = checked.groupby("arm", sort=False)[list(metrics)].mean()
    return {
        str(arm): {name: float(means.loc[arm, name]) for name in metrics} for arm in means.index
    }


@dataclass(frozen=True)
class _Draft:
    """A comparison before its table is known (no q, no sentence) and what its sentence needs."""

    comparison: Comparison
    higher_is_better: bool
    reason: str | None
    dropped: int
    repeats: int


def _draft(
    pairs: Pairs,
    names: tuple[str, str, str],
    higher_is_better: bool,
    draws: int,
    confidence: float,
    seed: int,
) -> _Draft:
    arm, control, metric = names
    totals, sizes = pairs.cells()
    judge = hierarchical_bootstrap if pairs.seeds else over_clusters
    difference = judge(totals, sizes, draws=draws, confidence=confidence, seed=seed)
    interval, p, error = difference.interval, difference.p, difference.standard_error
    detectable, needed = None, None
    if error is not None and pairs.seeds <= 1:
        detectable = minimum_detectable_effect(error, pairs.clusters - 1, confidence=confidence)
        if pairs.right_wrong and pairs.clusters == pairs.items:
            p = mcnemar_exact(pairs.arm, pairs.control)
    elif error is not None:
        variances = spread(totals, sizes)
        detectable = minimum_detectable_over_seeds(variances, confidence=confidence)
        needed = seeds_needed(difference.effect, variances, confidence=confidence)
    # A difference of two shares cannot leave [-1, 1], which Student's t does not know.
    bound = 1.0 if pairs.right_wrong else float("inf")
    comparison = Comparison(
        arm=arm,
        control=control,
        metric=metric,
        effect=difference.effect,
        interval=None
        if interval is None
        else (max(-bound, interval.low), min(bound, interval.high)),
        p=p,
        q=None,
        seeds=pairs.seeds,
        items=pairs.items,
        minimum_detectable_effect=detectable,
        seeds_needed=needed,
        sentence="",
    )
    return _Draft(comparison, higher_is_better, difference.reason, pairs.dropped, pairs.repeats)


def _conclude(draft: _Draft, q: float | None, confidence: float, noun: str) -> Comparison:
    known = replace(draft.comparison, q=q)
    said = sentence(
        known,
        higher_is_better=draft.higher_is_better,
        alpha=1 - confidence,
        reason=draft.reason,
        dropped=draft.dropped,
        repeats=draft.repeats,
        noun=noun,
    )
    return replace(known, sentence=said)
