"""`whence sae contrast`: what is planted is found, what is not is not, and what goes wrong."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from extraction_folders import activations, write_extraction

from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import write_parquet
from whence.sae.contrast.command import ContrastConfig, contrast
from whence.sae.contrast.design import Design, design
from whence.sae.contrast.outcome import all_features, of_layer
from whence.sae.store import open_extraction
from whence.stats.holdout import SplitMode

ROWS, TOP, FEATURES = 240, 60, 40
ENRICHED, DEPLETED = 7, 11
SCRIPT = "<script>alert('x')</script>"


def make(
    folder: Path, *, ids: tuple[str, ...] = ("a", "b"), per_group: int = 1, **written: Any
) -> tuple[Path, Path]:
    """An extraction whose feature 7 is of the top rows and 11 of the others, and its scores."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=ROWS)
    top = score >= np.sort(score)[-TOP]
    layers = {}
    for at, sae_id in enumerate(ids):
        means = activations(ROWS, FEATURES, at)
        if at == 0:
            means[:, ENRICHED] = rng.random(ROWS) < np.where(top, 0.8, 0.2)
            means[:, DEPLETED] = rng.random(ROWS) < np.where(top, 0.1, 0.7)
        means[:, 0], means[:, 1] = 1.0, 0.0  # in every row, in none
        layers[sae_id] = means
    examples = [
        {"row_id": f"r{i}", "group_id": f"g{i // per_group}", "kind": "ab"[i % 2]}
        for i in range(ROWS)
    ]
    write_extraction(folder / "x", examples, layers, **written)
    table = {
        "row_id": [f"r{i}" for i in range(ROWS)] + ["not-extracted"],
        "score": [*score, 9.0],
        "loss": [*rng.gamma(2.0, 0.5, ROWS), 1.0],
    }
    write_parquet(pa.table(table), folder / "scores.parquet")
    return folder / "x", folder / "scores.parquet"


def config(folder: Path, **changes: Any) -> ContrastConfig:
    settings: dict[str, Any] = {
        "scores": folder / "scores.parquet", "sae_dir": folder / "x",
        "output_dir": folder / "c", "top_k": TOP,
    }  # fmt: skip
    return ContrastConfig(**settings | changes)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrast")
    make(folder)
    contrast(config(folder))
    return folder


def test_planted_features_are_found_and_hold_on_rows_that_did_not_choose_them(home: Path) -> None:
    told = read_json(home / "c" / "contrast.json")
    enriched = told["layers"]["a"]["top_enriched_features"]
    depleted = told["layers"]["a"]["top_depleted_features"]
    assert enriched[0]["feature"] == ENRICHED
    assert depleted[0]["feature"] == DEPLETED
    assert enriched[0]["q"] < 0.01
    assert depleted[0]["q"] < 0.01
    assert enriched[0]["heldout_interval"][0] > 0
    assert depleted[0]["heldout_interval"][1] < 0
    low, high = enriched[0]["heldout_interval"]
    assert low <= enriched[0]["heldout_delta_rate"] <= high
    assert told["layers"]["a"]["features"]["enriched"] == 1
    assert told["layers"]["a"]["features"]["untested"] == {"too_rare": 1, "too_common": 1}
    assert told["layers"]["b"]["features"]["enriched"] == 0
    assert told["features"]["found_of_same_sign_held_out"] == 2


def test_q_is_over_all_tested_features_of_all_layers(home: Path) -> None:
    from statsmodels.stats.multitest import multipletests

    table = pd.read_parquet(home / "c" / "features.parquet")
    told = read_json(home / "c" / "contrast.json")
    assert len(table) == told["features"]["tested"] == 2 * (FEATURES - 2)
    assert table.columns[:10].tolist() == [
        "sae_id", "feature", "top_rows", "rest_rows", "top_rate", "rest_rate", "delta_rate",
        "lift", "odds_ratio", "p",
    ]  # fmt: skip
    np.testing.assert_allclose(table["q"], multipletests(table["p"], method="fdr_bh")[1])
    listed = told["layers"]["a"]["top_enriched_features"]
    own = table[table["sae_id"] == "a"].set_index("feature")
    assert [row["p"] for row in listed] == sorted(row["p"] for row in listed)
    for row in listed:
        assert own.loc[row["feature"], "heldout_low"] == row["heldout_interval"][0]


def test_the_finding_says_auc_length_and_features(home: Path) -> None:
    finding = contrast(config(home)).finding()
    assert finding.headline.startswith("Already done: ")
    told = read_json(home / "c" / "contrast.json")
    best = told["layers"][told["best_layer"]]
    assert f"AUC {best['oof_auc']:.2f} [" in finding.headline
    assert "2 of 76 features at q ≤ 0.05 (1 enriched, 1 depleted)" in finding.headline
    assert [row[0] for row in finding.rows] == ["a", "b"]
    assert finding.columns[3:5] == ("AUC", "minus length")
    pairs = [(c["arm"], c["control"]) for c in told["comparisons"]]
    assert pairs == [(a, f"{b} alone") for a in ("a", "b") for b in ("length", "loss")]
    assert [(c["arm"], c["control"]) for c in told["between_layers"]] == [("a", "b")]
    first = told["comparisons"][0]
    expected = told["layers"]["a"]["oof_auc"] - told["baselines"]["length"]["oof_auc"]
    assert first["effect"] == pytest.approx(expected)
    assert first["interval"] is not None
    assert all(path.exists() for path in finding.files.values())


def test_rows_and_sides_are_counted(home: Path) -> None:
    told = read_json(home / "c" / "contrast.json")
    assert (told["rows"], told["top_rows"], told["groups"]) == (ROWS, TOP, ROWS)
    assert told["fitted"]["rows"] + told["held_out"]["rows"] == ROWS
    assert told["fitted"]["top_rows"] + told["held_out"]["top_rows"] == TOP
    # the row of best score was not extracted, and does not count among the top
    assert told["cautions"] == [
        "The best of several layers is chosen on the rows that judge it, so its AUC is a little "
        "too high."
    ]


def test_shuffled_labels_find_nothing(tmp_path: Path) -> None:
    sae_dir, scores = make(tmp_path, ids=("a",), per_group=2)
    extraction = open_extraction(sae_dir)
    layer = extraction.layer("a")
    draws, clean, covered = 40, 0, 0
    for seed in range(draws):
        shuffled = np.random.default_rng(seed).permutation(ROWS)
        table = {"row_id": [f"r{i}" for i in range(ROWS)], "score": shuffled.astype(float)}
        write_parquet(pa.table(table), scores)
        rows = a_design(sae_dir, scores, seed=seed)
        found = of_layer(layer, rows, min_rows=5, top_features=3, seed=seed)
        clean += not (all_features({"a": found})["q"] <= 0.05).any()
        low, high = found.judged.oof_interval.low, found.judged.oof_interval.high
        covered += low <= 0.5 <= high
    assert clean >= 36
    assert covered >= 35


def a_design(
    sae_dir: Path,
    scores: Path,
    mode: SplitMode = "grouped",
    fields: tuple[str, ...] = (),
    seed: int = 0,
) -> Design:
    return design(
        open_extraction(sae_dir),
        scores,
        top_k=TOP,
        mode=mode,
        group_key_fields=fields,
        fraction=0.2,
        folds=5,
        seed=seed,
    )


def test_groups_stay_whole_in_the_split_and_the_folds(tmp_path: Path) -> None:
    sae_dir, scores = make(tmp_path, ids=("a",), per_group=4)
    for seed in range(5):
        rows = a_design(sae_dir, scores, seed=seed)
        for group in np.unique(rows.groups):
            own = rows.groups == group
            assert len(np.unique(rows.held[own])) == 1
            assert len(np.unique(rows.fold[own])) == 1
        assert rows.rows_per_group == 4
    random = a_design(sae_dir, scores, "random")
    assert any(len(np.unique(random.held[random.groups == g])) == 2 for g in random.groups)
    assert set(a_design(sae_dir, scores, fields=("kind", "group_id")).groups[:2]) == {
        "a||g0", "b||g0",
    }  # fmt: skip


def test_rows_of_one_group_are_warned_of(tmp_path: Path) -> None:
    make(tmp_path, ids=("a",), per_group=3)
    finding = contrast(config(tmp_path, split_mode="stratified")).finding()
    assert (
        "3.0 rows to a group on average, and the p of features takes them for" in finding.headline
    )
    assert "by groups " in finding.headline
    assert "Rows were split stratified" in finding.headline
    assert "q by groups" in (tmp_path / "c" / "report.html").read_text()
    table = pd.read_parquet(tmp_path / "c" / "features.parquet").set_index("feature")
    assert table.loc[ENRICHED, "group_q"] < 0.01


def test_folders_of_the_earlier_system_serve(tmp_path: Path) -> None:
    make(tmp_path, ids=("layer_17",), summary=False, means=False)
    told = contrast(config(tmp_path, split_mode="random")).told
    assert told["layers"]["layer_17"]["top_enriched_features"][0]["feature"] == ENRICHED
    assert told["layers"]["layer_17"]["hook_name"] is None
    assert told["between_layers"] == []


def test_without_losses_there_is_no_such_baseline(tmp_path: Path) -> None:
    _, scores = make(tmp_path, ids=("a",))
    table = pd.read_parquet(scores)
    table.loc[3, "loss"] = np.nan
    write_parquet(pa.Table.from_pandas(table, preserve_index=False), scores)
    told = contrast(config(tmp_path)).told
    assert "1 of 240 rows have no finite loss" in told["baselines"]["loss"]["reason"]
    assert [c["control"] for c in told["comparisons"]] == ["length alone"]
    assert any("No comparison with loss" in each for each in told["cautions"])


def change_stats(file: Path, change: Any) -> None:
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    change(arrays["sample_stats"])
    np.savez_compressed(file, **arrays)


def test_constant_statistics_tell_nothing_apart(tmp_path: Path) -> None:
    sae_dir, _ = make(tmp_path, ids=("a",))
    change_stats(sae_dir / "a.npz", lambda stats: stats.fill(2.0))
    layer = contrast(config(tmp_path)).told["layers"]["a"]
    assert layer["oof_auc"] == layer["test_auc"] == 0.5
    assert layer["oof_auc_interval"] is None
    assert "no spread" in layer["oof_auc_reason"]
    assert all(each["cohens_d"] is None for each in layer["stat_feature_differences"])
    assert set(layer["regression_coefficients"]["standardised"].values()) == {0.0}


def spoil(array: Any) -> None:
    array[4, 2] = np.nan


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    sae_dir, scores = make(tmp_path)

    def refused(match: str, **changes: Any) -> None:
        with pytest.raises(BadInput, match=match) as error:
            contrast(config(tmp_path, **changes))
        assert "\n" not in str(error.value)
        assert not (tmp_path / "c").exists()

    refused(r"--top-k 240: there are 240 rows", top_k=240)
    refused('no SAE "z"; it has a, b', sae_id=("z",))
    refused("--group-key-fields nope: the rows have no such field", group_key_fields=("nope",))
    refused("the (held-out|fitted) rows are all of one class", top_k=1)
    change_stats(sae_dir / "b.npz", spoil)
    refused('b.npz, row_id "r4": active_feature_fraction is nan, not a finite number')
    short = activations(ROWS - 1, FEATURES)
    write_extraction(tmp_path / "y", [{"row_id": f"r{i}"} for i in range(ROWS - 1)], {"b": short})
    (tmp_path / "y" / "b.npz").replace(sae_dir / "b.npz")
    refused("b.npz: 239 rows, and .*examples.jsonl has 240")
    table = pd.read_parquet(scores)
    write_parquet(pa.Table.from_pandas(table[table["row_id"] != "r9"]), scores)
    refused('no score for 1 of 240 rows .*first: row_id "r9"')
    write_parquet(pa.Table.from_pandas(table.assign(score=0.0)), scores)
    refused("every row has the same score, so there is no top")


def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    import whence.sae.contrast.page as page

    with monkeypatch.context() as patch:
        patch.setattr(page, "write_page", killed)
        with pytest.raises(KeyboardInterrupt):
            contrast(config(home, output_dir=tmp_path / "c"))
    assert not (tmp_path / "c").exists()
    assert not contrast(config(home, output_dir=tmp_path / "c")).done_before
    for name in ("contrast.json", "features.parquet"):
        assert (tmp_path / "c" / name).read_bytes() == (home / "c" / name).read_bytes()
    with pytest.raises(BadInput, match="holds another run: top_k: 60 → 50"):
        contrast(config(home, output_dir=tmp_path / "c", top_k=50))


def test_the_page_shows_it_and_every_text_is_escaped(tmp_path: Path) -> None:
    name = f"layer {SCRIPT}"
    sae_dir, _ = make(tmp_path, ids=(name, "b"))
    summary = json.loads((sae_dir / "summary.json").read_text())
    summary["layers"][0] |= {"neuronpedia_id": "gemma/13-res", "hook_name": f"hook{SCRIPT}"}
    write_json(sae_dir / "summary.json", summary)
    result = contrast(config(tmp_path, top_features=4))
    assert result.finding().columns[-1] == "Neuronpedia"
    top = result.told["layers"][name]["top_enriched_features"][0]
    assert top["neuronpedia"] == f"https://www.neuronpedia.org/gemma/13-res/{ENRICHED}"
    html = (tmp_path / "c" / "report.html").read_text()
    assert SCRIPT not in html
    assert SCRIPT in unescape(html)
    assert html.count("<script>") == 1
    assert f'<a href="{top["neuronpedia"]}"' in html
    titles = re.findall(r'<h2 id="[^"]*">([^<]*)', html)
    assert titles == ["SAEs", "Against length and loss", "Features", "Statistics", "Run it again"]
    assert html.count("<svg") == 5  # levels, differences, a volcano an SAE, held out of the first
    assert not re.search(r'(?:src|href)="(?!#|https://www\.neuronpedia\.org/)', html)
