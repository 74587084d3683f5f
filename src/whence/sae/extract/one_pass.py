"""One pass of the model over some rows, for all SAEs at once, each token encoded where it arises.

The pass stops behind the deepest site and computes no logits. A site's value is encoded while the
block that made it is still running, in chunks of tokens, so that of [tokens, d_sae] only one chunk
is ever there; padding is dropped before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput, WhenceError
from whence.models.batching import attention_mask, pad, run_batches, token_batches
from whence.models.capture import reading, run_decoder, stopping
from whence.models.trace import device_of_ids
from whence.sae.extract.fit import Fit, fit_of, together
from whence.sae.extract.reduce import RowFeatures, RowReduction, active_entries
from whence.sae.load import LoadedSae, sae_input
from whence.sae.rows import TokenRow

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy
    from whence.models.sites import Site

CHUNK_BYTES = 192 * 2**20
BYTES_AN_ENTRY = 20
"""Of one entry of [tokens, d_sae] while a chunk is encoded: what is before and behind the
activation function, its mask, and what SAELens puts between them, float32."""


ADVICE = "lower --max-tokens, or use a smaller model or another --device"


@dataclass(frozen=True)
class Counting:
    """active: a > threshold. count_bos: whether leading BOS tokens are tokens of the row."""

    threshold: float = 0.0
    count_bos: bool = True

    def skipped(self, row: TokenRow) -> int:
        """Tokens at the row's start that are not counted."""
        return 0 if self.count_bos else row.bos


@dataclass
class Reduced:
    """What one SAE leaves of some rows, by their places. fits: of rows that were looked at."""

    rows: dict[int, RowFeatures] = field(default_factory=dict)
    fits: dict[int, Fit] = field(default_factory=dict)


def check_counted(rows: Sequence[TokenRow], counting: Counting) -> None:
    """Raise BadInput for a row of which no token is counted."""
    for row in rows:
        if counting.skipped(row) >= len(row.ids):
            raise BadInput(
                f"row {row.row_id}: it has no token but BOS, and that is not counted; use "
                "--count-bos, or leave the row out"
            )


def reduce_rows(
    anatomy: Anatomy,
    saes: Sequence[LoadedSae],
    rows: Sequence[TokenRow],
    counting: Counting,
    *,
    looked_at: Collection[int],
    batch_tokens: int,
    advance: Callable[[int], None] = lambda _rows: None,
) -> dict[str, Reduced]:
    """What every SAE leaves of every row, by sae_id.

    looked_at: rows of which the reconstruction is judged. advance: told how many rows are done.
    Raises WhenceError, naming row and site or SAE, where numbers are not finite and where a single
    row does not fit in memory.
    """
    import torch

    sites = list(dict.fromkeys(sae.site for sae in saes))
    last = max(site.ready_after(anatomy.n_layers) for site in sites)
    device = device_of_ids(anatomy.embed)
    dtype = str(next(anatomy.model.parameters()).dtype).removeprefix("torch.")
    found = {sae.sae_id: Reduced() for sae in saes}

    def run(places: Sequence[int]) -> dict[str, Reduced]:
        ids = [rows[at].ids for at in places]
        batch = _Batch([rows[at] for at in places], places, counting, looked_at, dtype)
        counted = batch.counted().bool()
        done: dict[str, Reduced] = {}

        def keep(site: Site, value: Tensor) -> None:
            tokens = value[counted.to(value.device)]
            batch.need_finite(tokens, f"the activations at {site.name}")
            for sae in saes:
                if sae.site == site:
                    done[sae.sae_id] = _reduced(sae, tokens, batch, counting)

        with torch.no_grad(), reading(anatomy, sites, {}, keep), stopping(anatomy, last):
            run_decoder(anatomy, pad(ids, 0).to(device), attention_mask(ids).to(device))
        return done

    batches = token_batches([len(row.ids) for row in rows], batch_tokens)
    for batch, done in run_batches(batches, run, ADVICE):
        for sae_id, reduced in done.items():
            found[sae_id].rows.update(reduced.rows)
            found[sae_id].fits.update(reduced.fits)
        advance(len(batch))
    return found


def _reduced(sae: LoadedSae, tokens: Tensor, batch: _Batch, counting: Counting) -> Reduced:
    """tokens: [counted tokens of all rows of the batch, …], row after row."""
    import torch

    reduced = Reduced()
    unfinished: dict[int, RowReduction] = {}
    fits: dict[int, list[Fit]] = {}
    at_once = max(1, CHUNK_BYTES // (BYTES_AN_ENTRY * sae.d_sae))
    for first in range(0, len(tokens), at_once):
        read = sae_input(sae, tokens[first : first + at_once])
        activations = sae.sae.encode(read)
        # They are 0 or more, so that their sum is finite where each of them is.
        if not bool(activations.sum(dtype=torch.float32).isfinite()):
            batch.need_finite(activations, f'the features of SAE "{sae.sae_id}"', first)
        for start, stop, (token, feature, value) in active_entries(activations, counting.threshold):
            for at, a, b in batch.pieces(first + start, first + stop):
                offset = a - first - start
                low, high = np.searchsorted(token, [offset, offset + b - a])
                row = unfinished.setdefault(at, RowReduction(sae.d_sae))
                row.add(b - a, (token[low:high] - offset, feature[low:high], value[low:high]))
                if b == batch.ends[at]:
                    reduced.rows[batch.places[at]] = unfinished.pop(at).finish()
        if looked := list(batch.pieces_looked_at(first, first + len(read))):
            # All of the chunk: SAELens keeps the norms of what it encoded last.
            rebuilt = sae.sae.decode(activations)
            for at, a, b in looked:
                here = slice(a - first, b - first)
                active = int((activations[here] > counting.threshold).count_nonzero())
                fit = fit_of(_on_host(read[here]), _on_host(rebuilt[here]), active)
                fits.setdefault(batch.places[at], []).append(fit)
    for place, parts in fits.items():
        if (whole := together(parts)) is not None:
            reduced.fits[place] = whole
    return reduced


def _on_host(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.cpu().double().numpy()
    return array


class _Batch:
    """Whose the counted tokens of a batch are, laid one row behind the other."""

    def __init__(
        self,
        rows: Sequence[TokenRow],
        places: Sequence[int],
        counting: Counting,
        looked_at: Collection[int],
        dtype: str,
    ) -> None:
        self.rows, self.places, self.dtype = rows, places, dtype
        self.skipped = [counting.skipped(row) for row in rows]
        lengths = [len(row.ids) - skip for row, skip in zip(rows, self.skipped, strict=True)]
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths
        self.looked_at = [place in looked_at for place in places]

    def counted(self) -> Tensor:
        """1 at counted tokens, int64 [rows, longest], padded on the right."""
        lengths = (self.ends - self.starts).tolist()
        return pad([[0] * skip + [1] * n for skip, n in zip(self.skipped, lengths, strict=True)], 0)

    def pieces(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Rows that have tokens in first … stop − 1, and which: (row, first, behind the last)."""
        at = int(np.searchsorted(self.ends, first, side="right"))
        while at < len(self.rows) and self.starts[at] < stop:
            yield at, max(first, int(self.starts[at])), min(stop, int(self.ends[at]))
            at += 1

    def pieces_looked_at(self, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The same of rows whose reconstruction is judged, without BOS."""
        for at, a, b in self.pieces(first, stop):
            a = max(a, int(self.starts[at]) + self.rows[at].bos - self.skipped[at])
            if self.looked_at[at] and a < b:
                yield at, a, b

    def need_finite(self, values: Tensor, what: str, first: int = 0) -> None:
        """values: [tokens, …], the first of which is token `first`.

        Raises WhenceError naming the first row with a number that is not finite, if there is one.
        """
        finite = values.isfinite()
        if bool(finite.all()):
            return
        bad = first + int((~finite).flatten(1).any(dim=1).nonzero()[0])
        at = int(np.searchsorted(self.ends, bad, side="right"))
        better = "bfloat16 or float32" if self.dtype == "float16" else "float32"
        remedy = (
            "check the weights of model and SAE"
            if self.dtype == "float32"
            else f"use --dtype {better}"
        )
        raise WhenceError(
            f"row {self.rows[at].row_id}: {what} are not finite when the model computes in "
            f"{self.dtype}; {remedy}"
        )
