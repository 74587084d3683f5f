"""Rankings made anew by mode, projection and query resample: the numbers of `score_rows`, kept
through a kill. Here because it needs the model, adapter and rows of these tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from whence.data.score import ScoreSettings, score_rows
from whence.data.stability import StabilityConfig, stability
from whence.data.stability.make import draw_queries, passes
from whence.errors import BadInput
from whence.models.load import Loaded
from whence.runs.manifest import load_manifest, read_split

SETTINGS: dict[str, Any] = {
    "projection_dim": 4,
    "projection_seeds": (0, 7),
    "query_resamples": 5,
    "k": (12,),
    "draws": 200,
    "max_length": 64,
    "token_batch_size": 1024,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def made(manifest: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made") / "out"
    stability(StabilityConfig(manifest=manifest, adapter_path=adapter, output_dir=home, **SETTINGS))
    return home


def kept(made: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(made / "rankings" / name / "scores.parquet")


@pytest.mark.parametrize(
    ("name", "settings", "resample"),
    [
        ("none", {}, 0),
        ("none-resample-3", {}, 3),
        ("query-projection-7-resample-2", {"preconditioning_mode": "query"}, 2),
        ("mixed-projection-7", {"preconditioning_mode": "mixed"}, 0),
        ("mixed-projection-7-resample-5", {"preconditioning_mode": "mixed"}, 5),
    ],
)
def test_a_ranking_is_that_of_scoring_the_drawn_queries(
    made: Path,
    loaded: Loaded,
    adapter: Path,
    manifest: Path,
    tmp_path: Path,
    name: str,
    settings: dict[str, Any],
    resample: int,
) -> None:
    pool, query = (
        read_split(load_manifest(manifest), split) for split in ("score_pool", "attr_query")
    )
    rows = draw_queries(query["group_id"].tolist(), 5, 0)[resample]
    if settings:
        settings = {**settings, "projection_dim": 4, "projection_seed": 7}
    alone = score_rows(
        loaded,
        adapter,
        pool,
        query.iloc[rows],
        ScoreSettings(max_length=64, token_batch_size=1024, **settings),
        tmp_path,
    )
    found = kept(made, name)
    assert found["row_id"].tolist() == alone.table["row_id"].tolist()
    np.testing.assert_allclose(found["score"], alone.scores, rtol=1e-5, atol=1e-7)
    assert json.loads((made / "rankings" / name / "summary.json").read_text())["queries"] == len(
        rows
    )


def test_the_numbers_are_those_of_the_rankings(made: Path) -> None:
    content = json.loads((made / "stability.json").read_text())
    assert len(content["rankings"]) == 6 + 12 + 12

    def spearman(a: str, b: str) -> float:
        return float(spearmanr(kept(made, a)["score"], kept(made, b)["score"]).statistic)

    resamples = [
        spearman(f"query-projection-{seed}-resample-{i}", f"query-projection-{seed}-resample-{j}")
        for seed in (0, 7)
        for i in range(1, 6)
        for j in range(i + 1, 6)
    ]
    query = content["modes"]["query"]
    over = query["over_query_resamples"]["spearman"]
    assert over["estimate"] == pytest.approx(np.mean(resamples))
    assert over["interval"][0] <= over["estimate"] <= over["interval"][1]
    assert query["over_projection_seeds"]["spearman"]["estimate"] == pytest.approx(
        spearman("query-projection-0", "query-projection-7")
    )
    between = next(b for b in content["between_modes"] if (b["a"], b["b"]) == ("none", "mixed"))
    assert between["spearman"]["estimate"] == pytest.approx(
        np.mean([spearman("none", f"mixed-projection-{seed}") for seed in (0, 7)])
    )
    assert "no projection" in content["modes"]["none"]["over_projection_seeds"]["reason"]
    first = content["comparisons"][0]
    assert first["effect"] == pytest.approx(
        content["modes"]["none"]["over_query_resamples"]["spearman"]["estimate"] - over["estimate"]
    )
    assert {"effect", "interval", "p", "q"} <= set(first)
    assert "moves least" in content["verdict"]


def test_what_it_costs_is_known_beforehand() -> None:
    config = StabilityConfig(
        manifest=Path("m"), adapter_path=Path("a"), output_dir=Path("o"), **SETTINGS
    )
    # none 1; query 1 a projection; mixed 2 a projection. Queries: 1, 2 and 2 a query set.
    assert passes(config) == {"pool": 1 + 2 + 4, "queries": 6 + 2 * 12 + 2 * 12}


def test_queries_are_drawn_by_group_and_the_same_for_everybody() -> None:
    groups = [f"g{i // 2}" for i in range(12)]
    sets = draw_queries(groups, 4, seed=3)
    assert sets[0].tolist() == list(range(12))
    for drawn in sets[1:]:
        counts = np.bincount(drawn, minlength=12).reshape(6, 2)
        assert len(drawn) == 12
        assert (counts[:, 0] == counts[:, 1]).all()
    assert any(drawn.tolist() != sets[1].tolist() for drawn in sets[2:])
    assert [d.tolist() for d in draw_queries(groups, 4, 3)] == [d.tolist() for d in sets]
    with pytest.raises(BadInput, match="one group"):
        draw_queries(["only"] * 3, 2, 0)


def test_another_projection_seed_is_another_ranking_and_the_same_one_the_same_bytes(
    loaded: Loaded, adapter: Path, make_rows: Any, tmp_path: Path
) -> None:
    pool, query = make_rows(24, 3), make_rows(6, 4)
    scores = [
        score_rows(
            loaded,
            adapter,
            pool,
            query,
            ScoreSettings(projection_dim=32, projection_seed=seed, max_length=64),
            tmp_path / str(number),
        ).scores
        for number, seed in enumerate((1, 1, 2, None))
    ]
    assert scores[0].tobytes() == scores[1].tobytes()
    for other in scores[2:]:
        assert np.abs(scores[0] - other).max() > 1e-3
        assert spearmanr(scores[0], other).statistic < 0.9999
    with pytest.raises(BadInput, match="--projection-seed 3: exact gradients"):
        ScoreSettings(projection_seed=3)


def test_sets_that_do_not_fit_in_memory_together_give_the_same_scores(
    made: Path,
    manifest: Path,
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("whence.data.stability.make.free_memory", lambda _device: 1)
    stability(
        StabilityConfig(
            manifest=manifest,
            adapter_path=adapter,
            output_dir=tmp_path / "out",
            **{**SETTINGS, "modes": ("query",), "projection_seeds": (7,)},
        )
    )
    for name in ("query-projection-7", "query-projection-7-resample-5"):
        assert kept(tmp_path / "out", name).equals(kept(made, name))


@pytest.mark.slow
def test_killed_half_way_it_ends_with_the_same_bytes(
    made: Path, manifest: Path, adapter: Path, tmp_path: Path
) -> None:
    flags = ["--manifest", str(manifest), "--adapter-path", str(adapter)]
    for key, value in SETTINGS.items():
        values = value if isinstance(value, tuple) else (value,)
        flags += [f"--{key.replace('_', '-')}", *map(str, values)]
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "whence", "data", "stability", "--output-dir", str(output)]
    partial = output.with_name("killed.partial")
    for step in (
        ".scratch/making/none/shards-0-6/00000.npz",
        "rankings/query-projection-0/scores.parquet",
        ".scratch/making/mixed-projection-0/queries-3/whitening.safetensors",
    ):
        process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE)
        while not (partial / step).exists():
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*command, *flags], check=True, capture_output=True)
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    for file in files:
        if file.name != "whence.json":
            assert (output / file).read_bytes() == (made / file).read_bytes(), file
