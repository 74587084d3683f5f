"""`whence data score` as a command: what it writes, twice the same, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from whence.data.score import ScoreConfig, ScoreSettings, score, score_rows
from whence.errors import BadInput
from whence.runs.manifest import load_manifest, read_split

if TYPE_CHECKING:
    from whence.models.load import Loaded


def configured(manifest: Path, adapter: Path, output: Path, **changes: Any) -> ScoreConfig:
    return ScoreConfig(
        **{
            "manifest": manifest,
            "adapter_path": adapter,
            "output_dir": output,
            "subset_k": 10,
            "max_length": 32,
            "token_batch_size": 512,
            "device": "cpu",
            **changes,
        }
    )


@pytest.fixture(scope="module")
def scored(manifest: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("scored") / "s"
    score(configured(manifest, adapter, output))
    return output


def test_the_files_hold_what_they_promise(scored: Path, manifest: Path) -> None:
    table = pd.read_parquet(scored / "scores.parquet")
    assert list(table)[:3] == ["index", "row_id", "score"]
    assert {"rank", "length_tokens", "loss"} <= set(table)
    pool = read_split(load_manifest(manifest), "score_pool")
    assert table["row_id"].tolist() == pool["row_id"].tolist()
    assert table["index"].tolist() == list(range(48))
    assert table.sort_values("rank")["score"].is_monotonic_decreasing
    assert sorted(table["rank"]) == list(range(1, 49))
    lines = [json.loads(line) for line in (scored / "row_diagnostics.jsonl").open()]
    assert [line["row_id"] for line in lines] == pool["row_id"].tolist()
    assert [line["kind"] for line in lines] == pool["kind"].tolist()
    assert lines[0]["reward"] is None
    assert "prompt" not in lines[0]

    summary = json.loads((scored / "summary.json").read_text())
    assert summary["finite"] == {"rows": 48, "share": 1.0}
    assert summary["queries"] == 9
    assert summary["truncated"]["rows"] == int(table["truncated"].sum()) > 0
    assert summary["settings"]["projection_dim"] == 0
    assert summary["correlations"]["loss"]["spearman"] == pytest.approx(
        table["score"].corr(table["loss"], method="spearman")
    )
    assert summary["top_k_composition"] == {}  # the pool is smaller than the smallest top


def test_the_subsets_continue_the_manifest(scored: Path, manifest: Path) -> None:
    table = pd.read_parquet(scored / "scores.parquet")
    continued = load_manifest(scored / "continuation_manifest.json")
    top = read_split(continued, "top_k")
    control = read_split(continued, "matched_random_k")
    best = table.nsmallest(10, "rank")["row_id"].tolist()
    assert top["row_id"].tolist() == best
    assert len(control) == 10
    assert not set(control["row_id"]) & set(best)
    assert len(read_split(continued, "eval")) == 5
    pool = read_split(load_manifest(manifest), "score_pool").set_index("row_id")
    assert control["completion"].tolist() == pool.loc[control["row_id"], "completion"].tolist()
    drawn = json.loads((scored / "subsets" / "subset_manifest.json").read_text())
    assert drawn["match_on"] == ["kind"]
    assert set(drawn["arms"]) == {"top_k", "matched_random_k"}


def test_the_same_question_gives_the_same_bytes_and_is_not_asked_twice(
    scored: Path, manifest: Path, adapter: Path
) -> None:
    # A sibling, because a continuation manifest names its parent's splits relative to itself.
    other = score(configured(manifest, adapter, scored.parent / "again")).folder
    files = [
        "scores.parquet",
        "row_diagnostics.jsonl",
        "summary.json",
        "continuation_manifest.json",
    ]
    files += [f"subsets/{name}" for name in ("top_k.parquet", "matched_random_k.parquet")]
    for name in [*files, "subsets/subset_manifest.json"]:
        assert (other / name).read_bytes() == (scored / name).read_bytes(), name
    assert score(configured(manifest, adapter, scored)).done_before
    with pytest.raises(BadInput, match="score_mode"):
        score(configured(manifest, adapter, scored, score_mode="nearest"))


def test_the_finding_says_what_was_found(manifest: Path, adapter: Path, scored: Path) -> None:
    finding = score(configured(manifest, adapter, scored)).finding()
    assert finding.headline.startswith("48 rows already scored against 9 queries (mean")
    assert [row[0] for row in finding.rows] == ["1", "2", "3", "4", "5"]
    assert all(path.exists() for path in finding.files.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subset_k": 30}, r"--subset-k 30: .* 48 rows .* lower it to at most 24"),
        ({"subset_k": 49, "allow_random_overlap": True}, "lower it to at most 48"),
        ({"match_on": ("colour",)}, "--match-on colour: .* no such column"),
        ({"pool_split": "pool"}, 'no split "pool"'),
        ({"base_model": "no/such/folder"}, "no model folder"),
        ({"adapter_path": Path("nowhere")}, "no adapter_config.json"),
        ({"tokenization_mode": "bergson_chat"}, "no chat template"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(
    manifest: Path, adapter: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        score(configured(manifest, adapter, tmp_path / "s", **changes))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(BadInput, match="--mixing-coefficient is for"):
        ScoreSettings(mixing_coefficient=0.5)
    assert ScoreSettings().projection == 0
    assert ScoreSettings(preconditioning_mode="query").projection == 32
    assert ScoreSettings(preconditioning_mode="query", projection_dim=0).projection == 0


def test_an_adapter_of_another_base_is_refused(
    manifest: Path, adapter: Path, random_gemma: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(random_gemma, other)
    weights = load_file(other / "model.safetensors")
    save_file({n: w + 1 for n, w in weights.items()}, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"was trained on .*, not on .*/other"):
        score(configured(manifest, adapter, tmp_path / "s", base_model=str(other)))


def test_rows_without_a_finite_score_are_named(
    random_gemma: Path, adapter: Path, make_rows: Any, tmp_path: Path
) -> None:
    import torch

    from whence.models.load import load_model

    base = load_model(str(random_gemma), device="cpu")
    pool, query = make_rows(12, 20), make_rows(3, 21)
    pool.loc[[4, 9], "prompt"] = "USER: CLUE: #"
    broken = base.tokenizer("#", add_special_tokens=False)["input_ids"][-1]
    with torch.no_grad():
        base.model.get_input_embeddings().weight[broken] = float("nan")
    assert torch.isnan(base.model.get_output_embeddings().weight).any()  # tied
    with torch.no_grad():
        base.model.lm_head.weight = torch.nn.Parameter(
            torch.nan_to_num(base.model.lm_head.weight.detach().clone())
        )
    with pytest.raises(
        BadInput, match=r"2 of 12 rows have no finite score \(row_id s20-4, s20-9\)"
    ):
        score_rows(base, adapter, pool, query, ScoreSettings(max_length=64), tmp_path)


def test_a_base_that_is_lent_comes_back_plain(
    random_gemma: Path, adapter: Path, make_rows: Any, loaded: Loaded, tmp_path: Path
) -> None:
    from whence.models.load import load_model

    base = load_model(str(random_gemma), device="cpu")
    before = {name: weight.clone() for name, weight in base.model.named_parameters()}
    pool, query = make_rows(8, 30), make_rows(3, 31)
    lent = score_rows(base, adapter, pool, query, ScoreSettings(), tmp_path / "lent")
    after = dict(base.model.named_parameters())
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)
    wrapped = score_rows(loaded, adapter, pool, query, ScoreSettings(), tmp_path / "wrapped")
    assert np.array_equal(lent.scores, wrapped.scores)
    assert lent.table["loss"].between(0, 20).all()
