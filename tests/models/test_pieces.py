"""A text in pieces is the text as a whole: hidden states, and patterns over all keys."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import zoo

from whence.errors import BadInput
from whence.models.anatomy import Anatomy, find_anatomy
from whence.models.capture import capture
from whence.models.pieces import Piece, eager, pieces, read_in_pieces
from whence.models.sites import Site

LENGTH = 23
IDS = torch.randint(3, zoo.VOCABULARY, (1, LENGTH), generator=torch.Generator().manual_seed(1))
NO_SWITCH = {"falcon", "falcon_new", "falcon_alibi"}


def in_pieces(anatomy: Anatomy, parts: list[Piece], layers: range) -> dict[Site, list[Any]]:
    found: dict[Site, list[Any]] = {}
    sites = [Site(kind, layer) for layer in layers for kind in ("resid_post", "pattern")]

    def keep(site: Site, value: torch.Tensor, piece: Piece) -> None:
        found.setdefault(site, []).append((piece, value.clone()))

    read_in_pieces(anatomy, IDS, parts, sites=sites, keep=keep)
    return found


@pytest.mark.parametrize(("name", "attention"), zoo.VARIANTS)
@pytest.mark.parametrize(("first", "size"), [(0, 5), (17, 3), (22, 64), (0, 64)])
def test_as_in_one_pass(name: str, attention: str, first: int, size: int) -> None:
    """Windows of sliding attention hold 4 tokens in the zoo; pieces cut through them."""
    anatomy = find_anatomy(zoo.make(name, attn_implementation=attention))
    if attention != "eager" and name in NO_SWITCH:
        pytest.skip("Transformers cannot change the attention of a loaded Falcon")
    layers = range(anatomy.n_layers)
    whole = capture(anatomy, IDS, sites=[f"blocks.{layer}.hook_resid_post" for layer in layers])
    alike = find_anatomy(zoo.make(name, attn_implementation="eager")).decoder
    with torch.no_grad():
        output = alike(input_ids=IDS, use_cache=False, output_attentions=True)
    parts = pieces(LENGTH, first, size)
    found = in_pieces(anatomy, parts, layers)
    assert anatomy.model.config._attn_implementation == attention
    for layer in layers:
        hidden = torch.cat([value for _, value in found[Site("resid_post", layer)]], dim=1)
        expected = whole[f"blocks.{layer}.hook_resid_post"]
        assert (hidden - expected).abs().max() <= 2e-6 * expected.abs().max()
        patterns = found[Site("pattern", layer)]
        assert [piece for piece, _ in patterns] == [part for part in parts if part.patterns]
        for piece, pattern in patterns:
            wanted = output.attentions[layer][:, :, piece.start : piece.stop, : piece.stop]
            assert (pattern - wanted).abs().max() <= 2e-6


def test_the_pass_ends_behind_the_last_layer_needed() -> None:
    anatomy = find_anatomy(zoo.make("llama"))
    ran: list[int] = []
    for layer, block in enumerate(anatomy.blocks):
        block.module.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
    in_pieces(anatomy, pieces(LENGTH, 20, 2), range(1, 2))
    assert ran == [0, 1] * 3


def test_every_token_is_in_one_piece() -> None:
    assert pieces(10, 10, 4) == [Piece(0, 10)]
    assert pieces(10, 9, 4) == [Piece(0, 9), Piece(9, 10, True)]
    assert pieces(10, 0, 4) == [Piece(0, 4, True), Piece(4, 8, True), Piece(8, 10, True)]


def test_a_model_that_cannot_be_switched_is_refused() -> None:
    anatomy = find_anatomy(zoo.make("falcon", attn_implementation="sdpa"))
    with pytest.raises(BadInput, match='attn_implementation="eager"'), eager(anatomy):
        pass
    in_pieces(anatomy, pieces(LENGTH, LENGTH, 1), range(3))  # no patterns, no need of them
