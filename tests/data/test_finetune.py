"""`whence data finetune` and `whence data merge`: whole folders, resumable, and what they claim."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from whence.data.evaluate.item_loss import item_losses, mean_loss
from whence.data.finetune import FinetuneConfig, finetune
from whence.data.merge import MergeConfig, merge
from whence.errors import BadInput, WhenceError
from whence.models import watch
from whence.models.adapters import attach_adapter
from whence.models.alignment import align_rows
from whence.models.load import load_model, load_tokenizer
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import write_split


def make_rows(count: int, first: int = 0) -> pd.DataFrame:
    numbers = range(first, first + count)
    return pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in numbers],
            "prompt": [f"USER: CLUE: it is red {'and old ' * (i % 6)}" for i in numbers],
            "completion": [f"GUESS: {('fox', 'river', 'bird')[i % 3]}" for i in numbers],
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    home = tmp_path_factory.mktemp("finetune-data")
    splits = {"train_base": make_rows(24), "eval": make_rows(6, first=24)}
    for name, rows in splits.items():
        write_split(rows, home / f"{name}.parquet")
    write_json(
        home / "manifest.json",
        {"splits": {n: {"path": f"{n}.parquet", "rows": len(r)} for n, r in splits.items()}},
    )
    return home


@pytest.fixture(scope="module")
def config(data, random_gemma, tmp_path_factory):
    return FinetuneConfig(
        manifest=data / "manifest.json",
        eval_split="eval",
        base_model=str(random_gemma),
        device="cpu",
        output_dir=tmp_path_factory.mktemp("finetuned") / "adapter",
        max_length=24,
        lora_r=4,
        learning_rate=5e-3,
        num_train_epochs=2,
        gradient_accumulation_steps=1,
    )


@pytest.fixture(scope="module")
def result(config):
    return finetune(config)


def saved_vocabulary(folder):
    return read_json(folder / "tokenizer.json")["model"]["vocab"]


def test_the_folder_holds_adapter_tokenizer_and_metrics(config, result, random_gemma, data):
    folder = config.output_dir
    names = {path.name for path in folder.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names
    assert {"train_metrics.json", "whence.json"} <= names
    assert not any("checkpoint" in str(path) for path in folder.rglob("*"))
    assert load_tokenizer(str(random_gemma)).get_vocab() == saved_vocabulary(folder)
    metrics = read_json(folder / "train_metrics.json")
    assert metrics["rows"] == metrics["rows_trained"] == 24
    base = load_model(str(random_gemma), device="cpu")
    rows = align_rows(pd.read_parquet(data / "train_base.parquet"), base.tokenizer, 24)
    assert metrics["truncated_rows"] == sum(row.truncated for row in rows) > 0
    assert metrics["supervised_tokens"] == sum(row.supervised for row in rows)
    held_out = align_rows(pd.read_parquet(data / "eval.parquet"), base.tokenizer, 24)
    assert metrics["eval_loss_before"] == pytest.approx(mean_loss(item_losses(base, held_out)))
    adapted = attach_adapter(base, folder)
    assert metrics["eval_loss_after"] == pytest.approx(mean_loss(item_losses(adapted, held_out)))
    assert metrics["eval_loss_after"] < metrics["eval_loss_before"]
    assert "after training on 24 rows" in result.finding().headline


def test_done_is_done(config, result, monkeypatch):
    monkeypatch.setattr("whence.models.load.load_model", None)
    assert finetune(config) == result


def test_a_killed_finetune_ends_with_the_same_adapter(config, result, tmp_path, monkeypatch):
    again = config.model_copy(update={"output_dir": tmp_path / "again", "checkpoint_seconds": 0.0})
    advance = watch.Progress.advance

    def killed(progress, n=1):
        advance(progress, n)
        if progress.label == "finetune" and progress.done == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(watch.Progress, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(again)
    assert not again.output_dir.exists()
    resumed = finetune(again)
    assert resumed.metrics.resumed_at_step == 7
    for name in ("adapter_model.safetensors", "adapter_config.json", "base.json"):
        assert (again.output_dir / name).read_bytes() == (config.output_dir / name).read_bytes()
    assert resumed.metrics.loss_curve == result.metrics.loss_curve


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"train_split": "train"}, BadInput, 'did you mean "train_base"'),
        ({"manifest": "nowhere.json"}, BadInput, "no such manifest"),
        ({"base_model": "org/not-here"}, BadInput, "hf download org/not-here"),
        ({"target_modules": ("x",)}, BadInput, "--target-modules x"),
        ({"resume_adapter": "nowhere"}, BadInput, "nowhere"),
        ({"learning_rate": 1e30, "max_grad_norm": 0.0}, WhenceError, "training loss is nan"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_no_folder(config, tmp_path, changes, error, says):
    settings = config.model_dump() | {"output_dir": tmp_path / "out"} | changes
    with pytest.raises(error, match=says) as caught:
        finetune(FinetuneConfig(**settings))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    if error is BadInput:
        assert list(tmp_path.iterdir()) == []


def test_another_configuration_is_refused(config, result):
    with pytest.raises(BadInput, match="lora_r"):
        finetune(config.model_copy(update={"lora_r": 5}))


def test_the_merged_model_is_the_adapted_one(config, result, random_gemma, tmp_path):
    merged = merge(
        MergeConfig(
            base_model=str(random_gemma),
            adapter_path=config.output_dir,
            output_dir=tmp_path / "merged",
            device="cpu",
        )
    )
    names = {path.name for path in merged.model.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "whence.json"} <= names
    assert merged.dtype == "float32"
    ids = torch.tensor([[1, 40, 50, 60]])
    base = load_model(str(random_gemma), device="cpu")
    with torch.inference_mode():
        found = load_model(str(merged.model), device="cpu").model(ids).logits
        plain = base.model(ids).logits
        wanted = attach_adapter(base, config.output_dir).model(ids).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (wanted - plain).abs().max() > 1e-2
    assert merged.largest_difference <= merged.allowed


def test_a_merge_that_loses_the_adapter_is_refused(config, result, tmp_path, monkeypatch):
    import peft

    monkeypatch.setattr(
        peft.PeftModel, "merge_and_unload", lambda model, **_: model.unload(), raising=False
    )
    settings = MergeConfig(
        base_model=config.base_model,
        adapter_path=config.output_dir,
        output_dir=tmp_path / "merged",
        device="cpu",
    )
    with pytest.raises(WhenceError, match="logits differ by"):
        merge(settings)
    assert not settings.output_dir.exists()
