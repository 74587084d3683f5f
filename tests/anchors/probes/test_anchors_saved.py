"""Saved probes give equal scores, and folders that are not whole are refused."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from probe_cases import case

from whence.anchors.probes.probe import Fitting
from whence.anchors.probes.registry import PROBES
from whence.anchors.probes.saved import ABOUT, load_probe, save_probe
from whence.anchors.probes.settings import ProbeSettings
from whence.errors import BadInput

QUICK = ProbeSettings(token_probe_max_epochs=2, mlp_max_iter=3)


@pytest.fixture
def saved(tmp_path):
    data, labels = case(problems=2, each=12)
    probe = PROBES["linear_probe"]
    fitted = probe.fit(data, labels, Fitting(fixed=True))
    save_probe(fitted, probe, {"target": "anchor_binary"}, tmp_path / "P")
    return tmp_path / "P"


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_equal_scores_after_loading(tmp_path, name, continuous, fixed):
    data, labels = case(problems=3, each=12, continuous=continuous)
    probe = PROBES[name]
    fitted = probe.fit(data, labels, Fitting(settings=QUICK, fixed=fixed))
    save_probe(fitted, probe, {"layer": 3}, tmp_path / "P")
    loaded = load_probe(tmp_path / "P")
    assert loaded.probe is probe
    assert loaded.about["layer"] == 3
    assert set(ABOUT) <= set(loaded.about)
    np.testing.assert_array_equal(loaded.fitted.score(data), fitted.score(data))
    assert loaded.fitted.counts_tokens == fitted.counts_tokens
    assert json.loads(json.dumps(fitted.notes)) == loaded.fitted.notes


def test_equal_bytes_and_replacing(saved, tmp_path):
    data, labels = case(problems=2, each=12)
    probe = PROBES["linear_probe"]
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    fitted = probe.fit(data, labels, Fitting(fixed=True))
    save_probe(fitted, probe, {"target": "anchor_binary"}, saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert sorted(before) == ["probe.json", "probe.safetensors"]


def test_loading_unpickles_nothing(saved):
    code = (
        "import pickle, sys\n"
        "def refuse(*_a, **_k): raise SystemExit('pickle')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = refuse\n"
        "from pathlib import Path\n"
        "from whence.anchors.probes.saved import load_probe\n"
        f"print(load_probe(Path({str(saved)!r})).probe.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "linear_probe"


def test_what_is_no_probe_is_refused(saved, tmp_path):
    with pytest.raises(BadInput, match=r"no probe\.json"):
        load_probe(tmp_path)
    with pytest.raises(BadInput, match=r"no probe\.json"):
        load_probe(tmp_path / "absent")
    (saved / "probe.safetensors").write_bytes(b"other")
    with pytest.raises(BadInput, match="is not the file"):
        load_probe(saved)
    (saved / "probe.safetensors").unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        load_probe(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "format is not"),
        ({"probe": "linear_prob"}, "did you mean linear_probe"),
        ({"settings": {}}, "does not describe"),
        ({"arrays": None}, "does not describe"),
        ({"probe": 3}, "probe"),
    ],
)
def test_descriptions_that_were_changed_are_refused(saved, change, message):
    path = saved / "probe.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match=message) as error:
        load_probe(saved)
    assert "\n" not in str(error.value)


def test_a_save_that_was_cut_off_leaves_no_probe(saved, monkeypatch):
    from whence.anchors.probes import saved as module

    def cut(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", cut)
    data, labels = case(problems=2, each=12, seed=9)
    fitted = PROBES["linear_probe"].fit(data, labels, Fitting(fixed=True))
    with pytest.raises(KeyboardInterrupt):
        save_probe(fitted, PROBES["linear_probe"], {}, saved)
    with pytest.raises(BadInput, match=r"no probe\.json"):
        load_probe(saved)
