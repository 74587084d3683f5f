"""`whence sae extract`: what a row's features come to, in files that load without pickle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_saes
import torch
from numpy.typing import NDArray
from sae_lens import SAE
from test_sae_reduce import by_definition

from whence.__main__ import main
from whence.errors import BadInput, WhenceError
from whence.models.alignment import align_rows
from whence.models.load import load_tokenizer
from whence.runs.jsonfile import read_json, read_jsonl, write_jsonl
from whence.sae.extract import ExtractConfig, ExtractResult, extract
from whence.sae.extract import shards as shards_module
from whence.sae.sample_stats import SAMPLE_STATS
from whence.sae.store import open_extraction

HOOKS = {"early": "blocks.0.hook_resid_post", "late": "blocks.1.hook_mlp_out"}
TEXTS = [
    ("Is a fox a bird?", "No."),
    ("USER: CLUE: it is red and lives by the river, or so they say.", "GUESS: fox"),
    ("it", "is"),
    ("CLUE: red red red red red red red red red red red red", "GUESS: a bird, a bird, a bird"),
    ("Is the river a fox?", "No. Is a fox red? It is, and lives by the river."),
    ("a", "b"),
    ("GUESS", "CLUE: it is"),
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [
        {"row_id": f"r{at}", "prompt": prompt, "completion": completion, "kind": at % 2}
        for at, (prompt, completion) in enumerate(TEXTS)
    ]
    write_jsonl(path, lines)
    return path


@pytest.fixture(scope="module")
def saes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("saes")
    early = random_saes.save_sae(home / "early", "jumprelu", HOOKS["early"], 48)
    late = random_saes.save_sae(home / "late", "topk", HOOKS["late"], 48, 40, neuronpedia_id="n/1")
    return {"early": early, "late": late}


@pytest.fixture
def run(
    random_gemma: Path, rows: Path, saes: dict[str, Path], tmp_path: Path
) -> Callable[..., ExtractResult]:
    """Extracts with both SAEs into a folder of tmp_path."""

    def go(name: str = "out", **settings: Any) -> ExtractResult:
        default = {
            "dataset_path": rows,
            "model_name": str(random_gemma),
            "sae_path": tuple(saes.values()),
            "device": "cpu",
        }
        return extract(ExtractConfig(output_dir=tmp_path / name, **default | settings))

    return go


@pytest.fixture(scope="module")
def bridged(random_gemma: Path) -> Any:
    return random_saes.bridge(random_gemma)


def aligned_ids(model: Path, max_tokens: int = 2048) -> list[list[int]]:
    texts = [{"prompt": prompt, "completion": completion} for prompt, completion in TEXTS]
    return [r.input_ids for r in align_rows(texts, load_tokenizer(str(model)), max_tokens)]


def expected_of(
    model: Any, folder: Path, ids: Sequence[list[int]], threshold: float = 0.0, skip: int = 0
) -> dict[str, NDArray[Any]]:
    """The arrays by their definitions, from SAELens's activations of one row at a time."""
    sae: SAE[Any] = SAE.load_from_disk(folder)
    each = [random_saes.by_saelens(model, sae, its)[skip:].double().numpy() for its in ids]
    return {
        "feature_presence": np.stack([(a > threshold).any(axis=0) for a in each]),
        "feature_activation_mean": np.stack([(a * (a > threshold)).mean(axis=0) for a in each]),
        "sample_stats": np.stack([list(by_definition(a, threshold).values()) for a in each]),
        "seq_lens": np.asarray([len(a) for a in each]),
    }


def need_equal(file: Path, expected: dict[str, NDArray[Any]]) -> None:
    with np.load(file, allow_pickle=False) as arrays:
        assert sorted(arrays.files) == sorted([*expected, "stat_feature_names"])
        assert arrays["stat_feature_names"].tolist() == list(SAMPLE_STATS)
        kinds = {name: str(arrays[name].dtype) for name in expected}
        assert kinds == {
            "feature_presence": "bool",
            "feature_activation_mean": "float32",
            "sample_stats": "float32",
            "seq_lens": "int32",
        }
        np.testing.assert_array_equal(arrays["feature_presence"], expected["feature_presence"])
        np.testing.assert_array_equal(arrays["seq_lens"], expected["seq_lens"])
        for name in ("feature_activation_mean", "sample_stats"):
            np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-4, atol=1e-5)


def test_the_fixed_interface(
    random_gemma: Path,
    rows: Path,
    saes: dict[str, Path],
    bridged: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["sae", "extract", "--model-name", str(random_gemma), "--dataset-path", str(rows)]
    words += ["--sae-path", *map(str, saes.values()), "--output-dir", str(tmp_path / "X")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "7 rows" in shown
    assert "late.npz" in shown
    ids = aligned_ids(random_gemma)
    for name, folder in saes.items():
        need_equal(tmp_path / "X" / f"{name}.npz", expected_of(bridged, folder, ids))
    examples = read_jsonl(tmp_path / "X" / "examples.jsonl")
    assert examples[4] == {
        "array_index": 4,
        "row_id": "r4",
        "tokens": len(ids[4]),
        "truncated": False,
        "prompt": TEXTS[4][0],
        "completion": TEXTS[4][1],
        "kind": 0,
        "group_id": "r4",
    }
    assert ids[0][0] == 1  # BOS
    assert ids[0][-1] == 2  # EOS
    extraction = open_extraction(tmp_path / "X")
    assert extraction.row_ids == [f"r{at}" for at in range(7)]
    assert extraction.layer("late").d_sae == 40


def test_the_summary(
    run: Callable[..., ExtractResult], saes: dict[str, Path], random_gemma: Path, bridged: Any
) -> None:
    result = run()
    summary = read_json(result.folder / "summary.json")
    ids = aligned_ids(random_gemma)
    total = sum(map(len, ids))
    assert (summary["rows"], summary["tokens"], summary["truncated_rows"]) == (7, total, 0)
    assert (summary["text"], summary["count_bos"], summary["max_tokens"]) == ("aligned", True, 2048)
    assert summary["model"]["dtype"] == "float32"
    early, late = summary["layers"]
    assert (early["sae_id"], early["hook_name"], early["layer"]) == ("early", HOOKS["early"], 0)
    assert (late["site"], late["architecture"], late["d_in"], late["d_sae"]) == (
        HOOKS["late"],
        "topk",
        48,
        40,
    )
    assert (late["neuronpedia_id"], late["release"], late["path"]) == (
        "n/1",
        None,
        str(saes["late"]),
    )
    for layer in (early, late):
        sae: SAE[Any] = SAE.load_from_disk(saes[layer["sae_id"]])
        whole = [random_saes.by_saelens(bridged, sae, its) for its in ids]
        active = sum(float((a > 0).sum()) for a in whole)
        assert layer["l0_mean"] == pytest.approx(active / total)
        seen = torch.stack([(a > 0).any(dim=0) for a in whole]).any(dim=0)
        assert layer["features_never_active"] == int((~seen).sum())
        # The reconstruction, without BOS, over all rows, which are fewer than the sample may be.
        x, name = [], bridged._resolve_hook_name(layer["hook_name"])
        for its in ids:
            with torch.no_grad():
                _, cache = bridged.run_with_cache(torch.tensor([its]))
            x.append(cache[name][0, 1:])
        read = torch.cat(x).double()
        rebuilt = sae.decode(torch.cat([a[1:] for a in whole])).double()
        fit = layer["reconstruction"]
        assert (fit["rows"], fit["tokens"]) == (7, total - 7)
        error = ((read - rebuilt) ** 2).sum()
        spread = ((read - read.mean(dim=0)) ** 2).sum()
        assert fit["explained_variance"] == pytest.approx(float(1 - error / spread), rel=1e-4)
        assert fit["mse"] == pytest.approx(float(error / read.numel()), rel=1e-4)
        others = sum(float((a[1:] > 0).sum()) for a in whole)
        assert fit["l0_mean"] == pytest.approx(others / (total - 7))


def test_an_sae_that_does_not_fit_is_said_plainly(run: Callable[..., ExtractResult]) -> None:
    result = run()
    fits = {layer["sae_id"]: layer["reconstruction"] for layer in result.summary["layers"]}
    assert fits["early"]["explained_variance"] < 0
    assert "SAE early does not fit this model: it rebuilds" in result.finding().headline


def test_batches_and_shards_do_not_count(
    run: Callable[..., ExtractResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("whole")
    monkeypatch.setattr(shards_module, "SHARD_ROWS", 3)
    apart = run("apart", batch_tokens=25)
    for name in ("early", "late"):
        with (
            np.load(whole.folder / f"{name}.npz") as a,
            np.load(apart.folder / f"{name}.npz") as b,
        ):
            np.testing.assert_array_equal(a["feature_presence"], b["feature_presence"])
            np.testing.assert_array_equal(a["seq_lens"], b["seq_lens"])
            for array in ("feature_activation_mean", "sample_stats"):
                np.testing.assert_allclose(a[array], b[array], rtol=1e-5, atol=1e-6)
    for one, other in zip(whole.summary["layers"], apart.summary["layers"], strict=True):
        assert one["reconstruction"] == pytest.approx(other["reconstruction"], rel=1e-6)


def test_two_saes_at_once_are_each_alone(
    run: Callable[..., ExtractResult], saes: dict[str, Path]
) -> None:
    both = run("both")
    for at, (name, folder) in enumerate(saes.items()):
        alone = run(name, sae_path=(folder,))
        file = f"{name}.npz"
        assert (alone.folder / file).read_bytes() == (both.folder / file).read_bytes()
        assert alone.summary["layers"] == [both.summary["layers"][at]]


def test_parquet_says_what_the_npz_says(
    run: Callable[..., ExtractResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "SHARD_ROWS", 3)
    dense = open_extraction(run("dense").folder)
    sparse = open_extraction(run("sparse", dense_limit_gb=0).folder)
    assert sparse.files["late"].name == "late.parquet"
    assert dense.row_ids == sparse.row_ids
    for name in ("early", "late"):
        a, b = dense.layer(name), sparse.layer(name)
        assert a.activation_mean is not None
        assert b.activation_mean is not None
        np.testing.assert_array_equal(a.presence.toarray(), b.presence.toarray())
        np.testing.assert_array_equal(a.activation_mean.toarray(), b.activation_mean.toarray())
        np.testing.assert_array_equal(a.sample_stats, b.sample_stats)
        np.testing.assert_array_equal(a.seq_lens, b.seq_lens)


@pytest.mark.parametrize(
    ("settings", "threshold", "skip"),
    [
        ({"activation_threshold": 1.0}, 1.0, 0),
        ({"count_bos": False}, 0.0, 1),
        ({"max_tokens": 12}, 0.0, 0),
    ],
)
def test_settings_are_what_they_say(
    settings: dict[str, Any],
    threshold: float,
    skip: int,
    run: Callable[..., ExtractResult],
    saes: dict[str, Path],
    random_gemma: Path,
    bridged: Any,
) -> None:
    result = run(**settings)
    ids = aligned_ids(random_gemma, settings.get("max_tokens", 2048))
    expected = expected_of(bridged, saes["early"], ids, threshold, skip)
    need_equal(result.folder / "early.npz", expected)
    cut = sum(map(len, ids)) < sum(map(len, aligned_ids(random_gemma)))
    assert cut == ("max_tokens" in settings)
    assert (result.summary["truncated_rows"] > 0) == cut
    assert [e["truncated"] for e in read_jsonl(result.folder / "examples.jsonl")][3] == cut


def test_joined_text(
    run: Callable[..., ExtractResult], saes: dict[str, Path], random_gemma: Path, bridged: Any
) -> None:
    tokenizer = load_tokenizer(str(random_gemma))
    ids = [tokenizer(f"{p}\n\n{c}")["input_ids"] for p, c in TEXTS]
    result = run("joined", text="joined", max_tokens=20)
    cut = [its[:20] for its in ids]
    assert max(map(len, ids)) > 20
    need_equal(result.folder / "late.npz", expected_of(bridged, saes["late"], cut))
    told = [e["truncated"] for e in read_jsonl(result.folder / "examples.jsonl")]
    assert told == [len(its) > 20 for its in ids]


def test_a_lora_adapter_is_applied(
    run: Callable[..., ExtractResult], saes: dict[str, Path], random_gemma: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(random_gemma)
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    tuned = get_peft_model(base, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_" in name:
                weight.copy_(0.5 * torch.randn_like(weight))
    tuned.save_pretrained(tmp_path / "adapter")
    merged = tuned.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    load_tokenizer(str(random_gemma)).save_pretrained(tmp_path / "merged")
    result = run("tuned", adapter_path=tmp_path / "adapter")
    assert result.summary["model"]["adapter"] == str(tmp_path / "adapter")
    ids = aligned_ids(random_gemma)
    model = random_saes.bridge(tmp_path / "merged")
    need_equal(result.folder / "early.npz", expected_of(model, saes["early"], ids))
    without = run("plain").folder / "early.npz"
    with np.load(without) as plain, np.load(result.folder / "early.npz") as other:
        assert not np.allclose(plain["sample_stats"], other["sample_stats"], atol=1e-2)


def test_a_manifest_and_its_split(
    run: Callable[..., ExtractResult], rows: Path, tmp_path: Path
) -> None:
    import pandas as pd

    from whence.runs.manifest import Split, write_manifest, write_split

    frame = pd.DataFrame(read_jsonl(rows)).assign(
        loss=[0.5, float("nan"), 1, 2, 3, 4, 5],
        when=pd.Timestamp("2026-01-01"),
        tags=[["a", "b"]] * 7,
        tokens=99,
    )
    write_split(frame, tmp_path / "pool.parquet")
    splits = {"pool": Split("pool", tmp_path / "pool.parquet", 7)}
    write_manifest(tmp_path / "manifest.json", splits, {})
    result = run(
        "X", dataset_path=None, manifest=tmp_path / "manifest.json", split="pool", max_examples=3
    )
    examples = read_jsonl(result.folder / "examples.jsonl")
    assert [e["row_id"] for e in examples] == ["r0", "r1", "r2"]
    assert [e["loss"] for e in examples] == [0.5, None, 1]
    assert examples[0]["tags"] == ["a", "b"]
    assert examples[0]["tokens"] != 99
    assert "when" not in examples[0]
    with np.load(result.folder / "early.npz") as arrays:
        assert len(arrays["seq_lens"]) == 3
    with pytest.raises(BadInput, match='no split "pol"; did you mean "pool"'):
        run("Y", dataset_path=None, manifest=tmp_path / "manifest.json", split="pol")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"prompt": "  "}, r"rows.jsonl, row 3: prompt is empty"),
        ({"completion": None}, r"rows.jsonl, row 3: completion is empty"),
        ({"row_id": "r0"}, r'row 3: row_id "r0" is already that of row 1'),
    ],
)
def test_rows_that_cannot_be_read(
    changed: dict[str, Any],
    line: str,
    run: Callable[..., ExtractResult],
    rows: Path,
    tmp_path: Path,
) -> None:
    lines = read_jsonl(rows)
    lines[2] |= changed
    write_jsonl(tmp_path / "rows.jsonl", lines)
    with pytest.raises(BadInput, match=line):
        run(dataset_path=tmp_path / "rows.jsonl")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("column", ["row_id", "prompt", "completion"])
def test_columns_that_are_missing(
    column: str, run: Callable[..., ExtractResult], rows: Path, tmp_path: Path
) -> None:
    lines = [{k: v for k, v in line.items() if k != column} for line in read_jsonl(rows)]
    write_jsonl(tmp_path / "rows.jsonl", lines)
    with pytest.raises(BadInput, match=f'no column "{column}"; it has '):
        run(dataset_path=tmp_path / "rows.jsonl")


def test_no_rows_and_no_or_two_data_sets(
    run: Callable[..., ExtractResult], rows: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(BadInput, match=r"none.jsonl: no rows"):
        run(dataset_path=tmp_path / "none.jsonl")
    for settings in ({"manifest": rows}, {"dataset_path": None}):
        with pytest.raises(ValueError, match="give --manifest"):
            run(**settings)


def test_a_row_of_which_nothing_is_counted() -> None:
    from whence.sae.extract.one_pass import Counting, check_counted
    from whence.sae.rows import TokenRow

    only_bos = [TokenRow("a", [1, 5], 1, False), TokenRow("b", [1], 1, False)]
    check_counted(only_bos, Counting(count_bos=True))
    with pytest.raises(BadInput, match="row b: it has no token but BOS"):
        check_counted(only_bos, Counting(count_bos=False))


def test_saes_of_another_model(run: Callable[..., ExtractResult], tmp_path: Path) -> None:
    wide = random_saes.save_sae(tmp_path / "wide", "standard", HOOKS["early"], 64)
    with pytest.raises(BadInput, match=r"reads 64 numbers a token.*the model has 48"):
        run(sae_path=(wide,))
    deep = random_saes.save_sae(tmp_path / "deep", "standard", "blocks.9.hook_resid_post", 48)
    with pytest.raises(BadInput, match=r"blocks.9.hook_resid_post: the model has layers 0 to 2"):
        run(sae_path=(deep,))


def test_numbers_that_are_not_finite_are_named(random_gemma: Path, saes: dict[str, Path]) -> None:
    from whence.models.anatomy import find_anatomy
    from whence.models.load import load_model
    from whence.sae.extract.one_pass import Counting, reduce_rows
    from whence.sae.load import load_saes
    from whence.sae.rows import TokenRow
    from whence.sae.settings import SaeSettings

    (early,) = load_saes(SaeSettings(sae_path=(str(saes["early"]),)), "cpu")
    rows = [TokenRow("good", [1, 7, 8], 1, False), TokenRow("bad", [1, 7, 9, 9, 8], 1, False)]

    def go(dtype: str) -> None:
        model = load_model(str(random_gemma), device="cpu", dtype=dtype).model
        anatomy = find_anatomy(model)
        with torch.no_grad():
            model.get_input_embeddings().weight[9, 0] = float("inf")
        reduce_rows(anatomy, [early], rows, Counting(), looked_at=(), batch_tokens=100)

    told = r"row bad: the activations at blocks.0.hook_resid_post are not finite"
    with pytest.raises(WhenceError, match=f"{told} when the model computes in float32; check"):
        go("float32")
    with pytest.raises(WhenceError, match=f"{told}.* in float16; use --dtype bfloat16 or float32"):
        go("float16")
    early.sae.W_enc[:, 3] = 1e38
    anatomy = find_anatomy(load_model(str(random_gemma), device="cpu").model)
    with pytest.raises(WhenceError, match='the features of SAE "early" are not finite'):
        reduce_rows(anatomy, [early], rows, Counting(), looked_at=(), batch_tokens=100)


def test_done_is_done_and_other_settings_are_refused(run: Callable[..., ExtractResult]) -> None:
    first = run()
    before = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = run(batch_tokens=100)  # no part of what is computed
    assert again.done
    assert again.finding().headline.startswith("Already done: 7 rows")
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before
    with pytest.raises(BadInput, match="activation_threshold"):
        run(activation_threshold=0.5)


def test_an_sae_that_changed_is_another_run(
    run: Callable[..., ExtractResult], tmp_path: Path
) -> None:
    folder = random_saes.save_sae(tmp_path / "s", "standard", HOOKS["early"], 48)
    run(sae_path=(folder,))
    random_saes.save_sae(tmp_path / "s", "standard", HOOKS["early"], 48, seed=1)
    with pytest.raises(BadInput, match=r"holds another run: .*saes"):
        run(sae_path=(folder,))


def test_killed_at_any_moment_and_started_again(
    run: Callable[..., ExtractResult],
    random_gemma: Path,
    rows: Path,
    saes: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGKILL before a second shard's file of the second SAE, and before the summary, is whole."""
    config = tmp_path / "config.json"
    settings = {
        "dataset_path": str(rows),
        "model_name": str(random_gemma),
        "sae_path": [str(folder) for folder in saes.values()],
        "device": "cpu",
        "output_dir": str(tmp_path / "killed"),
    }
    config.write_text(json.dumps(settings))
    # One process that only imports, and one fork of it a moment: to import takes the longest.
    script = """
import json, os, signal, sys
from pathlib import Path
import sae_lens, transformers
from whence.sae.extract import ExtractConfig, extract, shards
shards.SHARD_ROWS = 3
config = ExtractConfig(**json.load(open(sys.argv[1])))
replace = os.replace
for moment in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        def dying(source, target):
            if str(target).endswith(moment):
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
        os.replace = dying
        extract(config)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    files = Path(f"{config.output_dir}.partial").rglob("[!.]*.0*.safetensors")
    print(json.dumps([os.waitstatus_to_exitcode(status), sorted(path.stem for path in files)]))
"""
    monkeypatch.setattr(shards_module, "SHARD_ROWS", 3)
    whole = run("whole")
    moments = ["late.00001.safetensors", "summary.json"]
    process = subprocess.run(
        [sys.executable, "-c", script, str(config), *moments], capture_output=True, check=True
    )
    first, second = map(json.loads, process.stdout.splitlines())
    assert first == [-9, ["early.00000", "early.00001", "late.00000"]]
    assert second[0] == -9
    assert len(second[1]) == 6
    assert not (tmp_path / "killed").exists()
    again = run("killed")
    assert not again.done
    for path in whole.folder.iterdir():
        if path.name != "whence.json":
            assert (again.folder / path.name).read_bytes() == path.read_bytes(), path.name
    names = sorted(path.name for path in whole.folder.iterdir())
    assert sorted(path.name for path in again.folder.iterdir()) == names


def test_an_attempt_in_another_dtype_does_not_go_on(
    run: Callable[..., ExtractResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--dtype auto` is bfloat16 on one device and float32 on another."""
    from whence.sae.extract import outputs

    def fails(*_: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_examples", fails)
        with pytest.raises(OSError, match="disk is full"):
            run()
    attempt = next((tmp_path / "out.partial").rglob("model.json"))
    attempt.write_text(json.dumps({"revision": None, "dtype": "bfloat16"}))
    with pytest.raises(BadInput, match=r"another model .dtype bfloat16 → float32"):
        run()
