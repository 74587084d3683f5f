"""`whence heads sweep` as a user meets it: files, resuming, replaying, errors of one line."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import started

from whence.__main__ import main
from whence.heads.commands.sweep import SweepConfig, sweep
from whence.runs.jsonfile import read_json, write_jsonl
from whence.tiny.probes import make_probes
from whence.tiny.world import make_world


def words(model: Path | str, corpus: Path, out: Path, *more: str) -> list[str]:
    common = ["--model", str(model), "--corpus", str(corpus), "--output-dir", str(out)]
    return ["heads", "sweep", *common, *more]


def contents(folder: Path) -> dict[str, bytes]:
    """Everything that a run found: not its record, and not what it cost."""
    skipped = {"whence.json", "profile.json", "report.html"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped
    }


def test_the_tables_are_where_scripts_look_for_them(
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "H"
    assert main(words(zoo_folder("gemma3"), small_corpus, out)) == 0
    said = capsys.readouterr().out
    assert "Strongest head" in said
    assert str(out / "metrics" / "head_impact.parquet") in said
    summary = read_json(out / "metrics" / "summary.json")
    examples = pq.read_table(out / "metrics" / "per_example.parquet").to_pandas()
    clean = examples.drop_duplicates("example")["clean_logit_diff"].mean()
    assert summary["clean"]["logit_diff"] == pytest.approx(clean)
    assert summary["n_prompts"] == 9
    assert summary["n_examples"] == 10
    impact = pq.read_table(out / "metrics" / "head_impact.parquet").to_pandas()
    for row in impact[impact["metric"] == "delta_logit_diff"].itertuples():
        own = examples[(examples["layer"] == row.layer) & (examples["head"] == row.head)]
        change = (own["logit_diff"] - own["clean_logit_diff"]).mean()
        assert row.value == pytest.approx(change)
        assert row.ci_low <= change <= row.ci_high
    for name in ("impact_heatmap.png", "impact_heatmap.html"):
        assert (out / "artifacts" / name).stat().st_size > 1000
    assert read_json(out / "profile.json")["runtime"]["interventions"] == 12
    assert "<html" in (out / "report.html").read_text()


def test_the_same_again_is_already_done_and_other_settings_are_refused(
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, out = zoo_folder("gpt2"), tmp_path / "H"
    assert main(words(model, small_corpus, out, "--layers", "1")) == 0
    before = contents(out)
    assert main(words(model, small_corpus, out, "--layers", "1")) == 0
    assert "Already measured" in capsys.readouterr().out
    assert main(words(model, small_corpus, out, "--layers", "2")) == 2
    assert "holds another run: layers" in capsys.readouterr().err
    assert contents(out) == before


def test_a_replay_gives_the_same_bytes(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "H"
    assert main(words(zoo_folder("llama"), small_corpus, out)) == 0
    assert main(["replay", str(out)]) == 0


def test_killed_it_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    corpus = tmp_path / "facts.jsonl"
    write_jsonl(corpus, make_probes(make_world(), "facts", 40))

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    shards = tmp_path / "cut.partial"
    run = started.whence(*words("tiny", corpus, cut))
    assert run.kill_when(lambda: list(shards.rglob("000[1-4].parquet"))) == -signal.SIGKILL
    assert not cut.exists()
    left = {path: path.stat().st_mtime_ns for path in shards.rglob("0*.parquet")}
    assert 0 < len(left) < 6
    assert main(words("tiny", corpus, cut)) == 0
    assert main(words("tiny", corpus, whole)) == 0
    assert read_json(cut / "whence.json")["attempts"] == 2
    ours, theirs = contents(cut), contents(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_in_python_it_is_the_same_function(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    config = SweepConfig(
        model=str(zoo_folder("falcon")),
        corpus=small_corpus,
        output_dir=tmp_path / "H",
        layers=("0-1",),
        scales=(0.0, 1.0, 2.0),
        metrics=("kl_div",),
    )
    frame = sweep(config).frame("head", "kl_div")
    assert sorted(frame["layer"].unique()) == [0, 1]
    unchanged = frame[frame["scale"] == 1.0]
    np.testing.assert_allclose(unchanged["value"], 0, atol=1e-5)
    assert (frame[frame["scale"] == 0.0]["value"] > 1e-4).any()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--layers", "9"], "layer 9 is out of range: the model has 3 layers, 0 to 2"),
        (["--heads", "7"], "head 7 is out of range"),
        (["--layers", "3-1"], "--layers 3-1: the range ends before it begins"),
        (["--positions", "lst"], "--positions: all, last_token, first, final_K"),
        (["--positions", "99"], "position 99 lies outside a prompt of"),
        (["--ablation", "meen"], "--ablation"),
        (["--metrics", "logit_dif"], "did you mean logit_diff"),
        (["--metrics", "seq_kl_mean"], "set metric_span to full_target"),
        (["--subsample", "1000"], "the corpus has 9 distinct prompts"),
        (["--part", "train"], "no split file beside"),
        (["--foo", "1"], "no flag --foo"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_left(
    flags: list[str],
    said: str,
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(zoo_folder("gpt2"), small_corpus, tmp_path / "H", *flags)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert said in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_an_answer_of_several_tokens(
    zoo_folder: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "long.jsonl"
    rows = [
        {"clean": "The fox is", "target": " red", "foil": " blue"},
        {"clean": "The river is", "target": " blue as the sky", "foil": " red"},
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = zoo_folder("gpt2")
    assert main(words(model, corpus, tmp_path / "H")) == 2
    error = capsys.readouterr().err
    assert "row 1: target ' blue as the sky' is not a single token but" in error
    assert "--metric-span full_target" in error
    assert main(words(model, corpus, tmp_path / "H", "--metric-span", "full_target")) == 0
    assert (
        "seq_kl_mean"
        in pq.read_table(tmp_path / "H" / "metrics" / "per_example.parquet").schema.names
    )


def test_bos_is_the_tokenizers_unless_it_is_asked_for(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    found = {}
    for policy in ("default", "always", "never"):
        out = tmp_path / policy
        flags = ("--layers", "0", "--prepend-bos", policy)
        assert main(words(zoo_folder("llama"), small_corpus, out, *flags)) == 0
        summary = read_json(out / "metrics" / "summary.json")
        found[policy] = (summary["bos"], summary["clean"]["logit_diff"])
    assert found["default"] == found["always"]
    assert found["always"][0] == 1
    assert found["never"][0] is None
    assert found["never"][1] != found["always"][1]


def test_several_seeds_are_one_line_a_head(
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ("--ablation", "resample", "--seeds", "0", "1", "2", "--layers", "1")
    assert main(words(zoo_folder("gpt2"), small_corpus, tmp_path / "H", *flags)) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if " [" in line][1:]
    assert sorted(shown) == ["1:0", "1:1", "1:2", "1:3"]


def test_a_model_that_does_not_know_is_said_to_be_undecided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "negation.jsonl"  # the tiny model is at chance there
    write_jsonl(corpus, make_probes(make_world(), "negation", 60))
    assert main(words("tiny", corpus, tmp_path / "H", "--layers", "5")) == 0
    assert "The model itself is undecided here" in capsys.readouterr().out
