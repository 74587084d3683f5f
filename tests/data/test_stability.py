"""`whence data stability --scores`: rankings that are there, compared as a user would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from whence.__main__ import main
from whence.data.stability import StabilityConfig, stability
from whence.errors import BadInput
from whence.runs.manifest import Split, write_manifest, write_split

N = 120


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rankings of one pool (two in folders that say how they were made), its manifest, and
    rankings that cannot be compared with them.
    """
    home = tmp_path_factory.mktemp("stability")
    rng = np.random.default_rng(0)
    ids = [f"r{i}" for i in range(N)]
    a = rng.standard_normal(N)
    tables = {
        "plain/none": a,
        "plain/query": a + 0.5 * rng.standard_normal(N),
        "other": rng.standard_normal(N),
        "constant": np.zeros(N),
    }
    for name, scores in tables.items():
        folder = home / name
        folder.mkdir(parents=True)
        order = rng.permutation(N)
        table = pd.DataFrame({"row_id": ids, "score": scores, "length_tokens": range(N)})
        table.iloc[order].to_parquet(folder / "scores.parquet")
    for mode in ("none", "query"):
        told = {"preconditioning_mode": mode, "score_mode": "mean"}
        # What one folder alone tells is no difference: the other's is not known.
        told |= {"projection_dim": 0} if mode == "none" else {}
        settings = {"settings": told, "rows": N}
        (home / "plain" / mode / "summary.json").write_text(json.dumps(settings))
    pd.DataFrame({"row_id": ids[1:], "score": a[1:]}).to_parquet(home / "fewer.parquet")
    pool = pd.DataFrame(
        {
            "row_id": ids,
            "prompt": [f"question {i}" for i in range(N)],
            "completion": "yes",
            "group_id": [f"g{i // 4}" for i in range(N)],
        }
    )
    write_split(pool, home / "pool.parquet")
    write_manifest(
        home / "manifest.json", {"score_pool": Split("score_pool", home / "pool.parquet", N)}, {}
    )
    return home


def scores_of(path: Path) -> pd.Series:
    return pd.read_parquet(path / "scores.parquet").set_index("row_id")["score"].sort_index()


def run(home: Path, tmp_path: Path, *names: str, **settings: Any) -> dict[str, Any]:
    config = StabilityConfig(
        scores=tuple(home / name for name in names), output_dir=tmp_path / "out", **settings
    )
    return dict(stability(config).content)


def test_two_rankings(home: Path, tmp_path: Path) -> None:
    found = run(home, tmp_path, "plain/none", "plain/query", k=(10, 30))
    a, b = scores_of(home / "plain/none"), scores_of(home / "plain/query")
    assert found["spearman"]["estimate"] == pytest.approx(spearmanr(a, b).statistic)
    low, high = found["spearman"]["interval"]
    assert low < found["spearman"]["estimate"] < high
    for k in (10, 30):
        shared = len(set(a.nlargest(k).index) & set(b.nlargest(k).index)) / k
        at_k = found["overlap_at_k"][str(k)]
        assert at_k["estimate"] == pytest.approx(shared)
        assert at_k["chance"] == pytest.approx(k / N)
        assert at_k["interval"][0] <= shared <= at_k["interval"][1]
    assert found["differs"] == {"preconditioning_mode": ["none", "query"]}
    assert (found["unit"], found["units"]) == ("row", N)
    table = pd.read_parquet(tmp_path / "out" / "stability.parquet")
    assert table["measure"].tolist() == ["spearman", "overlap_at_10", "overlap_at_30"]
    assert table["estimate"][0] == found["spearman"]["estimate"]


def test_groups_of_rows_are_resampled_where_a_manifest_tells_them(
    home: Path, tmp_path: Path
) -> None:
    found = run(home, tmp_path, "plain/none", "other", manifest=home / "manifest.json")
    assert (found["unit"], found["units"]) == ("group", N // 4)
    assert found["k"] == [50]


def test_the_mean_of_three_rankings_is_over_their_pairs(home: Path, tmp_path: Path) -> None:
    found = run(home, tmp_path, "plain/none", "plain/query", "other")
    each = [pair["spearman"]["estimate"] for pair in found["pairs"]]
    assert len(each) == 3
    assert found["spearman"]["estimate"] == pytest.approx(np.mean(each))


def test_the_finding_says_it_in_words(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["data", "stability", "--scores", str(home / "plain/none"), str(home / "plain/query")]
    for said in ("Two rankings of 120 rows agree", "Already done"):
        assert main([*command, "--output-dir", str(tmp_path / "out")]) == 0
        told = capsys.readouterr().out
        assert said in told
        assert "they differ in preconditioning_mode" in told
        assert "ranking by length never moves" in told


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        (["plain/none"], {}, "two rankings or more"),
        ([], {}, "give rankings, as --scores A B"),
        (["plain/none", "plain/none/scores.parquet"], {}, "given twice"),
        (["plain/none", "constant"], {}, "ranks nothing"),
        (["plain/none", "fewer.parquet"], {}, '"r0" is in one only .119 of 120'),
        (["plain/none", "nowhere"], {}, "no such file"),
        (["plain/none", "other"], {"k": (N,)}, "--k 120: the rankings have 120 rows"),
        (["plain/none", "other"], {"k": (5, 5)}, "each once"),
        (["plain/none", "other"], {"modes": ("none",)}, "--modes says how rankings are made"),
        (["plain/none", "other"], {"score_mode": "nearest"}, "--score-mode says how"),
        (["plain/none", "other"], {"base_model": "tiny"}, "--base-model says how"),
        (["plain/none", "other"], {"query_split": "eval"}, "--query-split says how"),
        (["plain/none", "other"], {"pool_split": "eval"}, "there is no --manifest"),
    ],
)
def test_what_cannot_be_compared(
    home: Path, tmp_path: Path, names: list[str], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        run(home, tmp_path, *names, **settings)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_other_texts_under_the_same_ids(home: Path, tmp_path: Path) -> None:
    for name, digest in (("x", "aa"), ("y", "bb")):
        table = pd.read_parquet(home / "other/scores.parquet").assign(text_digest=digest)
        table.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(BadInput, match="had another text in each"):
        run(tmp_path, tmp_path, "x.parquet", "y.parquet")


MAKING = {"manifest": Path("m.json"), "adapter_path": Path("a"), "output_dir": Path("out")}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"modes": ("none", "none")}, "--modes: one is given twice"),
        ({"projection_seeds": (1, 1)}, "--projection-seeds: one is given twice"),
        ({"query_resamples": 1}, "makes no pair"),
        ({"projection_dim": 0}, "exact gradients are not projected"),
        ({"modes": ("none",), "query_resamples": 0}, "make one ranking"),
        ({"modes": ("query",), "mixing_coefficient": 0.5}, "for the mode mixed"),
        ({"manifest": None}, "--manifest M --adapter-path A"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        StabilityConfig(**{**MAKING, **settings})


def test_the_plan_has_every_mode_projection_and_resample() -> None:
    config = StabilityConfig(**MAKING, query_resamples=2, projection_seeds=(4, 9))
    planned = config.plan()
    assert len(planned) == len(set(planned)) == 3 + 2 * 3 + 2 * 3
    assert config.scoring("none", None).projection == 0
    assert config.scoring("query", 4).projection == 32
    assert config.scoring("query", 4).projection_seed == 4
