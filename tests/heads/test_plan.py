"""Plans: the earlier lab's files as they are, which word wins, and what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whence.errors import BadInput
from whence.heads.battery import ActivationPatch, HeadsPairZero, HeadsSubsetZero, HeadsZero
from whence.heads.plan import read_plan

BATTERY = {"type": "heads_zero"}
RUN: dict[str, Any] = {
    "run_name": "one",
    "battery": BATTERY,
    "seeds": [3],
    "device": "cpu",
    "model": {"family": "gpt2", "name": "gpt2-medium", "dtype": "float16"},
    "dataset": {"id": "facts", "split": "train", "clean_field": "question"},
    "metrics": ["logit_diff"],
    "batch_size": 8,
}
CROSS: dict[str, Any] = {
    "run_name": "two",
    "battery": BATTERY,
    "shared": {key: RUN[key] for key in ("seeds", "device", "model", "dataset", "metrics")},
    "conditions": [{"tag": "facts"}, {"tag": "neg", "dataset": {"id": "negation"}}],
}


def put(folder: Path, content: dict[str, Any], name: str = "run.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_every_old_run_loads(shared_data: Path) -> None:
    """Batteries are named by paths of another root and found beside the file."""
    configs = shared_data / "probes/configs"
    plans = {path.name: read_plan(path) for path in sorted(configs.glob("run_*.json"))}
    kinds = {
        "run_h1_cross_condition_balanced.json": HeadsZero,
        "run_h5_layer0_pairs_balanced.json": HeadsPairZero,
        "run_h5_layer0_triplet_balanced.json": HeadsSubsetZero,
        "run_h6_layer_targets_window_balanced.json": ActivationPatch,
    }
    assert plans.keys() == kinds.keys()
    for name, plan in plans.items():
        assert [c.tag for c in plan.conditions] == ["facts", "neg", "cf", "logic"]
        assert all(isinstance(c.battery, kinds[name]) for c in plan.conditions)
        assert plan.model.family == "gpt2"
        assert (plan.model_name, plan.model.dtype, plan.device) == ("gpt2-medium", "float16", "mps")
        assert {c.dataset.split for c in plan.conditions} == {"train"}
        assert all(c.settings["seeds"] == (0, 1, 2) for c in plan.conditions)
        assert all(c.settings["batch_size"] == 8 for c in plan.conditions)
    h6 = plans["run_h6_layer_targets_window_balanced.json"]
    layers = {c.tag: c.battery.layers for c in h6.conditions if hasattr(c.battery, "layers")}
    assert layers["facts"] == (9, 10, 11, 12, 13)
    assert layers["logic"] == (0, 1, 2)
    assert all(c.verify_slice and c.verify_slice.n_examples == 10 for c in h6.conditions)


def test_a_single_run(tmp_path: Path) -> None:
    plan = read_plan(put(tmp_path, RUN))
    assert plan.single
    (only,) = plan.conditions
    assert (only.tag, only.dataset_id, only.dataset.clean_field) == (None, "facts", "question")
    assert only.settings == {"seeds": (3,), "metrics": ("logit_diff",), "batch_size": 8}


def test_a_condition_changes_what_it_names(tmp_path: Path) -> None:
    """Sections are merged key by key: the other corpus keeps split and field names."""
    facts, neg = read_plan(put(tmp_path, CROSS)).conditions
    assert (facts.dataset_id, neg.dataset_id) == ("facts", "negation")
    assert (neg.dataset.split, neg.dataset.clean_field) == ("train", "question")


@pytest.mark.parametrize(
    ("flag", "condition", "own_battery", "shared", "battery", "wins"),
    [
        ("first", "final_2", "final_3", "final_4", "final_5", "first"),
        (None, "final_2", "final_3", "final_4", "final_5", "final_2"),
        (None, None, "final_3", "final_4", "final_5", "final_3"),
        (None, None, None, "final_4", "final_5", "final_4"),
        (None, None, None, None, "final_5", "final_5"),
        (None, None, None, None, None, "all"),
    ],
)
def test_the_nearest_word_wins(
    tmp_path: Path,
    flag: str | None,
    condition: str | None,
    own_battery: str | None,
    shared: str | None,
    battery: str | None,
    wins: str,
) -> None:
    def said(value: str | None) -> dict[str, str]:
        return {} if value is None else {"positions": value}

    content = {
        **CROSS,
        "battery": BATTERY | said(battery),
        "shared": CROSS["shared"] | said(shared),
        "conditions": [{"tag": "a", **said(condition)}],
    }
    if own_battery:
        content["conditions"][0]["battery"] = BATTERY | said(own_battery)
    plan = read_plan(put(tmp_path, content), {"positions": flag})
    assert plan.conditions[0].battery.positions == wins


@pytest.mark.parametrize("place", ["top", "shared", "battery", "condition"])
def test_settings_hold_wherever_they_are_said(tmp_path: Path, place: str) -> None:
    said = {
        "batch_size": 5,
        "max_seq_len": 40,
        "metrics": ["kl_div"],
        "verify_slice": {"device": "cpu", "n_examples": 3},
    }
    shared = {k: v for k, v in CROSS["shared"].items() if k != "metrics"}
    content = {**CROSS, "shared": shared}
    if place == "top":
        content |= said
    elif place == "shared":
        content["shared"] = shared | said
    elif place == "battery":
        content["battery"] = BATTERY | said
    else:
        content["conditions"] = [{"tag": "a", **said}]
    condition = read_plan(put(tmp_path, content)).conditions[0]
    assert condition.settings["batch_size"] == 5
    assert condition.settings["max_seq_len"] == 40
    assert condition.settings["metrics"] == ("kl_div",)
    assert condition.verify_slice is not None
    assert condition.verify_slice.n_examples == 3


def test_flags_win(tmp_path: Path) -> None:
    flags = {
        "model": "tiny",
        "dtype": "float32",
        "device": "cuda",
        "split": "test",
        "seeds": (7,),
        "batch_size": 2,
        "metrics": None,
    }
    plan = read_plan(put(tmp_path, CROSS), flags)
    assert (plan.model_name, plan.model.dtype, plan.device) == ("tiny", "float32", "cuda")
    for condition in plan.conditions:
        assert condition.dataset.split == "test"
        assert condition.settings["seeds"] == (7,)
        assert condition.settings["batch_size"] == 2
        assert condition.settings["metrics"] == ("logit_diff",)


def test_another_model_has_no_revision_of_the_first(tmp_path: Path) -> None:
    content = {**RUN, "model": {"name": "gpt2", "revision": "abc"}}
    path = put(tmp_path, content)
    assert read_plan(path).model.revision == "abc"
    assert read_plan(path, {"model": "other"}).model.revision is None


def test_where_a_battery_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As given from here, then below the config's folder, then by its name beside the config."""
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path = put(home, {**RUN, "battery": "lab/b.json"})
    with pytest.raises(BadInput, match=r"battery: no such file; looked for lab/b.json, .*home/b"):
        read_plan(path)
    for folder, scale in ((home, 0.1), (home / "lab", 0.2), (here / "lab", 0.3)):
        put(folder, {**BATTERY, "scales": [scale]}, "b.json")
        battery = read_plan(path).conditions[0].battery
        assert isinstance(battery, HeadsZero)
        assert battery.scales == (scale,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrcs": []}, "run.json: metrcs: no such key; did you mean metrics?"),
        ({"shared": {"sedes": [0]}}, "run.json: shared.sedes: no such key; did you mean seeds?"),
        (
            {"dataset": {"id": "a", "splt": "all"}},
            "run.json: dataset.splt: no such key; did you mean split?",
        ),
        (
            {"model": {"nam": "a"}},
            "run.json: model.nam: no such key; did you mean name?",
        ),
        (
            {"conditions": [{"tag": "a", "datset": {}}]},
            "run.json: conditions.0.datset: no such key; did you mean dataset?",
        ),
        ({"conditions": [{"tag": "a"}, {"tag": "a"}]}, "conditions: the tag 'a' is given twice"),
        ({"conditions": [{"tag": "a/b"}]}, "conditions.0.tag: "),
        ({"conditions": []}, "conditions: the list is empty"),
        ({"conditions": [{"tag": "a", "device": "cpu"}]}, "conditions.0: device: all conditions"),
        ({"metrics": ["kl_dv"]}, "run.json: metrics: no metric 'kl_dv'; did you mean kl_div?"),
        ({"metrics": ["seq_p_drop"]}, "run.json: metrics: seq_p_drop reads the whole target"),
        ({"seeds": []}, "seeds: "),
        ({"batch_size": "eight"}, "batch_size: "),
        ({"dataset": {"id": "a", "split": "training"}}, "dataset.split: should be 'train'"),
        ({"dataset": {}}, "dataset.id is required"),
        ({"model": {"dtype": "float32"}}, "model.name is required, or --model"),
        ({"battery": None}, "battery is required"),
        ({"battery": 3}, "battery: a file or an object"),
        ({"battery": {"type": "heads_zer"}}, "battery: type 'heads_zer' is no battery; did you"),
        ({"run_name": None}, "run_name: "),
        ({"verify_slice": {"examples": 3}}, "verify_slice.examples: no such key"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = put(tmp_path, RUN | change)
    with pytest.raises(BadInput) as error:
        read_plan(path)
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_not_json(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(BadInput, match=r"run.json: not JSON at line 1"):
        read_plan(tmp_path / "run.json")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(BadInput, match=r"run.json: an object was expected"):
        read_plan(tmp_path / "run.json")
