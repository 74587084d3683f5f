"""The activation of some features at every token of some rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.errors import WhenceError
from whence.models.batching import attention_mask, pad, run_batches, token_batches
from whence.models.capture import reading, run_decoder, stopping
from whence.sae.load import LoadedSae, check_fits, encode

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy
    from whence.models.sites import Site


def strengths(
    anatomy: Anatomy,
    ids: Sequence[Sequence[int]],
    wanted: Mapping[str, Sequence[int]],
    saes: Sequence[LoadedSae],
    *,
    batch_tokens: int,
) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
    """Each row's activations, {sae_id: float32 [tokens, features asked for]}, longest rows first.

    ids: token ids a row. wanted: sae_id → features, in the order of the columns. The model runs
    once for all SAEs and stops after the deepest. Raises BadInput where an SAE does not fit the
    model, WhenceError where activations are not finite.
    """
    import torch

    for sae in saes:
        check_fits(sae, anatomy)
    last = max(sae.site.ready_after(anatomy.n_layers) for sae in saes)
    device = anatomy.embed.weight.device
    found: dict[int, dict[str, NDArray[np.float32]]] = {}

    def run(batch: Sequence[int]) -> None:
        rows = [ids[at] for at in batch]
        mask = attention_mask(rows)

        def keep(site: Site, value: Tensor) -> None:
            for sae in saes:
                if sae.site != site:
                    continue
                columns = torch.as_tensor(wanted[sae.sae_id], device=value.device)
                for at, row in enumerate(batch):
                    acts = encode(sae, value[at, : len(ids[row])])[:, columns]
                    found.setdefault(row, {})[sae.sae_id] = acts.float().cpu().numpy()

        with (
            torch.no_grad(),
            reading(anatomy, list({sae.site: None for sae in saes}), {}, keep),
            stopping(anatomy, last),
        ):
            run_decoder(anatomy, pad(rows, 0).to(device), mask.to(device))

    for batch, _ in run_batches(token_batches([len(row) for row in ids], batch_tokens), run):
        for row in batch:
            arrays = found.pop(row)
            for sae_id, array in arrays.items():
                if not np.isfinite(array).all():
                    raise WhenceError(
                        f"row {row}: activations of {sae_id} are not finite; --dtype float32"
                    )
            yield row, arrays
