"""Training an adapter: on exactly these labels, resumable to the bit, the base left untouched."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from whence.data import sft
from whence.data.evaluate.item_loss import item_losses, mean_loss
from whence.data.train import LoraSettings, OptimSettings, train_adapter
from whence.errors import BadInput, WhenceError
from whence.models import watch
from whence.models.alignment import AlignedRow
from whence.models.batching import attention_mask, pad
from whence.models.load import load_model, using_adapter


def make_rows(count: int, seed: int = 0) -> list[AlignedRow]:
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        ids = [1] + [rng.randrange(3, 290) for _ in range(rng.randint(6, 24))] + [2]
        start = rng.randint(3, len(ids) - 2)
        rows.append(AlignedRow(ids, [-100] * start + ids[start:], False))
    return rows


ROWS = make_rows(12)
# All rows in one batch: then the order that the trainer draws does not matter.
WHOLE = OptimSettings(
    learning_rate=3e-3,
    max_steps=4,
    per_device_train_batch_size=len(ROWS),
    gradient_accumulation_steps=1,
    lr_scheduler_type="constant",
    warmup_ratio=0.0,
)
SMALL = OptimSettings(
    learning_rate=3e-3,
    num_train_epochs=3,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=1,
)
LORA = LoraSettings(lora_r=4, lora_alpha=8)


@pytest.fixture(scope="module")
def base(random_gemma):
    return load_model(str(random_gemma), device="cpu")


def trained(base, output, *, rows=ROWS, eval_rows=None, lora=LORA, optim=SMALL, seed=0, **more):
    return train_adapter(
        base, rows, eval_rows, lora=lora, optim=optim, seed=seed, output=output, **more
    )


def losses(metrics) -> list[float]:
    return [entry["loss"] for entry in metrics.loss_curve]


def bare_loop(base, optim: OptimSettings) -> list[float]:
    """Full-batch AdamW around the same adapter, with the model's own loss: no trainer, no TRL."""
    with sft.restored(base.model):
        model = sft.new_adapter(base.model, LORA, seed=0)
        model.train()
        weights = [p for p in model.parameters() if p.requires_grad]
        adamw = torch.optim.AdamW(weights, lr=optim.learning_rate, weight_decay=optim.weight_decay)
        ids = [row.input_ids for row in ROWS]
        curve = []
        for _ in range(optim.max_steps or 0):
            loss = model(
                input_ids=pad(ids, 0),
                attention_mask=attention_mask(ids),
                labels=pad([row.labels for row in ROWS], -100),
            ).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, optim.max_grad_norm)
            adamw.step()
            adamw.zero_grad()
            curve.append(loss.item())
        model.unload()
    return curve


@pytest.mark.parametrize("labelled_only", [True, False])
def test_it_trains_as_a_bare_loop_on_these_labels_would(base, tmp_path, monkeypatch, labelled_only):
    """TRL's trap: columns it does not expect make it train on the prompt too, silently."""
    monkeypatch.setattr(sft, "proven", lambda model, ids: labelled_only)
    metrics = trained(base, tmp_path, optim=WHOLE)
    assert losses(metrics) == pytest.approx(bare_loop(base, WHOLE), rel=1e-4)
    assert metrics.loss_curve[0]["loss"] == pytest.approx(mean_loss(item_losses(base, ROWS)), 1e-5)
    on_everything = [replace(row, labels=row.input_ids) for row in ROWS]
    assert abs(mean_loss(item_losses(base, on_everything)) - losses(metrics)[0]) > 1e-3


def test_accumulated_batches_weigh_tokens_and_not_batches(base, tmp_path):
    split = WHOLE.model_copy(
        update={"per_device_train_batch_size": 3, "gradient_accumulation_steps": 4}
    )
    together = trained(base, tmp_path / "a", optim=WHOLE)
    apart = trained(base, tmp_path / "b", optim=split)
    assert losses(apart) == pytest.approx(losses(together), rel=1e-5)


def test_what_was_trained_on_is_counted(base, tmp_path):
    rows = [replace(row, truncated=i < 2) for i, row in enumerate(ROWS)]
    metrics = trained(base, tmp_path, rows=rows, eval_rows=ROWS[:5])
    assert metrics.rows == metrics.rows_trained == 12
    assert metrics.truncated_rows == 2
    assert metrics.supervised_tokens == sum(row.supervised for row in ROWS)
    first = [sum(row.supervised for row in ROWS[i : i + 4]) for i in (0, 4, 8)]
    assert 0 < metrics.supervised_tokens_first_batch < sum(first)
    assert metrics.steps == len(metrics.loss_curve) == 9
    assert (metrics.pad_token_id, metrics.bos_token_id, metrics.eos_token_id) == (0, 1, 2)
    assert metrics.tokens_per_second > 0
    with using_adapter(base, tmp_path) as adapted:
        assert mean_loss(item_losses(adapted, ROWS[:5])) == pytest.approx(
            metrics.eval_loss_after, rel=1e-6
        )
    assert mean_loss(item_losses(base, ROWS[:5])) == pytest.approx(metrics.eval_loss_before)
    assert metrics.eval_loss_after < metrics.eval_loss_before


def test_the_base_is_left_as_it_was(base, tmp_path):
    model = base.model
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = dict(vars(model))
    configs = [dict(vars(model.config)), dict(vars(model.generation_config))]
    flags = [p.requires_grad for p in model.parameters()]
    checkpointed = SMALL.model_copy(update={"gradient_checkpointing": True})
    trained(base, tmp_path / "a", optim=checkpointed)
    trained(base, tmp_path / "b")
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert vars(model).keys() == attributes.keys()
    assert all(vars(model)[name] is value for name, value in attributes.items())
    assert [dict(vars(model.config)), dict(vars(model.generation_config))] == configs
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not any(module.training for module in model.modules())
    assert not any("lora" in name for name, _ in model.named_modules())
    assert not model._forward_hooks
    assert not model.get_input_embeddings()._forward_hooks
    assert not model.is_activation_checkpointing


def adapter_bytes(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_adapter(base, tmp_path):
    dropout = LORA.model_copy(update={"lora_dropout": 0.3})
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        trained(base, tmp_path / name, lora=dropout, seed=seed)
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(tmp_path / "b")
    assert adapter_bytes(tmp_path / "a") != adapter_bytes(tmp_path / "c")


@pytest.mark.parametrize(("stop_at", "accumulation"), [(2, 1), (4, 1), (6, 2)])
def test_a_killed_training_ends_with_the_same_adapter(
    base, tmp_path, monkeypatch, stop_at, accumulation
):
    """Stopped in an epoch and at its end, with dropout, so that random numbers matter too."""
    lora = LORA.model_copy(update={"lora_dropout": 0.3})
    optim = SMALL.model_copy(
        update={"gradient_accumulation_steps": accumulation, "num_train_epochs": 6}
    )
    whole = trained(base, tmp_path / "whole", lora=lora, optim=optim)
    settings = {
        "lora": lora,
        "optim": optim,
        "checkpoints": tmp_path / "checkpoints",
        "checkpoint_seconds": 0,
    }
    advance = watch.Progress.advance

    def killed(progress, n=1):
        advance(progress, n)
        if progress.label == "finetune" and progress.done == stop_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(watch.Progress, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(base, tmp_path / "again", **settings)
    assert not (tmp_path / "again").exists()
    # A later checkpoint that was cut off while being written must not be taken.
    (tmp_path / "checkpoints" / "checkpoint-99").mkdir()
    resumed = trained(base, tmp_path / "again", **settings)
    assert resumed.resumed_at_step == stop_at - 1
    assert adapter_bytes(tmp_path / "again") == adapter_bytes(tmp_path / "whole")
    assert losses(resumed) == losses(whole)
    assert len(list((tmp_path / "checkpoints").glob("checkpoint-*"))) == 1


def test_an_adapter_can_be_trained_further(base, tmp_path):
    first = trained(base, tmp_path / "first")
    second = trained(base, tmp_path / "second", resume_adapter=tmp_path / "first", eval_rows=ROWS)
    with using_adapter(base, tmp_path / "first") as adapted:
        assert second.eval_loss_before == pytest.approx(mean_loss(item_losses(adapted, ROWS)))
    assert losses(second)[0] < losses(first)[0]
    assert second.eval_loss_after < second.eval_loss_before
    # Its own rank holds, whatever the settings say.
    assert second.trainable_parameters == first.trainable_parameters
    trained(base, tmp_path / "third", lora=LoraSettings(), resume_adapter=tmp_path / "first")
    assert adapter_bytes(tmp_path / "third") == adapter_bytes(tmp_path / "second")


def test_target_modules(base, tmp_path):
    metrics = trained(base, tmp_path / "all", optim=WHOLE)
    assert "lm_head" not in metrics.target_modules
    assert {"q_proj", "o_proj", "gate_proj", "down_proj"} <= set(metrics.target_modules)
    some = LORA.model_copy(update={"target_modules": ("q_proj", "v_proj")})
    assert trained(base, tmp_path / "two", lora=some).target_modules == ["q_proj", "v_proj"]
    for wrong in ("no_such", "lm_head"):
        settings = LORA.model_copy(update={"target_modules": (wrong,)})
        with pytest.raises(BadInput, match="--target-modules"):
            trained(base, tmp_path / "wrong", lora=settings)
        assert not any("lora" in name for name, _ in base.model.named_modules())


def test_a_loss_that_is_no_number_is_one_line(base, tmp_path):
    wild = SMALL.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 0.0})
    with pytest.raises(WhenceError, match="training loss is nan at step") as caught:
        trained(base, tmp_path / "wild", optim=wild)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "wild").exists()
    assert not any("lora" in name for name, _ in base.model.named_modules())


def test_memory_that_runs_out_is_one_line(base, tmp_path, monkeypatch):
    def too_big(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 TiB.\nmore")

    monkeypatch.setattr(sft, "hidden_states", too_big)
    with pytest.raises(WhenceError, match="out of memory with 4 rows") as caught:
        trained(base, tmp_path / "big")
    assert "--gradient-checkpointing" in str(caught.value)
    assert not any("lora" in name for name, _ in base.model.named_modules())


def test_nothing_to_train_on(base, tmp_path):
    with pytest.raises(BadInput, match="no rows"):
        trained(base, tmp_path, rows=[])


def test_labels_that_get_lost_are_noticed(base, tmp_path, monkeypatch):
    collate = sft.DataCollatorForLanguageModeling.torch_call

    def unlabelled(self, examples):
        return collate(self, [{"input_ids": e["input_ids"]} for e in examples])

    monkeypatch.setattr(sft.DataCollatorForLanguageModeling, "torch_call", unlabelled)
    with pytest.raises(WhenceError, match="the rows' labels have"):
        trained(base, tmp_path)
