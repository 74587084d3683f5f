"""`whence anchors extract` and `storage` as a user runs them; refusals, other models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from extractions import Case, run
from features_by_hand import hidden_by_hand, pooled_by_hand
from safetensors.numpy import load_file

from whence.anchors.features.extract import ExtractConfig, extract
from whence.anchors.features.live import live_features
from whence.anchors.features.storage import StorageConfig, storage
from whence.anchors.features.store import load
from whence.anchors.sentences import read_sentences
from whence.anchors.spans.locate import Span
from whence.anchors.traces import read_traces
from whence.errors import BadInput
from whence.models.load import load_model


def test_what_is_stored_is_what_the_model_says(case: Case, extracted: Path) -> None:
    """Token ids of the whole text, BOS in front, by the tokenizer itself; sums by hand."""
    loaded = load_model("tiny", dtype="float32", device="cpu")
    index = pd.read_parquet(extracted / "sentences.parquet")
    for trace in read_traces(case.traces):
        ids = loaded.tokenizer(trace.text)["input_ids"]
        own = index[index["problem_id"] == trace.problem_id]
        spans = [Span(*pair) for pair in zip(own["token_start"], own["token_end"], strict=True)]
        said = [loaded.tokenizer.decode(ids[a:b]).strip() for a, b in spans]
        assert said == list(trace.sentences)
        arrays = load_file(extracted / f"problem_{trace.problem_id}.safetensors")
        for layer in (1, 4):
            hidden = hidden_by_hand(loaded.model, ids, layer)
            for pooling in ("mean", "tokens", "last"):
                array = arrays[f"blocks.{layer}.hook_resid_post.{pooling}"]
                assert np.allclose(array, pooled_by_hand(hidden, spans, pooling), atol=2e-5)
            heads = arrays[f"blocks.{layer}.vertical_heads"]
            assert heads.shape == (len(spans), 4)
            assert np.allclose(arrays[f"blocks.{layer}.vertical"], heads.mean(1), atol=1e-7)


def test_labels_do_not_count_and_texts_do(case: Case, extracted: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(case.metadata)
    folder = tmp_path / "E"
    shutil.copytree(extracted, folder)
    shutil.copy(case.traces, tmp_path / "traces.jsonl")
    changed = tmp_path / "labels.parquet"
    table.assign(importance_signed=0.5, anchor=1).to_parquet(changed)
    settings = {"vertical": "full", "per_head": True}
    result = run(Case(case.traces, changed), folder, **settings)
    assert result.done
    assert result.finding().headline.startswith("Already done: 2 layers × 3 poolings")
    fewer = table[table.groupby("problem_id").cumcount(ascending=False) > 0]
    fewer.to_parquet(changed)
    with pytest.raises(BadInput, match="another run: input texts"):
        run(Case(case.traces, changed), folder, **settings)
    with pytest.raises(BadInput, match="another run: depth_control"):
        run(case, folder, depth_control=False, **settings)


def test_bad_traces_are_named_before_the_model_is_loaded(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in case.traces.read_text().splitlines()]
    rows[1]["text"] = rows[1]["text"].replace("shells", "clams")
    traces = tmp_path / "traces.jsonl"
    traces.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with monkeypatch.context() as patch:
        patch.setattr("whence.models.load.load_model", None)
        with pytest.raises(BadInput, match=r"problem trace-00001: .*no place.*--skip-failed"):
            run(case, tmp_path / "E", traces=traces)
        with pytest.raises(BadInput, match=r"problem trace-\d+: 1?\d\d tokens, more than the 40"):
            run(case, tmp_path / "E", max_tokens=40)
        with pytest.raises(BadInput, match="none of the 6 traces"):
            run(case, tmp_path / "E", max_tokens=40, skip_failed=True)
    assert not (tmp_path / "E").exists()
    assert not (tmp_path / "E.partial").exists()
    result = run(case, tmp_path / "E", traces=traces, skip_failed=True)
    (failure,) = json.loads((tmp_path / "E" / "failures.json").read_text())
    assert failure["problem_id"] == "trace-00001"
    assert "does not occur in the text" in failure["cause"]
    assert "1 traces were left out" in result.finding().headline
    frame = read_sentences(case.metadata)
    data = load(tmp_path / "E").data(frame)
    assert set(frame["problem_id"]) - set(data.frame["problem_id"]) == {"trace-00001"}


def test_longer_texts_fall_back_to_light_and_that_is_said(case: Case, tmp_path: Path) -> None:
    frame = read_sentences(case.metadata)
    run(case, tmp_path / "L", vertical="light", pooling=("mean",))
    result = run(case, tmp_path / "F", vertical="full", full_max_seq_len=50, pooling=("mean",))
    assert "6 traces are longer than --full-max-seq-len" in result.finding().headline
    light, fallen = (load(tmp_path / n).data(frame, layer=1, vertical=True) for n in "LF")
    assert light.vertical is not None
    assert fallen.vertical is not None
    assert np.array_equal(light.vertical, fallen.vertical)
    assert light.vertical.max() > 0


def test_without_prompts_it_is_said(case: Case, tmp_path: Path) -> None:
    shutil.copy(case.metadata, tmp_path / "alone.parquet")
    result = run(Case(case.traces, tmp_path / "alone.parquet"), tmp_path / "E")
    assert "without their prompts" in result.finding().headline
    assert json.loads((tmp_path / "E" / "features.json").read_text())["text_from"] == "sentences"


@pytest.mark.parametrize("bos", ["default", "never"])
def test_bos_is_as_asked(case: Case, tmp_path: Path, bos: str) -> None:
    result = run(case, tmp_path / "E", prepend_bos=bos, pooling=("mean",))
    assert result.facts["front"] == {"default": "<bos>", "never": ""}[bos]
    index = pd.read_parquet(tmp_path / "E" / "sentences.parquet")
    tokenizer = load_model("tiny", device="cpu").tokenizer
    trace = read_traces(case.traces)[0]
    ids = tokenizer(trace.text, add_special_tokens=bos == "default")["input_ids"]
    first = index.iloc[0]
    said = tokenizer.decode(ids[first["token_start"] : first["token_end"]])
    assert said.strip() == trace.sentences[0]


def test_the_estimate_is_exact_for_arrays_and_not_short_in_all(case: Case, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "metadata": case.metadata, "model": "tiny", "layers": ("all",), "per_head": True,
        "pooling": ("mean", "tokens", "last"), "vertical": "light", "storage_dtype": "float16",
    }  # fmt: skip
    told = storage(StorageConfig(**settings, output_dir=tmp_path / "E"))
    extract(ExtractConfig(**settings, output_dir=tmp_path / "E", device="cpu"))
    files = [load_file(path) for path in (tmp_path / "E").glob("problem_*")]
    stored = {name: sum(file[name].nbytes for file in files) for name in files[0]}
    assert told.arrays == stored
    real = sum(
        path.stat().st_size for path in (tmp_path / "E").iterdir() if path.name != "whence.json"
    )
    assert sum(stored.values()) < real <= told.total
    assert told.total < 1.2 * real
    assert "holds" in told.finding().headline


def test_a_full_disk_is_refused_first(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20_000))
    monkeypatch.setattr("whence.models.load.load_model", None)
    with pytest.raises(BadInput, match=r"are needed and 19.5 KiB are free.*--storage-dtype"):
        run(case, tmp_path / "E")
    config = StorageConfig(metadata=case.metadata, model="tiny", output_dir=tmp_path / "E")
    finding = storage(config).finding()
    assert finding.failed
    assert "does not hold" in finding.headline


def test_storage_needs_no_weights(
    case: Case, zoo_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(zoo_folder("qwen2"), tmp_path / "model")
    for weights in (tmp_path / "model").glob("*.safetensors"):
        weights.unlink()
    config = StorageConfig(
        metadata=case.metadata, model=str(tmp_path / "model"), layers=("all",), max_tokens=4000,
        skip_failed=True,
    )  # fmt: skip
    with pytest.raises(BadInput, match="none of the 6 traces"):  # 128 positions, and byte tokens
        storage(config)


def test_falcon_is_loaded_so_that_it_gives_patterns(
    zoo_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "traces.jsonl").write_text(
        json.dumps({"problem_id": "a/b", "text": "Q? A fox. Two is two.",
                    "sentences": ["A fox.", "Two is two."]}) + "\n"
    )  # fmt: skip
    extract(
        ExtractConfig(
            traces=tmp_path / "traces.jsonl", model=str(zoo_folder("falcon")), layers=("all",),
            vertical="light", output_dir=tmp_path / "E", device="cpu",
        )
    )  # fmt: skip
    frame = pd.DataFrame(
        {"problem_id": ["a/b"] * 2, "chunk_idx": [0, 1], "chunk_text": ["A fox.", "Two is two."]}
    )
    data = load(tmp_path / "E").data(frame, layer=0, vertical=True)
    assert data.vertical is not None
    assert data.vertical[0, 0] > 0
    assert data.vertical[1, 0] == 0


def test_live_features_are_the_stored_ones(case: Case, extracted: Path) -> None:
    frame = read_sentences(case.metadata)
    stored = load(extracted).data(frame, layer=4, tokens=True, vertical=True)
    loaded = load_model("tiny", dtype="float32", device="cpu")
    vertical = load(extracted).vertical
    live = live_features(
        read_traces(case.traces), loaded=loaded, layer=4, poolings={"mean", "tokens"},
        vertical=vertical, bos="default",
    )  # fmt: skip
    assert np.array_equal(live.mean, stored.mean)
    assert np.array_equal(live.vertical, stored.vertical)
    for row in range(len(frame)):
        assert np.array_equal(live.tokens.tokens(row), stored.tokens.tokens(row))
    for name in ("problem_id", "chunk_idx", "num_chunks", "chunk_text", "relative_position"):
        assert live.frame[name].tolist() == frame[name].tolist()
    for name in ("token_start", "token_end", "token_count"):
        assert live.frame[name].tolist() == stored.frame[name].tolist()
    assert set(live.frame["function_tag"]) == {"unknown"}
    bare = live_features(
        read_traces(case.traces), loaded=loaded, layer=4, poolings=(), vertical=None, bos="never"
    )
    assert bare.mean is None
    assert bare.tokens is None
    assert bare.frame["token_start"].tolist() == [n - 1 for n in live.frame["token_start"]]
    with pytest.raises(BadInput, match="tokens, more than the 20"):
        live_features(
            read_traces(case.traces), loaded=loaded, layer=4, poolings={"mean"}, vertical=None,
            bos="default", max_tokens=20,
        )  # fmt: skip


def test_an_adapter_counts(case: Case, extracted: Path, tmp_path: Path) -> None:
    """Its layers take part in the pass, and its features are not those of the plain model."""
    import torch
    from peft import LoraConfig, get_peft_model

    loaded = load_model("tiny", dtype="float32", device="cpu")
    wrapped = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
    torch.manual_seed(0)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    wrapped.save_pretrained(tmp_path / "lora")
    run(case, tmp_path / "E", adapter=tmp_path / "lora", vertical="light", pooling=("mean",))
    trace = read_traces(case.traces)[0]
    ids = loaded.tokenizer(trace.text)["input_ids"]
    index = pd.read_parquet(tmp_path / "E" / "sentences.parquet")
    own = index[index["problem_id"] == trace.problem_id]
    spans = [Span(*pair) for pair in zip(own["token_start"], own["token_end"], strict=True)]
    array = load_file(tmp_path / "E" / f"problem_{trace.problem_id}.safetensors")
    with_adapter = pooled_by_hand(hidden_by_hand(wrapped, ids, 4), spans, "mean")
    assert np.allclose(array["blocks.4.hook_resid_post.mean"], with_adapter, atol=2e-5)
    plain = load(extracted).data(read_sentences(case.metadata), layer=4).mean
    assert plain is not None
    assert np.abs(plain[: len(spans)] - with_adapter).max() > 0.01
    with pytest.raises(BadInput, match="another model, adapter"):
        run(case, tmp_path / "F", adapter=tmp_path / "lora", pooling=("mean",), reuse=extracted)
