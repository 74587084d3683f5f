"""What is read at a site is the model's own number, and reading it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import zoo
from taken_apart import architectures, every, logits, sites, taken_apart, tokens, unharmed

from whence.errors import BadInput
from whence.models.anatomy import Anatomy, find_anatomy
from whence.models.capture import capture, reading
from whence.models.proof import TOLERANCE
from whence.models.sites import parse_site

PADDINGS = [("left", 1), ("left", 5), ("right", 1), ("right", 5)]


@every
def test_reading_changes_no_logit(name: str, attention: str, dtype: torch.dtype):
    anatomy = taken_apart(name, attention, dtype)
    plain = zoo.make(name, attn_implementation=attention, dtype=dtype)
    ids, mask = tokens(), torch.tensor([[1] * 9, [0] * 4 + [1] * 5])
    for given in (torch.ones_like(ids), mask):
        found: dict[str, torch.Tensor] = {}
        wanted = [parse_site(site, anatomy.n_layers) for site in sites(anatomy)]
        with unharmed(anatomy.model), reading(anatomy, wanted, found):
            read = logits(anatomy.model, ids, given)
        assert list(found) == sites(anatomy)
        assert torch.equal(read, logits(plain, ids, given))
        assert torch.equal(logits(anatomy.model, ids, given), read)


@every
def test_sites_fit_together(name: str, attention: str, dtype: torch.dtype):
    """Exactly: attention gives what heads give, a block adds its parts, and the next goes on."""
    anatomy = taken_apart(name, attention, dtype)
    ids = tokens()
    found = capture(anatomy, ids, sites=sites(anatomy))
    batch, length = ids.shape
    assert all(value.shape[:2] == (batch, length) for value in found.values())
    for layer, block in enumerate(anatomy.blocks):
        at = {key[len("blocks.0.") :]: v for key, v in found.items() if f"blocks.{layer}." in key}
        z = at["attn.hook_z"]
        assert z.shape == (batch, length, anatomy.n_heads, anatomy.d_head)
        with torch.no_grad():
            written = block.out_proj(z.flatten(2))
            if block.attn_out is not block.attention and "Norm" in type(block.attn_out).__name__:
                written = block.attn_out(written)
        assert torch.equal(written, at["hook_attn_out"])
        before, a, m = at["hook_resid_pre"], at["hook_attn_out"], at["hook_mlp_out"]
        sums = [(before + a) + m, (before + m) + a, (a + m) + before]
        assert any(torch.equal(total, at["hook_resid_post"]) for total in sums)
        if layer + 1 < anatomy.n_layers:
            assert torch.equal(at["hook_resid_post"], found[f"blocks.{layer + 1}.hook_resid_pre"])
        if block.down is not None:
            with torch.no_grad():
                written = block.down(at["mlp.hook_post"])
                if "Norm" in type(block.mlp_out).__name__:
                    written = block.mlp_out(written)
            assert torch.equal(written, at["hook_mlp_out"])
    final = found["ln_final.hook_normalized"]
    with torch.no_grad():
        normed = anatomy.final_norm(found[f"blocks.{anatomy.n_layers - 1}.hook_resid_post"])
        assert torch.equal(final, normed)
        unembedded = anatomy.unembedding(final)
    if (cap := getattr(anatomy.model.config, "final_logit_softcapping", None)) is not None:
        unembedded = torch.tanh(unembedded / cap) * cap
    assert torch.equal(unembedded, logits(anatomy.model, ids))


@architectures
def test_the_embedding_is_scaled_where_the_model_does(name: str):
    anatomy = taken_apart(name)
    ids = tokens()
    found = capture(anatomy, ids, sites=["embed", "blocks.0.hook_resid_pre"])
    scale = anatomy.d_model**0.5 if name in ("gemma2", "gemma3") else 1
    assert torch.allclose(found["embed"], anatomy.embed.weight[ids] * scale, rtol=1e-3)
    enters_as_it_is = name not in ("gpt2", "opt", "bloom")  # positions or a norm come between
    assert torch.equal(found["embed"], found["blocks.0.hook_resid_pre"]) == enters_as_it_is


@architectures
def test_a_mixture_of_experts_has_no_hidden_layer(name: str):
    anatomy = taken_apart(name)
    site = "blocks.1.mlp.hook_post"
    if name != "mixtral":
        assert capture(anatomy, tokens(), sites=[site])[site].shape[-1] in (48, 128)
        return
    with unharmed(anatomy.model), pytest.raises(BadInput, match="no single down projection"):
        capture(anatomy, tokens(), sites=["blocks.0.hook_mlp_out", site])


@architectures
@pytest.mark.parametrize(
    ("site", "blocks_run"),
    [
        ("embed", 0),
        ("blocks.0.hook_resid_pre", 0),
        ("blocks.0.attn.hook_z", 1),
        ("blocks.1.hook_resid_pre", 1),
        ("blocks.2.hook_resid_pre", 2),
        ("blocks.1.hook_resid_post", 2),
        ("blocks.2.hook_mlp_out", 3),
        ("blocks.2.hook_resid_post", 3),
    ],
)
def test_nothing_runs_after_what_was_asked_for(name: str, site: str, blocks_run: int):
    anatomy = taken_apart(name)
    ran = []
    watched = [block.out_proj for block in anatomy.blocks] + [anatomy.final_norm]
    handles = [m.register_forward_hook(lambda m, *_: ran.append(m)) for m in watched]
    try:
        found = capture(anatomy, tokens(), sites=[site])
    finally:
        for handle in handles:
            handle.remove()
    assert list(found) == [site]
    assert ran == watched[:blocks_run]
    whole = capture(anatomy, tokens(), sites=[site, "ln_final.hook_normalized"])
    assert torch.equal(found[site], whole[site])


@pytest.mark.parametrize(("name", "attention"), zoo.VARIANTS)
def test_padding_moves_no_real_token(name: str, attention: str):
    anatomy = taken_apart(name, attention)
    for site, moved in moved_by_padding(anatomy).items():
        assert moved < 1e-4, site


@pytest.mark.parametrize(("name", "attention"), zoo.VARIANTS)
def test_padding_moves_no_real_token_beyond_the_noise_of_bfloat16(name: str, attention: str):
    anatomy = taken_apart(name, attention, torch.bfloat16)
    widened = zoo.make(name, attn_implementation=attention, dtype=torch.bfloat16).float()
    wide, floor = find_anatomy(widened), dict.fromkeys(sites(anatomy), 0.0)
    for row in some_rows():
        narrow = capture(anatomy, row, sites=list(floor))
        for site, value in capture(wide, row, sites=list(floor)).items():
            floor[site] = max(floor[site], relative(narrow[site], value))
    # In bfloat16 a mixture may send a token to another expert: there the floor is that high.
    assert max(floor.values()) < (0.5 if name == "mixtral" else 0.2)
    for site, moved in moved_by_padding(anatomy).items():
        assert moved <= TOLERANCE * floor[site], site


def some_rows() -> list[torch.Tensor]:
    return [tokens(1, 9, seed=1), tokens(1, 6, seed=2)]


def moved_by_padding(anatomy: Anatomy) -> dict[str, float]:
    """Largest relative difference at real tokens between a prompt alone and in a padded batch."""
    rows, names = some_rows(), sites(anatomy)
    alone = [capture(anatomy, row, sites=names) for row in rows]
    moved = dict.fromkeys(names, 0.0)
    for side, amount in PADDINGS:
        length = 9 + amount
        ids, mask = torch.zeros(2, length, dtype=torch.long), torch.zeros(2, length).long()
        spans = [
            slice(length - r.shape[1], None) if side == "left" else slice(r.shape[1]) for r in rows
        ]
        for at, (row, span) in enumerate(zip(rows, spans, strict=True)):
            ids[at, span], mask[at, span] = row[0], 1
        together = capture(anatomy, ids, mask, sites=names)
        for at, span in enumerate(spans):
            for site in names:
                off = relative(together[site][at, span], alone[at][site][0])
                moved[site] = max(moved[site], off)
    return moved


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest |a − b| as a share of the largest |b|."""
    return float((a.float() - b.float()).abs().max() / b.float().abs().max())


@architectures
def test_z_is_the_pattern_times_the_values_of_its_head(name: str):
    """So the head axes of z and of the pattern are the same heads, in the same order."""
    anatomy = taken_apart(name)
    ids = tokens()
    for layer, block in enumerate(anatomy.blocks):
        z_site, pattern_site = f"blocks.{layer}.attn.hook_z", f"blocks.{layer}.attn.hook_pattern"
        values, handle = [], read_values(name, block.attention)
        try:
            found = capture(anatomy, ids, sites=[z_site, pattern_site])
            values = handle.read
        finally:
            handle.remove()
        z, pattern = found[z_site], found[pattern_site]
        assert pattern.shape == (2, zoo.HEADS, 9, 9)
        assert torch.allclose(pattern.sum(-1), torch.ones(2, zoo.HEADS, 9), atol=1e-5)
        assert pattern.triu(1).abs().max() == 0
        v = values[0].repeat_interleave(anatomy.n_heads // anatomy.n_kv_heads, dim=2)
        expected = torch.einsum("bhqk,bkhd->bqhd", pattern, v)
        assert torch.allclose(z, expected, atol=1e-5)
        for other in range(1, zoo.HEADS):
            rolled = torch.einsum("bhqk,bkhd->bqhd", pattern.roll(other, 1), v)
            assert not torch.allclose(z, rolled, atol=1e-2)


class Values:
    """Listens to the matrix that makes values and splits them off.

    read: [batch, pos, kv head, d_head], a tensor for each call.
    """

    def __init__(self, module: Any, split: Any) -> None:
        self.read: list[torch.Tensor] = []
        self._handle = module.register_forward_hook(
            lambda _m, _i, output: self.read.append(split(output))
        )

    def remove(self) -> None:
        self._handle.remove()


def read_values(name: str, attention: Any) -> Values:
    """By architecture, as its own code lays queries, keys and values out."""
    if hasattr(attention, "v_proj"):
        heads = zoo.HEADS if name == "opt" else 2
        return Values(attention.v_proj, lambda out: out.unflatten(-1, (heads, -1)))
    if name == "gpt2":
        return Values(attention.c_attn, lambda out: out.chunk(3, -1)[2].unflatten(-1, (4, -1)))
    if name == "phi3":  # 4 query heads, 2 keys, 2 values of 8 numbers
        return Values(attention.qkv_proj, lambda out: out[..., 48:].unflatten(-1, (2, -1)))
    if name == "falcon":  # 4 queries, 1 key, 1 value
        return Values(attention.query_key_value, lambda out: out.unflatten(-1, (6, 8))[..., 5:, :])
    if name == "falcon_new":  # by group: 2 queries, a key, a value
        return Values(
            attention.query_key_value, lambda out: out.unflatten(-1, (2, 4, 8))[..., 3, :]
        )
    # GPT-NeoX, BLOOM and the first Falcon: by head, a query, a key, a value.
    return Values(attention.query_key_value, lambda out: out.unflatten(-1, (4, 3, 8))[..., 2, :])


@pytest.mark.parametrize("name", sorted({name for name, a in zoo.VARIANTS if a == "sdpa"}))
def test_patterns_are_refused_where_attention_gives_none(name: str):
    anatomy = taken_apart(name, "sdpa")
    site = "blocks.1.attn.hook_pattern"
    with unharmed(anatomy.model), pytest.raises(BadInput, match='attn_implementation="eager"'):
        capture(anatomy, tokens(), sites=[site])


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("blocks.3.attn.hook_z", "the model has layers 0 to 2"),
        ("blocks.0.attn.hook_q", 'no site is called "blocks.0.attn.hook_q"'),
    ],
)
def test_sites_that_are_not_there_are_refused(site: str, expected: str):
    anatomy = taken_apart("llama")
    with unharmed(anatomy.model), pytest.raises(BadInput, match=expected):
        capture(anatomy, tokens(), sites=["embed", site])


def test_what_was_read_stays_when_the_model_runs_on():
    anatomy = taken_apart("falcon")  # adds attention to the MLP's output in place
    found = capture(anatomy, tokens(), sites=(names := sites(anatomy)))
    copies = {site: value.clone() for site, value in found.items()}
    capture(anatomy, tokens(seed=5), sites=names)
    assert all(torch.equal(found[site], copies[site]) for site in names)


def test_an_edited_site_is_read_as_edited_and_what_follows_too():
    anatomy = taken_apart("llama")
    names = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"]
    clean = capture(anatomy, tokens(), sites=names)
    for edited in names[:2]:
        found = capture(anatomy, tokens(), sites=names, edits={edited: lambda value: value * 2})
        assert torch.equal(found["blocks.1.hook_resid_pre"], 2 * clean["blocks.1.hook_resid_pre"])
        assert not torch.equal(found[names[2]], clean[names[2]])
    found = capture(anatomy, tokens(), sites=["embed"], edits={"embed": torch.zeros_like})
    assert found["embed"].abs().max() == 0


def test_reading_keeps_gradients_and_capture_does_not():
    anatomy = taken_apart("llama")
    site = parse_site("blocks.1.attn.hook_z", 3)
    found: dict[str, torch.Tensor] = {}
    with reading(anatomy, [site], found):
        anatomy.model(tokens())
    assert found[site.name].requires_grad
    assert not capture(anatomy, tokens(), sites=[site])[site.name].requires_grad


def test_nothing_asked_for_is_nothing_read():
    assert capture(taken_apart("llama"), tokens(), sites=[]) == {}
