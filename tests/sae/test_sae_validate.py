"""`whence sae validate`: verdicts on planted predictors, and what is missing or wrong."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_jsonl
from whence.runs.tables import write_parquet
from whence.sae.validate.command import ValidateConfig, validate
from whence.stats.intervals import Interval
from whence.stats.whole import rank_correlation, statistic_interval

SCRIPT = "<script>alert('x')</script>"
LEVELS = ("very easy", "easy", "medium", "hard", "very hard")


def make(
    folder: Path, rows: int = 600, *, leaning: float = 0.0, per_group: int = 1, **changes: Any
) -> list[dict[str, Any]]:
    """Predictions of attribution that lean on the reward as far as said; half are held out.

    Target, noise and reward are orthogonal in either half, so that no seed decides a verdict.
    """
    rng = np.random.default_rng(0)
    reward, target, noise = (np.empty(rows) for _ in range(3))
    for half in (slice(0, None, 2), slice(1, None, 2)):
        count = len(reward[half])
        columns = np.concatenate([np.ones((count, 1)), rng.normal(size=(count, 3))], axis=1)
        basis = np.linalg.qr(columns)[0] * np.sqrt(count)
        reward[half], target[half], noise[half] = basis[:, 1], basis[:, 2], basis[:, 3]
    predicted = target + leaning * reward + noise
    hardness = np.clip(np.round(target + 2 + rng.normal(size=rows)), 0, 4).astype(int)
    lines = [
        {
            "rank": i + 1, "row_id": f"r{i}", "part": "test" if i % 2 else "train",
            "target_score_raw": target[i], "target_value": target[i], "pred_value": predicted[i],
            "abs_error": 0.0, "reward_model_score": reward[i], "difficulty": LEVELS[hardness[i]],
            "quality": "good" if reward[i] > 0 else "poor", "category": f"c{i % 5}",
            "length_tokens": int(20 + 5 * i % 37), "group_id": f"g{i // per_group}",
        } | changes
        for i in range(rows)
    ]  # fmt: skip
    (folder / "p").mkdir(parents=True)
    write_jsonl(folder / "p" / "row_scores.jsonl", lines)
    return lines


def config(folder: Path, **changes: Any) -> ValidateConfig:
    return ValidateConfig(**{"predictions": folder / "p", "output_dir": folder / "v", **changes})


def entry(side: Any, kind: str, **wanted: Any) -> Any:
    return next(e for e in side[kind] if all(e[key] == value for key, value in wanted.items()))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("validate")
    make(folder)
    validate(config(folder))
    return folder


def test_a_predictor_that_has_nothing_of_the_reward_is_orthogonal_and_knows_more(
    home: Path,
) -> None:
    told = read_json(home / "v" / "validation.json")
    assert told["on"] == "test"
    assert told["verdict"]["answer"] == "orthogonal"
    prediction, itself, beyond = told["verdict"]["sentences"]
    assert prediction.startswith("The prediction is orthogonal to reward_model_score within ±0.2")
    assert itself.startswith("Attribution itself is orthogonal")
    assert beyond.startswith("It knows something of attribution that reward_model_score does not")


def test_the_numbers_are_scipys_on_the_rows_held_out(home: Path) -> None:
    told = read_json(home / "v" / "validation.json")
    lines = [line for line in make(home / "again") if line["part"] == "test"]
    vectors = {
        "reward_model_score": [line["reward_model_score"] for line in lines],
        "difficulty": [LEVELS.index(line["difficulty"]) for line in lines],
        "length": [line["length_tokens"] for line in lines],
    }
    arms = {"predicted": "pred_value", "attribution": "target_score_raw"}
    for arm, column in arms.items():
        for field, vector in vectors.items():
            found = entry(told["test"], "correlations", arm=arm, field=field)
            expected = spearmanr([line[column] for line in lines], vector).statistic
            assert found["value"] == pytest.approx(expected)
            assert found["interval"][0] < found["value"] < found["interval"][1]
            assert found["rows"] == 300
    assert told["all"]["rows"] == 600
    assert told["all"]["in_sample_rows"] == 300
    assert told["test"]["in_sample_rows"] == 0
    category = entry(told["test"], "categories", arm="predicted", field="category")
    assert [level["name"] for level in category["levels"]] == [f"c{i}" for i in range(5)]
    own = [line["pred_value"] for line in lines if line["category"] == "c3"]
    assert category["levels"][3]["mean"] == pytest.approx(np.mean(own))
    assert category["levels"][3]["interval"] is not None
    assert category["p"] > 0.05
    assert [each["given"] for each in told["test"]["partial"]] == [
        [], ["reward_model_score"], ["length"], ["reward_model_score", "length"],
    ]  # fmt: skip


def test_q_is_over_the_whole_side(home: Path) -> None:
    from statsmodels.stats.multitest import multipletests

    side = read_json(home / "v" / "validation.json")["test"]
    family = [e for kind in ("correlations", "categories", "partial") for e in side[kind]]
    assert len(family) == 8 + 2 + 4
    expected = multipletests([each["p"] for each in family], method="fdr_bh")[1]
    np.testing.assert_allclose([each["q"] for each in family], expected)


def test_a_predictor_that_leans_on_the_reward_is_not_orthogonal(tmp_path: Path) -> None:
    make(tmp_path, leaning=2.0)
    result = validate(config(tmp_path))
    assert result.told["verdict"]["answer"] == "not orthogonal"
    assert "The prediction is not orthogonal to reward_model_score: ρ = 0.8" in (
        result.finding().headline
    )


def test_a_predictor_that_is_the_reward_knows_nothing_beyond(tmp_path: Path) -> None:
    lines = make(tmp_path)
    rng = np.random.default_rng(1)
    for line in lines:
        line["pred_value"] = line["reward_model_score"] + 0.3 * rng.normal()
    write_jsonl(tmp_path / "p" / "row_scores.jsonl", lines)
    told = validate(config(tmp_path)).told
    assert told["verdict"]["answer"] == "not orthogonal"
    assert told["verdict"]["sentences"][2].startswith("It is not shown to know anything")


def test_few_rows_settle_nothing_and_say_how_many_would(tmp_path: Path) -> None:
    make(tmp_path, rows=40)
    told = validate(config(tmp_path)).told
    assert told["verdict"]["answer"] == "not settled"
    assert told["verdict"]["rows_needed"] > 20
    assert f"about {told['verdict']['rows_needed']} rows would settle it" in told["headline"]


def test_one_group_has_no_interval(tmp_path: Path) -> None:
    make(tmp_path, rows=60, group_id="g")
    told = validate(config(tmp_path)).told
    found = entry(told["test"], "correlations", arm="predicted", field="length")
    assert found["value"] is not None
    assert found["interval"] is None
    assert found["p"] is found["q"] is None
    assert "1 cluster, and an interval needs at least 5" in found["reason"]
    assert told["verdict"]["answer"] == "not settled"
    assert told["verdict"]["rows_needed"] is None


def test_rows_without_a_value_are_left_out_and_constants_have_none(tmp_path: Path) -> None:
    lines = make(tmp_path, quality="good")
    for line in lines[:100]:
        line["reward_model_score"] = None
    lines[1]["difficulty"] = "odd"
    write_jsonl(tmp_path / "p" / "row_scores.jsonl", lines)
    result = validate(config(tmp_path, fields="difficulty,quality,length,mood"))
    side = result.told["test"]
    assert entry(side, "correlations", arm="predicted", field="reward_model_score")["rows"] == 250
    assert entry(side, "partial", given=["reward_model_score"])["rows"] == 250
    constant = entry(side, "correlations", arm="predicted", field="quality")
    assert constant["value"] is None
    assert constant["reason"] == "quality is the same in all 300 rows"
    assert "mood is left out: no such column." in result.finding().headline
    assert 'difficulty: words of no scale count as missing: "odd" (1).' in result.told["cautions"]
    assert "categories" in side
    assert side["categories"] == []


def test_groups_are_resampled_whole(tmp_path: Path) -> None:
    lines = make(tmp_path, rows=200)
    copies = [line | {"row_id": f"{line['row_id']}-{n}"} for line in lines for n in range(4)]
    write_jsonl(tmp_path / "p" / "row_scores.jsonl", copies)
    by_group = validate(config(tmp_path)).told
    by_row = validate(
        config(tmp_path, output_dir=tmp_path / "w", group_key_fields=("row_id",))
    ).told

    def width(told: Any) -> float:
        low, high = entry(told["test"], "correlations", arm="predicted", field="length")["interval"]
        return float(high - low)

    assert width(by_group) == pytest.approx(2 * width(by_row), rel=0.15)
    assert by_group["test"]["groups"] == 100


def test_a_table_of_predictions_with_metadata_beside_it(tmp_path: Path) -> None:
    lines = make(tmp_path)
    table = {"row_id": [e["row_id"] for e in lines], "score": [e["pred_value"] for e in lines]}
    write_parquet(pa.table(table), tmp_path / "scores.parquet")
    more = [
        {key: line[key] for key in ("row_id", "reward_model_score", "category")} | {"score": 0.0}
        for line in lines[:500]
    ]
    write_jsonl(tmp_path / "more.jsonl", more)
    result = validate(
        config(tmp_path, predictions=tmp_path / "scores.parquet", metadata=tmp_path / "more.jsonl")
    )
    told = result.told
    assert told["on"] == "all"
    assert told["predicted_column"] == "score"
    assert told["target_column"] is None
    found = entry(told["all"], "correlations", arm="predicted", field="reward_model_score")
    expected = spearmanr(table["score"][:500], [e["reward_model_score"] for e in lines[:500]])
    assert found["value"] == pytest.approx(expected.statistic)
    assert told["all"]["partial"] == []
    assert "do not say which rows were fitted on" in result.finding().headline
    assert result.finding().rows[0][4:] == ("–", "–")


def test_predictions_of_rows_that_were_all_fitted_on_say_so(tmp_path: Path) -> None:
    make(tmp_path, rows=60, part="train")
    told = validate(config(tmp_path)).told
    assert told["on"] == "all"
    assert (
        "60 of these 60 rows are among those that the predictor was fitted on"
        in (told["cautions"][0])
    )


def test_predictions_out_of_fold_judge_all_rows_beside_those_held_out(tmp_path: Path) -> None:
    lines = make(tmp_path, rows=200)
    rng = np.random.default_rng(1)
    for line in lines:
        line["pred_out_of_fold"] = line["reward_model_score"] + rng.normal()
    lines[5]["pred_out_of_fold"] = None
    write_jsonl(tmp_path / "p" / "row_scores.jsonl", lines)
    told = validate(config(tmp_path)).told
    assert told["on"] == "test"
    assert told["out_of_fold"]["rows"] == 199
    assert told["out_of_fold"]["in_sample_rows"] == 0
    found = entry(told["out_of_fold"], "correlations", arm="predicted", field="reward_model_score")
    pairs = [(e["pred_out_of_fold"], e["reward_model_score"]) for e in lines if e is not lines[5]]
    assert found["value"] == pytest.approx(spearmanr(*zip(*pairs, strict=True)).statistic)
    plain = statistic_interval(rank_correlation(*zip(*pairs, strict=True)), len(pairs))
    assert isinstance(plain, Interval)
    assert np.ptp(found["interval"]) > 1.3 * (plain.high - plain.low)  # spread between fits
    last = told["verdict"]["sentences"][-1]
    assert last.startswith("The prediction out of fold is not orthogonal to reward_model_score")
    assert '<h2 id="out-of-fold-title">' in (tmp_path / "v" / "report.html").read_text()


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    lines = make(tmp_path, rows=30)

    def refused(match: str, *, written: Any = lines, **changes: Any) -> None:
        write_jsonl(tmp_path / "p" / "row_scores.jsonl", written)
        with pytest.raises(BadInput, match=match) as error:
            validate(config(tmp_path, **changes))
        assert "\n" not in str(error.value)
        assert not (tmp_path / "v").exists()

    refused("none of the fields nope, mood is in the rows", fields="mood", reward_field="nope")
    refused("--reward-field difficulty: expected numbers", reward_field="difficulty")
    refused('"r3": pred_value is nan', written=[
        line | ({"pred_value": None} if line["row_id"] == "r3" else {}) for line in lines
    ])  # fmt: skip
    refused('row_id "r0" is doubled', written=[*lines, lines[0]])
    refused("neither pred_value nor score", written=[{"row_id": "a", "x": 1}])
    refused("no row_id in it", written=[{"x": 1}])
    refused("no such field", group_key_fields=("nope",))
    write_jsonl(tmp_path / "other.jsonl", [{"row_id": "z", "mood": 1}])
    refused("none of its rows is predicted", metadata=tmp_path / "other.jsonl")
    (tmp_path / "empty").mkdir()
    refused("no row_scores.jsonl; expected a folder of `whence sae predict`",
            predictions=tmp_path / "empty")  # fmt: skip


def test_a_second_run_is_done_and_a_killed_one_gives_the_same_bytes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert validate(config(home)).finding().headline.startswith("Already done: The prediction")
    import whence.sae.validate.page as page

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(page, "write_page", killed)
        with pytest.raises(KeyboardInterrupt):
            validate(config(home, output_dir=tmp_path / "v"))
    assert not (tmp_path / "v").exists()
    validate(config(home, output_dir=tmp_path / "v"))
    whole = (tmp_path / "v" / "validation.json").read_bytes()
    assert whole == (home / "v" / "validation.json").read_bytes()
    with pytest.raises(BadInput, match=r"margin: 0\.2 → 0\.1"):
        validate(config(home, margin=0.1))


def test_the_page_shows_it_and_every_text_is_escaped(tmp_path: Path) -> None:
    lines = make(tmp_path, rows=120)
    for line in lines[::3]:
        line["category"] = f"c{SCRIPT}"
        line["difficulty"] = f"d{SCRIPT}"
    write_jsonl(tmp_path / "p" / "row_scores.jsonl", lines)
    validate(config(tmp_path))
    html = (tmp_path / "v" / "report.html").read_text()
    assert SCRIPT not in html
    assert SCRIPT in unescape(html)
    assert html.count("<script>") == 1
    titles = re.findall(r'<h2 id="[^"]*">([^<]*)', html)
    assert titles == [
        "With the metadata", "Beyond the reward", "In pictures", "All rows", "Run it again",
    ]  # fmt: skip
    assert html.count("<svg") == 6  # correlations; reward, length; difficulty, quality, category
    assert not re.search(r'(?:src|href)="(?!#)', html)
