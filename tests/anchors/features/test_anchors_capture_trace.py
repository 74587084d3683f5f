"""One pass gives what plain passes and loops give, on every architecture, whole or in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import zoo
from features_by_hand import hidden_by_hand, pooled_by_hand, vertical_by_hand

from whence.anchors.features import capture_trace as module
from whence.anchors.features.capture_trace import capture_several, capture_trace
from whence.anchors.features.vertical import later_weights, light_weights
from whence.anchors.features.wanted import POOLINGS, Vertical, Wanted, layers_of
from whence.anchors.spans.locate import Span
from whence.errors import BadInput, WhenceError
from whence.models.anatomy import find_anatomy

LENGTH = 27
IDS = torch.randint(3, zoo.VOCABULARY, (LENGTH,), generator=torch.Generator().manual_seed(2))
# A prompt in front, neighbours that share token 14, a gap, one of one token, one up to the end.
SPANS = [Span(3, 8), Span(8, 15), Span(14, 17), Span(19, 20), Span(20, 27)]
NO_SWITCH = {"falcon", "falcon_new", "falcon_alibi"}
VERTICALS = [
    Vertical("light"),
    Vertical("light", depth_control=False, light_last_n_tokens=9),
    Vertical("light", light_last_n_tokens=9),
    Vertical("light", light_last_n_tokens=500),
    Vertical("full"),
    Vertical("full", depth_control=False),
    Vertical("full", light_last_n_tokens=4, full_max_seq_len=LENGTH - 1),
]


def captured(model: Any, wanted: Wanted) -> dict[str, np.ndarray]:
    return capture_trace(find_anatomy(model), IDS.tolist(), SPANS, wanted, "problem 1")


@pytest.mark.parametrize(("name", "attention"), zoo.VARIANTS)
@pytest.mark.parametrize("at_once", [4, 128])
def test_as_plain_passes_say(
    monkeypatch: pytest.MonkeyPatch, name: str, attention: str, at_once: int
) -> None:
    if attention != "eager" and name in NO_SWITCH:
        pytest.skip("Transformers cannot change the attention of a loaded Falcon")
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", at_once)
    monkeypatch.setattr(module, "SHORT", 0)  # so that light has a first piece of its own
    model = zoo.make(name, attn_implementation=attention)
    with torch.no_grad():
        plain = zoo.make(name, attn_implementation="eager")
        patterns = plain(input_ids=IDS[None], output_attentions=True, use_cache=False).attentions
    for vertical in (None, *VERTICALS):
        if vertical is not None:
            vertical = Vertical(**vertical.settings(), per_head=True)
        found = captured(model, Wanted((0, 2), POOLINGS, vertical))
        for layer in (0, 2):
            hidden = hidden_by_hand(plain, IDS.tolist(), layer)
            for pooling in POOLINGS:
                array = found.pop(f"blocks.{layer}.hook_resid_post.{pooling}")
                expected = pooled_by_hand(hidden, SPANS, pooling)
                assert array.dtype == np.float32
                assert array.shape == expected.shape
                assert np.abs(array - expected).max() <= 3e-6 * np.abs(hidden).max()
            if vertical is not None:
                scores = vertical_by_hand(patterns[layer][0].numpy(), SPANS, vertical)
                assert np.abs(found.pop(f"blocks.{layer}.vertical_heads") - scores).max() <= 1e-5
                mean = found.pop(f"blocks.{layer}.vertical")
                assert np.abs(mean - scores.mean(axis=1)).max() <= 1e-5
        assert not found
    assert model.config._attn_implementation == attention


@pytest.mark.parametrize("short", [LENGTH - 1, LENGTH])
def test_a_light_pass_over_a_long_text_leaves_the_model_its_own_attention_but_for_the_end(
    monkeypatch: pytest.MonkeyPatch, short: int
) -> None:
    """So that it is not read by eager attention for the sake of its last token."""
    monkeypatch.setattr(module, "SHORT", short)
    anatomy = find_anatomy(zoo.make("llama", attn_implementation="sdpa"))
    seen: list[tuple[int, str]] = []
    anatomy.blocks[0].module.register_forward_hook(
        lambda _m, args, _o: seen.append(
            (args[0].shape[1], anatomy.model.config._attn_implementation)
        )
    )
    wanted = Wanted((1,), ("mean",), Vertical("light", light_last_n_tokens=2))
    capture_trace(anatomy, IDS.tolist(), SPANS, wanted, "problem 1")
    long = [(LENGTH - 2, "sdpa"), (2, "eager")]
    assert seen == (long if short < LENGTH else [(LENGTH, "eager")])


@pytest.mark.parametrize("at_once", [4, 128])
def test_several_kinds_of_attention_come_from_one_pass_as_from_one_each(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", at_once)
    anatomy = find_anatomy(zoo.make("gemma3", attn_implementation="sdpa"))
    tokens: list[int] = []
    anatomy.blocks[0].module.register_forward_hook(
        lambda _m, args, _o: tokens.append(args[0].shape[1])
    )
    wanted = [
        Wanted((0, 2), ("mean",), VERTICALS[0]),
        Wanted((1, 2), POOLINGS, VERTICALS[2]),
        Wanted((2,), ("tokens",), Vertical("full", per_head=True), "float16"),
        Wanted((0, 1), (), Vertical("full", depth_control=False)),
    ]
    found = capture_several(anatomy, IDS.tolist(), SPANS, wanted, "problem 1")
    assert sum(tokens) == LENGTH
    for one, arrays in zip(wanted, found, strict=True):
        alone = capture_trace(anatomy, IDS.tolist(), SPANS, one, "problem 1")
        assert set(arrays) == {name for layer in one.layers for name in one.names(layer)}
        for name, array in alone.items():
            assert array.dtype == arrays[name].dtype
            assert np.array_equal(array, arrays[name])
    beside = Wanted((0, 2), ("mean",))
    both = capture_several(anatomy, IDS.tolist(), SPANS, [beside, wanted[0]], "problem 1")
    for name, array in capture_trace(anatomy, IDS.tolist(), SPANS, beside, "problem 1").items():
        assert np.array_equal(both[0][name], both[1][name])
        assert np.allclose(both[0][name], array, atol=1e-5)


def test_no_attention_no_pieces_and_no_layer_more_than_needed() -> None:
    anatomy = find_anatomy(zoo.make("llama", attn_implementation="sdpa"))
    ran: list[int] = []
    for layer, block in enumerate(anatomy.blocks):
        block.module.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
    anatomy.unembedding.register_forward_hook(lambda *_: ran.append(99))
    capture_trace(anatomy, IDS.tolist(), SPANS, Wanted((0, 1), POOLINGS), "problem 1")
    assert ran == [0, 1]


def test_weights_by_hand() -> None:
    """Two sentences of two tokens and one of one, six tokens in all."""
    spans = [Span(0, 2), Span(2, 4), Span(5, 6)]
    assert light_weights(spans, 6, 3, False).tolist() == [
        [0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0],
    ]  # fmt: skip
    assert light_weights(spans, 6, 3, True)[5].tolist() == [np.float32(1 / 3), 0.5, 0]
    assert later_weights(spans, 6, 1, False).tolist() == [
        [0, 0, 0], [0, 0, 0], [0.5, 0, 0], [0.5, 0, 0], [0, 0, 0], [1, 1, 0],
    ]  # fmt: skip
    assert later_weights(spans, 6, 1, True)[2:].tolist() == [
        [0.25, 0, 0], [0.25, 0, 0], [0, 0, 0], [0.5, 1, 0],
    ]  # fmt: skip
    assert later_weights(spans, 6, 2, True).sum(axis=0).tolist() == [1, 0, 0]
    assert later_weights(spans, 6, 4, True).sum() == 0


def test_half_precision_is_stored_as_asked_and_never_overflows() -> None:
    model = zoo.make("llama")
    full = captured(model, Wanted((1,), POOLINGS))
    half = captured(model, Wanted((1,), POOLINGS, storage_dtype="float16"))
    for name, array in half.items():
        assert array.dtype == np.float16
        assert np.array_equal(array, full[name].astype(np.float16))
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1e6)
    with pytest.raises(
        WhenceError, match=r"problem 1: blocks\.1\.hook_resid_post\.mean.*--storage-dtype float32"
    ):
        captured(model, Wanted((1,), ("mean",), storage_dtype="float16"))
    captured(model, Wanted((1,), ("mean",)))


def test_numbers_that_are_not_finite_name_the_dtype() -> None:
    anatomy = find_anatomy(zoo.make("llama", dtype=torch.float16))
    with torch.no_grad():
        for name, weight in anatomy.model.named_parameters():
            if "mlp.down_proj" in name or "mlp.up_proj" in name:
                weight.fill_(3e3)
    with pytest.raises(WhenceError, match=r"not finite when computed in float16.*bfloat16"):
        capture_trace(anatomy, IDS.tolist(), SPANS, Wanted((2,), ("mean",)), "problem 1")


def test_a_model_without_patterns_is_told_how_to_load_it() -> None:
    model = zoo.make("falcon", attn_implementation="sdpa")
    with pytest.raises(BadInput, match='attn_implementation="eager"'):
        captured(model, Wanted((0,), ("mean",), Vertical("light")))


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        (("mid",), (24,)),
        (("quartiles",), (12, 24, 36, 47)),
        (("3", "0-2", "2"), (0, 1, 2, 3)),
        (("mid", "47"), (24, 47)),
        (("all",), tuple(range(48))),
    ],
)
def test_layers_by_name(words: tuple[str, ...], layers: tuple[int, ...]) -> None:
    """Of DeepSeek-R1-Distill-Qwen-14B, which has 48."""
    assert layers_of(words, 48) == layers


@pytest.mark.parametrize("word", ["48", "40-50", "middle", "5-3", "-1", "1-"])
def test_layers_that_are_not_there(word: str) -> None:
    with pytest.raises(BadInput, match=f"--layers {word}"):
        layers_of((word,), 48)
    with pytest.raises(BadInput, match="empty"):
        layers_of((), 48)
