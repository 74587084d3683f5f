"""`whence anchors predict`: a saved probe on new traces, read as its own were."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import started

from whence.anchors.features.extract import ExtractConfig, extract
from whence.anchors.features.store import load
from whence.anchors.probes.data import Labels, ProbeData
from whence.anchors.probes.predict import PredictConfig, predict
from whence.anchors.probes.probe import Fitting
from whence.anchors.probes.registry import PROBES
from whence.anchors.probes.saved import load_probe, save_probe
from whence.anchors.probes.settings import ProbeSettings
from whence.errors import BadInput
from whence.tiny.traces import make_trace
from whence.tiny.world import make_world

QUICK = ProbeSettings(token_probe_mlp_width=8, token_probe_max_epochs=2, mlp_max_iter=3)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """Traces of the tiny world, extracted; every probe trained on them and saved."""
    folder = tmp_path_factory.mktemp("studied")
    rows = traces()
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    extract(
        ExtractConfig(
            traces=folder / "traces.jsonl",
            model="tiny",
            pooling=("mean", "tokens"),
            vertical="light",
            output_dir=folder / "E",
            device="cpu",
        )
    )
    features = load(folder / "E")
    frame = pd.DataFrame(
        {
            "problem_id": [row["problem_id"] for row in rows for _ in row["sentences"]],
            "chunk_idx": [i for row in rows for i in range(len(row["sentences"]))],
            "num_chunks": [len(row["sentences"]) for row in rows for _ in row["sentences"]],
            "chunk_text": [each["text"] for row in rows for each in row["sentences"]],
            "function_tag": "unknown",
        }
    )
    frame["relative_position"] = (
        frame["chunk_idx"] / np.maximum(frame["num_chunks"] - 1, 1)
    ).astype(np.float32)
    layer = features.layer(None)
    data = features.data(frame, layer=layer, tokens=True, vertical=True)
    y = np.array([float(each["decisive"]) for row in rows for each in row["sentences"]])
    about = {
        "target": "anchor_binary",
        "layer": layer,
        "pooling": "mean",
        "model": features.model,
        "bos": features.facts.get("prepend_bos"),
        "vertical": features.vertical,
    }
    for name, probe in PROBES.items():
        fitted = probe.fit(data, Labels(y, False), Fitting(settings=QUICK, fixed=True))
        save_probe(fitted, probe, about, folder / "probes" / name)
    return folder, data


def traces() -> list[dict]:
    """Ten traces of the tiny world, as `whence tiny make --kind traces` writes them."""
    world, rng = make_world(0), random.Random(0)
    return [make_trace(world, rng).row(index) for index in range(10)]


def scored(studied, name: str, output: Path, **changes) -> pd.DataFrame:
    folder, _ = studied
    values = {"model": "tiny", "device": "cpu", **changes}
    predict(
        PredictConfig(
            probe=folder / "probes" / name,
            input=folder / "traces.jsonl",
            output_dir=output,
            **values,
        )
    )
    return pd.read_parquet(output / "predictions.parquet")


@pytest.mark.parametrize("name", PROBES)
def test_new_traces_score_as_extracted_ones(studied, tmp_path, name):
    folder, data = studied
    expected = load_probe(folder / "probes" / name).fitted.score(data)
    found = scored(studied, name, tmp_path / "P")
    assert found["problem_id"].tolist() == data.frame["problem_id"].tolist()
    assert found["chunk_text"].tolist() == data.frame["chunk_text"].tolist()
    np.testing.assert_allclose(found[f"score_{name}"], expected, atol=1e-5)
    top = json.loads((tmp_path / "P" / "top.json").read_text())
    best = found.loc[found.groupby("problem_id")[f"score_{name}"].idxmax(), "chunk_idx"]
    assert [each["top"][0]["chunk_idx"] for each in top["highest"]] == best.tolist()


def test_the_model_is_taken_apart_once(studied, tmp_path, monkeypatch):
    from whence.models import anatomy

    taken, found = [], anatomy.find_anatomy

    def counted(model):
        taken.append(model)
        return found(model)

    monkeypatch.setattr(anatomy, "find_anatomy", counted)
    scored(studied, "linear_probe", tmp_path / "P")
    assert len(taken) == 1


@pytest.mark.parametrize("name", ["position_untrained", "text_only_baseline"])
def test_no_model_where_none_is_needed(studied, tmp_path, name):
    assert len(scored(studied, name, tmp_path / "P", model=None))


@pytest.mark.parametrize(
    ("name", "reads"), [("linear_probe", "activations"), ("position_baseline", "tokens")]
)
def test_a_model_where_one_is_needed(studied, tmp_path, name, reads):
    with pytest.raises(BadInput, match=f"{reads}.*give --model"):
        scored(studied, name, tmp_path / "P", model=None)
    assert not (tmp_path / "P").exists()


@pytest.mark.parametrize("name", ["linear_probe", "position_baseline"])
def test_another_model_is_refused_unless_allowed(studied, tmp_path, random_gemma, name):
    with pytest.raises(BadInput, match="another model than") as error:
        scored(studied, name, tmp_path / "P", model=str(random_gemma))
    assert "\n" not in str(error.value)
    other = {"model": str(random_gemma), "allow_other_model": True}
    if name == "position_baseline":
        scored(studied, name, tmp_path / "P", **other)
        said = json.loads((tmp_path / "P" / "top.json").read_text())["cautions"]
        assert any("another model" in each for each in said)
    else:
        with pytest.raises(BadInput, match=r"48 columns here|has layers 0 to"):
            scored(studied, name, tmp_path / "Q", **other)


def test_a_probe_of_unknown_activations_is_refused(studied, tmp_path):
    folder, _ = studied
    loaded = load_probe(folder / "probes" / "linear_probe")
    save_probe(loaded.fitted, loaded.probe, {}, tmp_path / "probe")
    with pytest.raises(BadInput, match="does not say model, layer, bos"):
        predict(
            PredictConfig(
                probe=tmp_path / "probe",
                input=folder / "traces.jsonl",
                model="tiny",
                output_dir=tmp_path / "P",
            )
        )


def test_twice_is_already_done(studied, tmp_path):
    scored(studied, "text_only_baseline", tmp_path / "P", model=None)
    before = (tmp_path / "P" / "predictions.parquet").read_bytes()
    folder, _ = studied
    again = predict(
        PredictConfig(
            probe=folder / "probes" / "text_only_baseline",
            input=folder / "traces.jsonl",
            output_dir=tmp_path / "P",
            device="cpu",
        )
    )
    assert again.done
    assert again.finding().headline.startswith("Already done: text_only_baseline scored")
    assert (tmp_path / "P" / "predictions.parquet").read_bytes() == before


def test_killed_and_run_again_gives_the_same_bytes(studied, tmp_path):
    folder, _ = studied
    scored(studied, "linear_probe", tmp_path / "whole")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from whence.anchors.probes import predict as module\n"
        "kept = module._scored\n"
        "def once(*args):\n"
        "    if args[-1].name == '1.parquet': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return kept(*args)\n"
        "module._scored = once\n"
        "module.predict(module.PredictConfig(probe=Path(sys.argv[1]), input=Path(sys.argv[2]),"
        " model='tiny', device='cpu', output_dir=Path(sys.argv[3])))\n"
    )
    asked = [folder / "probes" / "linear_probe", folder / "traces.jsonl", tmp_path / "P"]
    assert started.python(code, *asked).wait() == -9
    first = tmp_path / "P.partial" / ".scratch" / "traces" / "0.parquet"
    assert first.is_file()
    assert not (tmp_path / "P").exists()
    scored(studied, "linear_probe", tmp_path / "P")
    for name in ("predictions.parquet", "top.json"):
        assert (tmp_path / "P" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_text_probes_take_data_without_spans(studied):
    folder, data = studied
    fitted = load_probe(folder / "probes" / "text_only_baseline").fitted
    assert len(fitted.score(ProbeData(data.frame[["chunk_text"]]))) == len(data)
