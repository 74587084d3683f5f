"""`whence doctor --model` prints the proof of a model's parts, and says what has none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from whence.doctor import DoctorConfig, doctor
from whence.doctor.anatomy import anatomy_checks
from whence.doctor.check import Check
from whence.models.load import Loaded

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import zoo

ROW = [5, 9, 200, 31, 7]


def checks_of(model: Any) -> dict[str, Check]:
    loaded = Loaded(model, None, torch.device("cpu"), model.dtype, "here")  # type: ignore[arg-type]
    return {check.name: check for check in anatomy_checks(loaded, ROW)}


@pytest.mark.parametrize(("name", "attention"), zoo.VARIANTS)
def test_the_zoo_is_proved(name: str, attention: str):
    model = zoo.make(name, attn_implementation=attention, dtype=torch.bfloat16)
    checks = checks_of(model)
    assert list(checks) == [
        "anatomy", "heads", "residual stream", "mlp.hook_post", "replay", "attention patterns",
    ]  # fmt: skip
    assert {check.status for check in checks.values()} == {"ok"}
    assert "3 blocks, 4 query heads of" in checks["anatomy"].found
    assert "in 3 blocks, max |Δ| 0.0e+00" in checks["heads"].found
    assert "resid_post, exactly, in 3 blocks" in checks["residual stream"].found
    assert ("mixture of experts" in checks["mlp.hook_post"].found) == (name == "mixtral")
    assert ("can be read" in checks["attention patterns"].found) == (attention == "eager")


def test_grouped_heads_and_their_projection_are_named():
    assert checks_of(zoo.make("gemma2"))["anatomy"].found == (
        "3 blocks, 4 query heads of 16 on 2 key-value heads, width 48; hook_z enters "
        "self_attn.o_proj"
    )
    assert "as post_attention_layernorm adds it" in checks_of(zoo.make("gemma2"))["heads"].found
    assert "on 1 key-value head, width" in checks_of(zoo.make("falcon"))["anatomy"].found


def test_a_residual_multiplier_is_a_warning():
    config = transformers.GraniteConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, residual_multiplier=0.3,
    )  # fmt: skip
    checks = checks_of(zoo.randomised(config, 0))
    assert checks["residual stream"].status == "warn"
    assert "do not simply add up in blocks 0, 1" in checks["residual stream"].found
    assert checks["replay"].status == checks["heads"].status == "ok"


def test_a_model_without_attention_is_a_warning_that_names_it():
    config = transformers.MambaConfig(vocab_size=320, hidden_size=16, num_hidden_layers=2)
    checks = checks_of(transformers.MambaForCausalLM(config).eval())
    assert list(checks) == ["anatomy"]
    assert checks["anatomy"].status == "warn"
    assert "no attention in block 0" in checks["anatomy"].found
    assert "docs/models.md" in checks["anatomy"].advice


def test_the_doctor_prints_it(random_gemma: Path):
    result = doctor(DoctorConfig(model=str(random_gemma), device="cpu"))
    names = [check.name for check in result.checks]
    assert names.index("left padding") < names.index("anatomy") < names.index("LoRA")
    assert not result.failed
