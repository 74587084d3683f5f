"""Adapters come and go on one base, and only on the base they were trained on."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model

from whence.errors import BadInput
from whence.models.adapters import save_adapter
from whence.models.load import attach_adapter, detach_adapter, load_model, using_adapter

IDS = torch.tensor([[1, 40, 50, 60, 70]])


@pytest.fixture(scope="module")
def base(random_gemma):
    return load_model(str(random_gemma), device="cpu")


def make_adapter(base, folder, seed):
    torch.manual_seed(seed)
    model = get_peft_model(base.model, LoraConfig(r=4, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    save_adapter(model, base, folder)
    model.unload()
    return folder


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    home = tmp_path_factory.mktemp("adapters")
    return [make_adapter(base, home / str(seed), seed) for seed in (1, 2)]


def logits(loaded):
    with torch.inference_mode():
        return loaded.model(IDS).logits


def test_adapters_share_one_base_and_leave_it_as_it_was(base, adapters):
    plain = logits(base)
    weights = {name: value.clone() for name, value in base.model.state_dict().items()}
    seen = []
    for folder in (*adapters, adapters[0]):
        with using_adapter(base, folder) as adapted:
            assert adapted.adapter == folder
            seen.append(logits(adapted))
        assert torch.equal(logits(base), plain)
    assert torch.equal(seen[0], seen[2])
    assert (seen[0] - plain).abs().max() > 0.01
    assert (seen[0] - seen[1]).abs().max() > 0.01
    assert base.model.state_dict().keys() == weights.keys()
    assert all(torch.equal(v, weights[n]) for n, v in base.model.state_dict().items())


def test_no_adapter_is_the_base_itself(base):
    with using_adapter(base, None) as same:
        assert same is base
    assert detach_adapter(base) is base


def test_the_same_adapter_is_saved_as_the_same_bytes(base, adapters, tmp_path):
    again = make_adapter(base, tmp_path / "again", 1)
    for file in adapters[0].iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def refusal(base, adapter) -> str:
    before = set(dict(base.model.named_modules()))
    with pytest.raises(BadInput) as caught:
        attach_adapter(base, adapter)
    assert set(dict(base.model.named_modules())) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def remade(random_gemma, tmp_path, **changes):
    """Another base of the same architecture, with other sizes or just other weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(random_gemma)
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(5)
    folder = shutil.copytree(random_gemma, tmp_path / "other")
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return load_model(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"intermediate_size": 80}, "has shape"),
        (
            {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2},
            "it has no model.layers.2",
        ),
        ({}, "other weights"),
    ],
)
def test_an_adapter_of_another_base_is_refused(random_gemma, adapters, tmp_path, changes, because):
    message = refusal(remade(random_gemma, tmp_path, **changes), adapters[0])
    assert because in message
    assert str(random_gemma) in message


def test_an_adapter_saved_elsewhere_is_known_by_its_base_folder(random_gemma, adapters, tmp_path):
    foreign = shutil.copytree(adapters[0], tmp_path / "foreign")
    (foreign / "base.json").unlink()
    other = remade(random_gemma, tmp_path)
    assert "other weights" in refusal(other, foreign)
    config = json.loads((foreign / "adapter_config.json").read_text())
    (foreign / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": "moved/away/long/ago"})
    )
    detach_adapter(attach_adapter(other, foreign))


def test_a_base_that_moved_or_changed_its_dtype_is_still_the_base(random_gemma, adapters, tmp_path):
    moved = shutil.copytree(random_gemma, tmp_path / "moved")
    for dtype in ("float32", "bfloat16"):
        detach_adapter(attach_adapter(load_model(str(moved), dtype=dtype), adapters[0]))


def test_folders_that_are_no_adapter(base, adapters, tmp_path):
    assert "no adapter_config.json" in refusal(base, tmp_path / "nowhere")
    half = shutil.copytree(adapters[0], tmp_path / "half")
    weights = half / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    assert "cannot be read" in refusal(base, half)
    weights.unlink()
    assert "not whole" in refusal(base, half)


def test_two_adapters_at_once_are_refused(base, adapters):
    with using_adapter(base, adapters[0]) as adapted, pytest.raises(BadInput, match="already"):
        attach_adapter(adapted, adapters[1])
