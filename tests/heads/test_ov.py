"""What heads write, against plain hooks, plain matrices, and heads planted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
import torch
import zoo
from heads_by_hand import forward
from safetensors.torch import load_file

from whence.errors import BadInput
from whence.heads.corpora import read_corpus
from whence.heads.ov.output import Outputs, norm_after_attention
from whence.heads.ov.reads import LastTokens, read_last_tokens
from whence.heads.ov.report import OvConfig, OvResult, ov
from whence.heads.ov.tokens import token_text, vocabulary_hash
from whence.heads.prompts import Examples, prepare
from whence.models.anatomy import Anatomy, find_anatomy
from whence.models.capture import capture
from whence.models.load import Loaded, load_model
from whence.models.replay import Replay
from whence.models.value_weights import HeadWeights, head_weights

LAYER = 1


def bench(
    name: str, zoo_folder: Callable[[str], Path], corpus: Path
) -> tuple[Loaded, Anatomy, Examples]:
    loaded = load_model(str(zoo_folder(name)), device="cpu")
    examples = prepare(read_corpus(corpus), loaded.tokenizer, multi_token="first")
    return loaded, find_anatomy(loaded.model), examples


def outputs(anatomy: Anatomy, examples: Examples) -> tuple[Outputs, LastTokens, HeadWeights]:
    last = read_last_tokens(anatomy, examples, [LAYER], batch_size=2)
    weights = head_weights(Replay(anatomy), LAYER)
    return Outputs(anatomy, LAYER, weights, last), last, weights


@pytest.mark.parametrize("name", ["gpt2", "falcon", "gemma3", "phi3"])
def test_mean_outputs_by_plain_hooks(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    loaded, anatomy, examples = bench(name, zoo_folder, small_corpus)
    found, last, _ = outputs(anatomy, examples)
    assert len(last.prompts) == len(examples.rows) - 1  # one prompt is there twice
    seen: list[torch.Tensor] = []

    def keep(z: torch.Tensor) -> torch.Tensor:
        seen.append(z[0, -1].unflatten(-1, (zoo.HEADS, -1)).clone())
        return z

    for prompt in {row.clean for row in examples.rows}:
        forward(loaded, prompt, LAYER, keep)
    projection = zoo.output_projections(loaded.model)[LAYER].weight.detach()
    if name != "gpt2":
        projection = projection.T
    unembedding = loaded.model.get_output_embeddings().weight.detach()
    for head in range(zoo.HEADS):
        w_o = projection.unflatten(0, (zoo.HEADS, -1))[head]
        each = torch.stack([z[head] for z in seen]) @ w_o
        one = found.head(head, examples.rows)
        torch.testing.assert_close(one.mean, each.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.direct, unembedding @ one.mean, atol=1e-5, rtol=1e-4)
        assert one.mean_length == pytest.approx(float(each.norm(dim=-1).mean()), rel=1e-4)


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_heads_add_up_to_what_attention_adds_to_the_logits(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    """Σ over heads = attention's own part, without its bias, of the final norm at each prompt."""
    loaded, anatomy, examples = bench(name, zoo_folder, small_corpus)
    found, _, weights = outputs(anatomy, examples)
    total = sum(found.head(head, examples.rows).logit_diff for head in range(zoo.HEADS))
    unembedding = loaded.model.get_output_embeddings().weight.detach()
    norm: Any = anatomy.final_norm
    centred = getattr(norm, "bias", None) is not None
    for at, row in enumerate(examples.rows):
        sites = [f"blocks.{LAYER}.hook_attn_out", f"blocks.{zoo.LAYERS - 1}.hook_resid_post"]
        kept = capture(anatomy, torch.tensor([row.clean]), sites=sites)
        added, final = (kept[site][0, -1] for site in sites)
        added = added - weights.b_o  # post-norm models of the zoo have none
        gain = norm.weight.detach() + (name in ("gemma2", "gemma3"))
        if centred:
            added, middle = added - added.mean(), final - final.mean()
        else:
            middle = final
        reached = gain * added / middle.square().mean().sqrt()
        expected = reached @ (unembedding[row.target[0]] - unembedding[row.foil[0]])
        assert total[at] == pytest.approx(float(expected), abs=2e-4, rel=1e-3)
    assert np.abs(total).max() > 0.01


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_norms_after_attention_are_known(name: str) -> None:
    anatomy = find_anatomy(zoo.make(name))
    found = norm_after_attention(anatomy, LAYER)
    assert (found is not None) == (name in ("gemma2", "gemma3", "olmo2"))


@pytest.mark.parametrize("name", ["gpt2", "llama", "olmo2"])
def test_through_the_final_norm_at_the_mean_prompt(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    loaded, anatomy, examples = bench(name, zoo_folder, small_corpus)
    found, last, weights = outputs(anatomy, examples)
    norm: Any = anatomy.final_norm
    unembedding = loaded.model.get_output_embeddings().weight.detach()
    one = found.head(3, examples.rows)
    part, final = one.mean, last.final.mean(0)
    if name == "olmo2":
        given = (last.z[LAYER].flatten(1) @ weights.w_o.flatten(0, 1)).mean(0)
        after: Any = anatomy.blocks[LAYER].module.post_attention_layernorm
        part = part * after.weight.detach() / given.square().mean().sqrt()
    if name == "gpt2":
        part, final = part - part.mean(), final - final.mean()
    expected = unembedding @ (norm.weight.detach() * part / final.square().mean().sqrt())
    torch.testing.assert_close(one.normed, expected, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module", params=planted.FAMILIES)
def suppressor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The planted suppressor, and what `whence heads ov` says of its heads and an idle one."""
    model = planted.suppressor(request.param)
    folder = tmp_path_factory.mktemp("planted")
    config = OvConfig(
        model=str(model.save(folder / "model")),
        corpus=model.write_corpus(folder / "corpus.jsonl"),
        device="cpu",
        heads=("0:2", "1:1", "2:0", "0:0"),
        top_k=8,
        directions=8,
        output_dir=folder / "ov",
    )
    return model, config, ov(config)


def test_planted_heads_raise_and_lower_the_names_that_they_carry(suppressor: Any) -> None:
    model, _, result = suppressor
    names, carried = model.names("clean"), {"0:2": 5.0, "1:1": -2.0}
    assert result.found["n_prompts"] == len(model.rows)
    for head, strength in carried.items():
        one = result.heads[head]
        logits = (names * strength * planted.STRENGTH).mean(0)
        order = [planted.NAMES[at] for at in np.argsort(-logits, kind="stable")]
        for way in ("direct", "normed"):
            end = "top" if strength > 0 else "bottom"
            found = {e["token"].strip(): e["value"] for e in one[way][end]}
            assert found == pytest.approx(dict(zip(planted.NAMES, logits, strict=True)), abs=1e-5)
            extreme = one[way][end][0]["token"].strip()
            assert extreme == (order[0] if strength > 0 else order[-1])
        # all that these heads do, they do to the logits themselves
        layer, at = map(int, head.split(":"))
        effect = one["direct_logit_diff"]
        assert effect["mean"] == pytest.approx(-model.truth[layer, at], abs=1e-5)
        low, high = effect["interval"]
        assert low < effect["mean"] < high
    assert result.heads["2:0"]["direct_logit_diff"]["mean"] == pytest.approx(0, abs=1e-5)
    assert result.heads["0:0"]["norm"] == pytest.approx(0, abs=1e-5)


def test_planted_circuits(suppressor: Any) -> None:
    _, _, result = suppressor
    copies, suppresses, raises, idle = (one["circuit"] for one in result.heads.values())
    strength = planted.STRENGTH[::-1]
    assert copies["singular_values"] == pytest.approx(5 * strength, rel=1e-5)
    assert suppresses["singular_values"] == pytest.approx(2 * strength, rel=1e-5)
    assert copies["copying"] == pytest.approx(1, abs=1e-6)
    assert suppresses["copying"] == pytest.approx(-1, abs=1e-6)
    assert (copies["copying_positive"], suppresses["copying_positive"]) == (1, 0)
    strongest = copies["directions"][0]
    assert strongest["top"][0]["token"].strip() == "Hal"
    assert strongest["top"][0]["value"] == pytest.approx(5 * strength[0], rel=1e-5)
    assert strongest["share"] == pytest.approx(strength[0] ** 2 / (strength**2).sum(), rel=1e-5)
    # outer(1.5 s, ones): one direction, of length 1.5 |s| √8
    only = 1.5 * np.linalg.norm(planted.STRENGTH) * 8**0.5
    assert raises["singular_values"] == pytest.approx([only], rel=1e-5)
    assert {e["token"].strip() for e in raises["directions"][0]["top"]} == set(planted.NAMES)
    assert idle == {
        "singular_values": [], "directions": [], "copying": None, "copying_positive": None
    }  # fmt: skip


def test_vectors_and_table_lie_beside_the_report(suppressor: Any) -> None:
    model, config, result = suppressor
    vectors = load_file(config.output_dir / "ov.safetensors")
    assert vectors["0:2.output"].shape == (64,)
    assert vectors["0:2.direct"].shape == (len(model.tokenizer),)
    assert vectors["0:2.writing"].shape == (8, 64)
    assert float(vectors["1:1.output"].norm()) == pytest.approx(result.heads["1:1"]["norm"])
    table = (config.output_dir / "ov.md").read_text()
    assert table.count("## Head ") == 4
    assert "| 1 | `" in table
    finding = result.finding()
    assert [row[0] for row in finding.rows] == ["0:2", "1:1", "2:0", "0:0"]
    assert all(path.is_file() for path in finding.files.values())


def test_the_same_command_is_already_done(suppressor: Any) -> None:
    _, config, result = suppressor
    again = ov(config)
    assert again.done_before
    assert again.found == result.found


def described(corpus: Path, folder: Path, output: Path, **more: Any) -> OvResult:
    settings = {"device": "cpu", "heads": ("0:2",), "top_k": 4} | more
    return ov(OvConfig(model=str(folder), corpus=corpus, output_dir=output, **settings))


def test_prompts_are_drawn_by_seed(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    folder, drawn = zoo_folder("gpt2"), []
    for seed in (0, 1):
        result = described(small_corpus, folder, tmp_path / f"{seed}", samples=4, seed=seed)
        assert result.found["n_prompts"] == 4
        assert result.found["n_prompts_not_drawn"] == 5
        drawn.append(result.found["examples"])
        texts = small_corpus.read_text().splitlines()
        prompts = {json.loads(texts[at])["clean"] for at in drawn[-1]}
        assert len(prompts) == 4
    assert drawn[0] != drawn[1]


def test_a_head_that_is_not_there(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="head 0:9: head 9 is out of range"):
        described(small_corpus, zoo_folder("gpt2"), tmp_path / "o", heads=("0:9",))
    with pytest.raises(BadInput, match="LAYER:HEAD was expected"):
        described(small_corpus, zoo_folder("gpt2"), tmp_path / "o", heads=("nine",))


def test_settings_of_measurements_are_no_settings_here(tmp_path: Path) -> None:
    fields = OvConfig.model_fields
    assert not {"metrics", "metric_span", "memory_gb", "seeds", "subsample"} & fields.keys()
    assert {"prepend_bos", "max_seq_len", "batch_size", "part"} <= fields.keys()


def test_tokens_keep_their_space_in_every_spelling(zoo_folder: Callable[[str], Path]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<eos>": 0, "▁red": 1, "red": 2, "<0x0A>": 3}
    piece = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    piece.pre_tokenizer = pre_tokenizers.Metaspace()
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    piece.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    sentencepiece = PreTrainedTokenizerFast(tokenizer_object=piece, eos_token="<eos>")
    assert [token_text(sentencepiece, at) for at in (1, 2, 3)] == [" red", "red", "\n"]
    bytes_ = load_model(str(zoo_folder("gpt2")), device="cpu").tokenizer
    red = bytes_(" red")["input_ids"]
    assert token_text(bytes_, red[0]) == " red"
    half = bytes_("é", add_special_tokens=False)["input_ids"][0]
    assert token_text(bytes_, half) == bytes_.convert_ids_to_tokens(half)
    assert token_text(bytes_, 10**6) == "<1000000>"
    assert vocabulary_hash(bytes_) != vocabulary_hash(sentencepiece)
