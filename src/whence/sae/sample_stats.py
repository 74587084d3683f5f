"""The ten statistics of a row's SAE activations: their names and what they are.

a[t, j] is the activation of feature j at counted token t, T tokens and F features; an entry is
*active* where a > the activation threshold; c[t] counts the active features of token t, k[j] the
active tokens of feature j. Standard deviations are population ones (divided by their count).

    seq_len                    T
    active_entry_fraction      active entries / (T · F)
    active_feature_fraction    features active at any token / F
    mean_active_activation     mean of a over active entries; 0 where there are none
    std_active_activation      standard deviation of a over active entries; 0 where there are none
    max_active_activation      largest active a; 0 where there are none
    token_active_mean          mean of c
    token_active_std           standard deviation of c
    token_active_cv            token_active_std / (token_active_mean + 1e-8)
    feature_concentration_hhi  Σ_j (k[j] / Σ k)², Herfindahl–Hirschman; 0 where nothing is active

Names and definitions are those of the earlier system (data-attribution guide, `sae_analysis.py`).
"""

from __future__ import annotations

SAMPLE_STATS = (
    "seq_len",
    "active_entry_fraction",
    "active_feature_fraction",
    "mean_active_activation",
    "std_active_activation",
    "max_active_activation",
    "token_active_mean",
    "token_active_std",
    "token_active_cv",
    "feature_concentration_hhi",
)
