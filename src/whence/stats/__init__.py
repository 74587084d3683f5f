"""The house's court: paired differences, their intervals, and verdicts in plain words (DESIGN §4).

Imports NumPy only; SciPy and pandas load when a function first needs them.
"""

from whence.stats.hierarchical import Spread, hierarchical_bootstrap, spread
from whence.stats.intervals import Interval, NoInterval, cluster_bootstrap
from whence.stats.multiplicity import benjamini_hochberg
from whence.stats.paired import PairedDifference, mcnemar_exact, paired_difference
from whence.stats.power import (
    minimum_detectable_effect,
    minimum_detectable_over_seeds,
    seeds_needed,
)
from whence.stats.ranking import RankStatistic, overlap_at_k, precision_at_k, spearman
from whence.stats.verdict import Comparison, arm_means, compare, verdicts

__all__ = [
    "Comparison",
    "Interval",
    "NoInterval",
    "PairedDifference",
    "RankStatistic",
    "Spread",
    "arm_means",
    "benjamini_hochberg",
    "cluster_bootstrap",
    "compare",
    "hierarchical_bootstrap",
    "mcnemar_exact",
    "minimum_detectable_effect",
    "minimum_detectable_over_seeds",
    "overlap_at_k",
    "paired_difference",
    "precision_at_k",
    "seeds_needed",
    "spearman",
    "spread",
    "verdicts",
]
