"""Between which values a metric lies: an interval of its mean does not reach beyond them."""

from __future__ import annotations

import numpy as np

from whence.stats.many_over_seeds import Floats

SHARES = ("pr_auc", "residual_pr_auc", "top_", "brier", "correct", "acc_flip_rate", "error_rate")
CORRELATIONS = ("spearman", "residual_spearman")


def bounds(metric: str, values: Floats) -> tuple[float, float]:
    """Lowest and highest value of a metric: known by its name, if no value speaks against it, or
    because all of `values` are right or wrong (1 or 0); else infinite."""
    known = values[~np.isnan(values)]
    if not known.size:
        return -np.inf, np.inf
    lowest, highest = known.min(), known.max()
    # Rank correlations may be a rounding above 1.
    if metric.startswith(CORRELATIONS) and max(-lowest, highest) < 1 + 1e-9:
        return -1.0, 1.0
    share = metric.startswith(SHARES) and lowest >= 0 and highest < 1 + 1e-9
    if share or np.isin(known, (0.0, 1.0)).all():
        return 0.0, 1.0
    return -np.inf, np.inf
