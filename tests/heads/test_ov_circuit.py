"""The OV circuit against the whole d_model × vocab matrix, which small models allow."""

from __future__ import annotations

import pytest
import torch
import zoo

from whence.heads.ov import circuit as module
from whence.heads.ov.circuit import ov_circuit, project
from whence.models.anatomy import find_anatomy
from whence.models.replay import Replay
from whence.models.value_weights import head_weights


@pytest.mark.parametrize("piece", [50, 16_384])
@pytest.mark.parametrize("name", ["gpt2", "gemma3", "falcon_new"])
def test_against_the_whole_matrix(name: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    anatomy = find_anatomy(zoo.make(name))
    weights = head_weights(Replay(anatomy), 2)
    unembedding, embedding = (m.weight.detach() for m in (anatomy.unembedding, anatomy.embed))
    found = ov_circuit(weights, 3, unembedding, embedding, 4)
    whole = weights.w_v[3].double() @ weights.w_o[3].double() @ unembedding.T.double()
    left, sigma, right = torch.linalg.svd(whole, full_matrices=False)
    sigma = sigma[: anatomy.d_head]
    torch.testing.assert_close(found.singular_values.double(), sigma, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        found.shares.double(), sigma[:4] ** 2 / (sigma**2).sum(), atol=1e-6, rtol=1e-5
    )
    for at in range(4):
        sign = 1 if right[at].max() > -right[at].min() else -1
        close = {"atol": 2e-4, "rtol": 1e-3}
        torch.testing.assert_close(found.reading[at].double(), sign * left[:, at], **close)
        torch.testing.assert_close(found.logits[at].double(), sign * sigma[at] * right[at], **close)
        assert found.logits[at].max() >= -found.logits[at].min()
    torch.testing.assert_close(found.writing @ unembedding.T, found.logits, atol=1e-4, rtol=1e-4)
    eigenvalues = torch.linalg.eigvals(embedding.double() @ whole)
    copying = float(eigenvalues.real.sum() / eigenvalues.abs().sum())
    assert found.copying == pytest.approx(copying, abs=1e-5)
    large = eigenvalues[eigenvalues.abs() > 1e-6 * eigenvalues.abs().max()]
    assert len(large) == anatomy.d_head
    assert found.copying_positive == pytest.approx(float((large.real > 0).double().mean()))


def test_an_embedding_of_another_width_has_no_copying_score() -> None:
    anatomy = find_anatomy(zoo.make("llama"))
    weights = head_weights(Replay(anatomy), 0)
    narrow = anatomy.embed.weight[:, :8]
    found = ov_circuit(weights, 0, anatomy.unembedding.weight, narrow, 0)
    assert (found.copying, found.copying_positive) == (None, None)
    assert found.logits.shape == (0, zoo.VOCABULARY)


def test_projecting_in_pieces_is_projecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 7)
    draw = torch.Generator().manual_seed(0)
    matrix, vectors = torch.randn(20, 5, generator=draw), torch.randn(3, 5, generator=draw)
    torch.testing.assert_close(
        project(vectors, matrix.bfloat16()), vectors @ matrix.bfloat16().T.float()
    )
