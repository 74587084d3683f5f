"""What is said of an extraction: which model, how sparse each SAE is, whether it fits the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.sae.extract.fit import together

if TYPE_CHECKING:
    from whence.models.load import Loaded
    from whence.sae.extract.shards import Stored
    from whence.sae.load import LoadedSae

MOST_ACTIVE = 0.2
"""Share of features active at one token above which an SAE is not sparse, whatever it was."""
LEAST_L0 = 0.5


def model_facts(loaded: Loaded) -> dict[str, Any]:
    """Which model the rows went through, as summary.json has it."""
    return {
        "source": loaded.source,
        "revision": loaded.revision,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "adapter": None if loaded.adapter is None else str(loaded.adapter.absolute()),
    }


def layer_facts(sae: LoadedSae, shards: Iterable[Stored], file: str) -> dict[str, Any]:
    """One SAE's entry in summary.json.

    l0_mean is over counted tokens; `reconstruction` is of a sample of rows, without BOS: see
    `whence.sae.extract.fit`.
    """
    tokens = active = 0
    seen = np.zeros(sae.d_sae, dtype=np.bool_)
    fits = []
    for shard in shards:
        for row in shard.rows:
            tokens += row.tokens
            active += row.active_entries
            seen[row.ids] = True
        fits += shard.fits
    fit = together(fits)
    return {
        "sae_id": sae.sae_id,
        "release": sae.release,
        "path": None if sae.path is None else str(sae.path),
        "fingerprint": sae.fingerprint,
        "file": file,
        "hook_name": sae.hook_name,
        "site": sae.site.name,
        "layer": sae.site.layer,
        "architecture": sae.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "mean_centred": sae.centred,
        "neuronpedia_id": sae.neuronpedia_id,
        "tokens": tokens,
        "l0_mean": active / tokens,
        "reconstruction": {
            "rows": len(fits),
            "tokens": 0 if fit is None else fit.tokens,
            "l0_mean": None if fit is None else fit.l0,
            "explained_variance": None if fit is None else fit.explained_variance,
            "mse": None if fit is None else fit.mse,
        },
        "features_never_active": int((~seen).sum()),
    }


def doubts(layer: Mapping[str, Any]) -> list[str]:
    """Why an SAE, by its entry in summary.json, does not seem to be of the model; often none."""
    fit = layer["reconstruction"]
    explained, l0 = fit["explained_variance"], fit["l0_mean"]
    found = []
    if explained is not None and explained < 0:
        found.append(f"it rebuilds activations worse than their mean does ({percent(explained)})")
    if l0 is not None and l0 > MOST_ACTIVE * layer["d_sae"]:
        found.append(f"{l0:,.0f} of its {layer['d_sae']:,} features are active at a token")
    if l0 is not None and l0 < LEAST_L0:
        found.append(f"{l0:.2g} of its features are active at a token")
    if not found:
        return []
    return [f"SAE {layer['sae_id']} does not fit this model: {' and '.join(found)}"]


def percent(share: float | None) -> str:
    """A share of variance, for people."""
    return "unknown" if share is None else f"{100 * share:.1f} %"
