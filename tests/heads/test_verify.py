"""The slice run elsewhere: equal arithmetic passes, a device that computes wrongly does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import corpus, put, single

from whence.heads.battery import parse_battery
from whence.heads.condition import ConditionResult, run_condition
from whence.heads.conditions import Subject, examples_of, find_source, reading_of
from whence.heads.plan import Condition, read_plan
from whence.heads.prompts import Examples
from whence.heads.verify import FEW, first_few, verify

Folder = Callable[[str], Path]

BATTERIES: dict[str, dict[str, Any]] = {
    "zero": {"type": "heads_zero", "random_control": 2, "layers": [1, 2], "heads": [0, 1]},
    "mean": {"type": "heads_mean"},
    "resample": {"type": "heads_resample"},
    "pairs": {"type": "heads_pair_zero", "pairs": [{"layer": 0, "h1": 0, "h2": 3}]},
    "patch": {"type": "activation_patch", "sham_control": True, "window": True},
    "head_out": {"type": "activation_patch", "granularity": "head_out"},
}


class Measured:
    """One condition, run on the main device."""

    def __init__(self, home: Path, folder: Path, battery: dict[str, Any], **more: Any) -> None:
        verify_slice = {"device": "cpu", "n_examples": 3}
        plan = single(folder, battery, verify_slice=verify_slice, metric_span="full_target", **more)
        plan["metrics"] = ["acc_flip_rate", "p_drop", "kl_div", "seq_logprob_diff"]
        self.subject = Subject.of(read_plan(put(home / "configs/run.json", plan)))
        self.condition: Condition = self.subject.plan.conditions[0]
        self.reading = reading_of(self.condition)
        source = find_source(home / "corpora", self.condition)
        self.examples: Examples = examples_of(self.subject, self.condition, source, self.reading)
        self.scratch = home / "scratch"
        shards = home / "shards"
        shards.mkdir()
        self.result: ConditionResult = run_condition(
            self.subject.loaded,
            self.subject.anatomy,
            self.examples,
            self.condition.battery,
            self.reading,
            shards,
        )

    def verify(self) -> dict[str, Any]:
        return verify(
            self.subject, self.condition, self.examples, self.reading, self.result, self.scratch
        )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    corpus(tmp_path, "facts", range(8))
    return tmp_path


@pytest.mark.parametrize("name", list(BATTERIES))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_weights_agree(home: Path, zoo_folder: Folder, name: str, dtype: str) -> None:
    model = {"name": str(zoo_folder("llama")), "dtype": dtype}
    found = Measured(home, zoo_folder("llama"), BATTERIES[name], model=model).verify()
    assert found["passed"] is True, found
    assert found["n_examples"] == 3
    assert found["compared_with"] == {"device": "cpu", "dtype": dtype}
    assert set(found["max_abs_difference"]) == {
        "delta_logit_diff", "p_drop", "kl_div", "seq_logprob_diff"
    }  # fmt: skip
    if dtype == "float32":
        assert found["max_abs_difference"]["delta_logit_diff"] < 1e-5
    else:  # the check has power: what it measures is of the order of what it allows
        assert found["max_abs_difference"]["delta_logit_diff"] > 1e-3
        assert found["tolerance"]["delta_logit_diff"] < 2
    assert found["interventions"] <= 2 * FEW + 2


@pytest.mark.parametrize("name", ["zero", "mean", "patch"])
def test_a_device_that_computes_wrongly(home: Path, zoo_folder: Folder, name: str) -> None:
    """One head's output is off by a hundredth on the other device."""
    import torch

    measured = Measured(home, zoo_folder("llama"), BATTERIES[name])
    other = measured.subject.other("cpu")
    with torch.no_grad():
        other.model.model.layers[2].self_attn.o_proj.weight[:, :8] *= 1.01
    found = measured.verify()
    assert found["passed"] is False
    assert "DIFFERS" in found["sentence"]
    worst = found["max_abs_difference"]["delta_logit_diff"]
    assert worst > found["tolerance"]["delta_logit_diff"]


def test_the_main_run_is_what_is_compared(home: Path, zoo_folder: Folder) -> None:
    """A main run that was wrong is found out, though both devices would now agree."""
    import torch

    wrong = Measured(home, zoo_folder("llama"), BATTERIES["zero"])
    with torch.no_grad():
        wrong.subject.anatomy.unembedding.weight *= 1.01
    (home / "shards").rename(home / "first")
    again = home / "shards"
    again.mkdir()
    wrong.result = run_condition(
        wrong.subject.loaded,
        wrong.subject.anatomy,
        wrong.examples,
        wrong.condition.battery,
        wrong.reading,
        again,
    )
    assert wrong.verify()["passed"] is False


def test_a_device_that_is_not_here(home: Path, zoo_folder: Folder) -> None:
    """Nothing is known then, which is no failure of the run."""
    measured = Measured(home, zoo_folder("llama"), BATTERIES["zero"])
    slice_there = measured.condition.verify_slice
    assert slice_there is not None
    object.__setattr__(
        measured.condition,
        "verify_slice",
        slice_there.model_copy(update={"device": "cuda:99"}),
    )
    found = measured.verify()
    assert found["passed"] is None
    assert found["sentence"].startswith("not verified on cuda:99: ")


def test_the_first_few(home: Path, zoo_folder: Folder) -> None:
    anatomy = Measured(home, zoo_folder("llama"), BATTERIES["zero"]).subject.anatomy
    few = first_few(parse_battery({"type": "heads_zero", "scales": [0.5, 0]}, "b"), anatomy)
    assert (few.layers, few.heads, few.scales) == ((0,), (0, 1, 2, 3), (0.5,))  # type: ignore[union-attr]
    patch = parse_battery({"type": "activation_patch", "layers": [2, 0], "window": True}, "b")
    few = first_few(patch, anatomy)
    assert (few.layers, few.window) == ((0, 2), True)  # type: ignore[union-attr]
