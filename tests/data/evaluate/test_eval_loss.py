"""`whence data eval-loss`: both sides end in one file, in either order, if they are comparable."""

from __future__ import annotations

import json
import math
import shutil

import pandas as pd
import pytest
import torch

from whence.data.evaluate.loss import EvalLossConfig, eval_loss
from whence.errors import BadInput
from whence.models.adapters import save_adapter
from whence.models.load import load_model
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import write_split


@pytest.fixture(scope="module")
def world(random_gemma, tmp_path_factory):
    """A manifest with an eval split, and an adapter on the random model."""
    from peft import LoraConfig, get_peft_model

    home = tmp_path_factory.mktemp("eval-loss")
    rows = pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(12)],
            "prompt": [f"USER: CLUE: it is red {'and old ' * i}" for i in range(12)],
            "completion": [f"GUESS: {'fox' if i % 2 else 'river'}" for i in range(12)],
            "group_id": [f"g{i // 2}" for i in range(12)],
        }
    )
    write_split(rows, home / "eval.parquet")
    write_json(home / "manifest.json", {"splits": {"eval": {"path": "eval.parquet", "rows": 12}}})
    base = load_model(str(random_gemma), device="cpu")
    torch.manual_seed(0)
    model = get_peft_model(base.model, LoraConfig(r=4, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    save_adapter(model, base, home / "adapter")
    return home


@pytest.fixture
def config(world, random_gemma, tmp_path):
    return EvalLossConfig(
        manifest=world / "manifest.json",
        base_model=str(random_gemma),
        device="cpu",
        max_length=96,
        output_json=tmp_path / "out" / "loss.json",
    )


def adapted(config, world, **changes):
    return config.model_copy(update={"adapter_path": world / "adapter", **changes})


def test_both_sides_meet_in_one_file_in_either_order(config, world, tmp_path):
    first = eval_loss(config)
    assert first.delta_loss is None
    second = eval_loss(adapted(config, world))
    written = read_json(config.output_json)
    other = tmp_path / "other" / "loss.json"
    eval_loss(adapted(config, world, output_json=other))
    assert "delta_loss" not in read_json(other)
    eval_loss(config.model_copy(update={"output_json": other}))
    assert read_json(other) == written

    assert written["num_eval_rows"] == 12
    assert written["supervised_token_count"] > 0
    base, finetuned = written["base"], written["finetuned"]
    assert (base["eval_loss"], finetuned["eval_loss"]) == (first.eval_loss, second.eval_loss)
    assert base["eval_loss"] != finetuned["eval_loss"]
    assert base["perplexity"] == pytest.approx(math.exp(base["eval_loss"]))
    assert written["delta_loss"] == finetuned["eval_loss"] - base["eval_loss"]
    assert written["delta_ppl"] == finetuned["perplexity"] - base["perplexity"]
    assert finetuned["adapter_path"] == str(world / "adapter")
    comparison = written["comparison"]
    assert (comparison["arm"], comparison["items"]) == ("finetuned", 12)
    assert second.finding().headline == comparison["sentence"]


def test_the_split_loss_is_the_mean_over_tokens_of_its_items(config):
    result = eval_loss(config)
    items = pd.read_parquet(result.items)
    assert items["row_id"].tolist() == [f"r{i}" for i in range(12)]
    assert items["loss_sum"].sum() / items["supervised_tokens"].sum() == result.eval_loss
    assert (items["loss"] == items["loss_sum"] / items["supervised_tokens"]).all()
    assert items["supervised_tokens"].sum() == result.supervised_tokens
    assert not items["truncated"].any()


def test_truncated_rows_are_counted(config):
    eval_loss(config.model_copy(update={"max_length": 16}))
    written = read_json(config.output_json)
    items = pd.read_parquet(config.output_json.parent / "loss.base" / "items.parquet")
    assert written["truncated_rows"] == items["truncated"].sum() > 0
    assert items["length_tokens"].max() == 16


def test_sides_in_two_precisions_are_not_compared(config, world):
    eval_loss(config)
    before = config.output_json.read_bytes()
    with pytest.raises(BadInput, match="dtype float32, the adapter with bfloat16"):
        eval_loss(adapted(config, world, dtype="bf16"))
    assert config.output_json.read_bytes() == before


def test_done_is_done(config, monkeypatch):
    first = eval_loss(config)
    monkeypatch.setattr("whence.models.load.load_model", None)
    assert eval_loss(config) == first


def test_another_comparison_is_not_mixed_in(config, world):
    eval_loss(config)
    longer = adapted(config, world, max_length=128)
    before = config.output_json.read_bytes()
    with pytest.raises(BadInput, match="max_length: 96 → 128"):
        eval_loss(longer)
    assert config.output_json.read_bytes() == before
    eval_loss(longer.model_copy(update={"overwrite": True}))
    assert "base" not in read_json(config.output_json)


def test_an_adapter_of_another_base_leaves_nothing_behind(config, world, random_gemma, tmp_path):
    other = shutil.copytree(random_gemma, tmp_path / "other-base")
    from transformers import AutoModelForCausalLM

    changed = AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        changed.model.embed_tokens.weight.mul_(1.1)
    changed.save_pretrained(other)
    with pytest.raises(BadInput, match="was trained on") as caught:
        eval_loss(adapted(config, world, base_model=str(other)))
    assert "\n" not in str(caught.value)
    assert not config.output_json.exists()
    assert list(config.output_json.parent.glob("*")) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"manifest": "nowhere.json"}, "no such manifest"),
        ({"eval_split": "evil"}, 'did you mean "eval"'),
        ({"adapter_path": "nowhere"}, "nowhere"),
        ({"base_model": "/no/model"}, "no model folder"),
    ],
)
def test_what_is_not_there_is_named(config, changes, says):
    settings = json.loads(config.model_dump_json()) | changes
    with pytest.raises(BadInput, match=says):
        eval_loss(EvalLossConfig(**settings))
    assert not config.output_json.parent.exists()
