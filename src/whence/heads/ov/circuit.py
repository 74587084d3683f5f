"""The OV circuit of a head from its weights alone: W_V W_O W_U, and whether it copies.

For what attention reads, x [d_model] (after its norm), the head adds x W_V W_O W_U [vocab] to the
logits wherever it looks, norms left out. That matrix has d_model × vocab entries but rank d_head at
most, so it is never formed: with W_V = Q R (QR) and G = (W_O W_U)(W_O W_U)ᵀ summed over pieces of
the vocabulary, R G Rᵀ = E Λ Eᵀ is [d_head, d_head], and

    singular values √Λ      left vectors Q E      right vectors (W_O W_U)ᵀ Rᵀ E / √Λ

Copying (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"): eigenvalues λ of
W_E W_V W_O W_U, those of the small matrix (W_O W_U)(W_E W_V); the score Σλ / Σ|λ| is 1 where every
token raises itself and −1 where every token lowers itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.value_weights import HeadWeights

PIECE = 16_384
"""Tokens whose rows are multiplied at a time."""

_NOTHING = 1e-5
"""Share of the largest singular value below which a direction is rounding."""


@dataclass(frozen=True)
class Circuit:
    """The directions of one head, strongest first, on the CPU.

    singular_values: all that are not nothing. shares [k]: each σ² over Σσ². reading [k, d_model]:
    unit vectors; writing [k, d_model]: what the head writes for each; logits [k, vocab]: what that
    does to the logits, of length σ. The sign of a direction is that which makes its largest
    logit positive. copying: Σλ / Σ|λ|, copying_positive: share of λ with a positive real part; None
    where embedding and residual stream have different widths.
    """

    singular_values: Tensor
    shares: Tensor
    reading: Tensor
    writing: Tensor
    logits: Tensor
    copying: float | None
    copying_positive: float | None


def ov_circuit(
    weights: HeadWeights, head: int, unembedding: Tensor, embedding: Tensor, directions: int
) -> Circuit:
    """The strongest `directions` of a head. unembedding, embedding: [vocab, d_model]."""
    import torch

    w_v, w_o = weights.w_v[head], weights.w_o[head]
    embeds = embedding.shape[1] == w_v.shape[0]
    d_head = w_v.shape[1]
    gram, cycle = (torch.zeros(d_head, d_head, dtype=torch.float64) for _ in range(2))
    for at, rows in pieces(unembedding):
        written = (rows @ w_o.T).cpu().double()
        gram += written.T @ written
        if embeds:
            read = (embedding[at].detach().float() @ w_v).cpu().double()
            cycle += written[: len(read)].T @ read  # one of the two matrices may be padded
    q, r = torch.linalg.qr(w_v.cpu().double())
    values, vectors = torch.linalg.eigh(r @ gram @ r.T)
    sigma = values.clamp(min=0).sqrt().flip(0)
    kept = sigma[sigma > _NOTHING * sigma[0]] if sigma[0] > 0 else sigma[:0]
    k = min(directions, len(kept))
    reading = (q @ vectors.flip(1)[:, :k]).T
    writing = reading @ w_v.cpu().double() @ w_o.cpu().double()
    logits = project(writing.float(), unembedding)
    sign = torch.ones(k, 1)
    for row in range(k):
        sign[row] = 1 if logits[row].max() >= -logits[row].min() else -1
    score, positive = _copying(torch.linalg.eigvals(cycle)) if embeds else (None, None)
    return Circuit(
        singular_values=kept.float(),
        shares=(kept.square() / sigma.square().sum())[:k].float(),
        reading=(reading.float() * sign).contiguous(),
        writing=(writing.float() * sign).contiguous(),
        logits=logits * sign,
        copying=score,
        copying_positive=positive,
    )


def project(vectors: Tensor, unembedding: Tensor) -> Tensor:
    """vectors [n, d_model] @ W_U → [n, vocab], float32 on the CPU, piece by piece."""
    import torch

    vectors = vectors.to(unembedding.device)
    return torch.cat([(vectors @ rows.T).cpu() for _, rows in pieces(unembedding)], dim=1)


def pieces(matrix: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of a matrix [vocab, d_model] in float32, some at a time."""
    for start in range(0, len(matrix), PIECE):
        at = slice(start, min(start + PIECE, len(matrix)))
        yield at, matrix[at].detach().float()


def _copying(eigenvalues: Tensor) -> tuple[float | None, float | None]:
    total = float(eigenvalues.abs().sum())
    if not total:
        return None, None
    large = eigenvalues[eigenvalues.abs() > _NOTHING * eigenvalues.abs().max()]
    return float(eigenvalues.real.sum()) / total, float((large.real > 0).double().mean())
