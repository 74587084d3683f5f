"""`whence games generate` from flags to files, against the misbehaving endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fault_server import Endpoint

from whence.__main__ import main
from whence.data.build import BuildConfig, build
from whence.data.games.generate import GenerateConfig, GenerateResult, Stopped, generate
from whence.data.games.tournament import Outage
from whence.errors import BadInput, WhenceError
from whence.runs.jsonfile import read_json, read_jsonl
from whence.runs.manifest import load_manifest, read_split
from whence.runs.store import read_record

FAULTS = {
    "http_429": 0.04, "http_500": 0.03, "drop": 0.03, "not_json": 0.02, "no_choices": 0.02,
    "error_in_200": 0.02, "stall": 0.01, "empty": 0.03, "null": 0.02, "no_prefix": 0.05,
    "violation": 0.05, "placeholder": 0.03, "sentence": 0.03,
}  # fmt: skip


@pytest.fixture
def play(endpoint: Endpoint, words_file: Path, tmp_path: Path) -> Any:
    """Games of two guessers at the endpoint; returns the result."""

    def run(**changes: Any) -> GenerateResult:
        settings: dict[str, Any] = {
            "base_url": endpoint.url,
            "instances": str(words_file),
            "describer_model": "describer",
            "guesser_models": ("guesser1", "guesser2"),
            "games_per_guesser": 8,
            "output_dir": tmp_path / "G",
        }
        return generate(GenerateConfig(**(settings | changes)))

    return run


def check_sums(folder: Path, seen: dict[str, Any]) -> dict[str, Any]:
    """Files agree with each other and with what the server saw; returns the summary."""
    summary = read_json(folder / "summary.json")
    games = read_jsonl(folder / "games.jsonl")
    rows = read_jsonl(folder / "rows_wordguesser.jsonl")
    ids = [game["game_id"] for game in games]
    assert len(set(ids)) == len(ids) == summary["games_requested"] == summary["games_written"]
    assert sum(summary["outcome_counts"].values()) == len(games)
    assert [row["row_id"] for row in rows] == [
        game["game_id"] for game in games if game["completion"] is not None
    ]
    assert summary["rows_written"] == len(rows)
    assert summary["requests"] == seen["requests"]
    assert summary["retries"] == seen["repeated"]
    used = summary["usage"]["by_model"]
    assert {name: one["requests"] for name, one in used.items()} == seen["models"]
    tokens = {n: [one["prompt_tokens"], one["completion_tokens"]] for n, one in used.items()}
    assert tokens == seen["tokens"]
    spent = sum(game["usage"]["requests"] for game in games)
    assert summary["requests_of_unfinished_games"] == summary["requests"] - spent
    if spent == summary["requests"]:
        for name, one in used.items():
            mine = [game["usage"]["by_model"].get(name, {}) for game in games]
            assert {key: sum(each.get(key, 0) for each in mine) for key in one} == one
    assert summary["is_partial"] is False
    return dict(summary)


def test_the_real_words_through_every_fault(
    play: Any, endpoint: Endpoint, shared_data: Path, tmp_path: Path
) -> None:
    endpoint.set(
        faults=FAULTS, stall=1.8, retry_after=0.1, skill={"guesser1": 0.6, "guesser2": 0.3}
    )
    result = play(
        instances=str(shared_data / "taboo" / "instances.json"),
        games_per_guesser=150,
        concurrency=16,
        request_timeout=1.5,
        checkpoint_every=10,
    )
    seen = endpoint.stats()
    summary = check_sums(result.folder, seen)
    assert summary["games_requested"] == 300
    assert summary["outcome_counts"]["error"] == 0, "nothing failed for good"
    assert summary["requests_of_unfinished_games"] == 0
    kinds = seen["kinds"]
    assert all(kinds.get(kind) for kind in FAULTS), "every fault was met"
    failures = summary["request_failures"]
    assert failures["429"] == kinds["http_429"]
    assert failures["500"] == kinds["http_500"]
    assert failures["502"] == kinds["error_in_200"]
    assert failures["connection"] == kinds["drop"]
    assert failures["bad_reply"] == kinds["not_json"] + kinds["no_choices"]
    assert failures["timeout"] == kinds["stall"]
    assert summary["repairs"]["describer"] > 0 < summary["repairs"]["guesser"]
    assert list(summary["by_experiment"]) == ["high_en", "medium_en", "low_en"]
    assert seen["most_open"] <= 16 + kinds["stall"], "stalled requests are given up, not the server"
    low, high = summary["success_rate_interval"]
    assert low < summary["success_rate"] < high
    assert min(seen["waits"]) >= 0.1
    for game in read_jsonl(result.folder / "games.jsonl"):
        guessed = [turn["guess_word"] for turn in game["turns"] if turn["guess_word"]]
        right = bool(guessed) and guessed[-1].casefold() == game["target_word"].casefold()
        assert (game["outcome"] == "success") == right
        assert all(not turn["clue_violations"] for turn in game["turns"])


def test_rows_go_into_data_build_as_they_are(play: Any, tmp_path: Path) -> None:
    folder = play(games_per_guesser=24, save_hf_dataset=True).folder
    rows = {row["row_id"]: row for row in read_jsonl(folder / "rows_wordguesser.jsonl")}
    for name, source in (
        ("file", {"train_file": folder / "rows_wordguesser.jsonl"}),
        ("folder", {"dataset_name": str(folder / "rows_wordguesser_hf")}),
    ):
        sizes = {"train_size": 20, "query_size": 4, "eval_size": 4}
        built = build(BuildConfig(**source, **sizes, run_dir=tmp_path / name)).manifest  # type: ignore[arg-type]
        frame = read_split(load_manifest(built.path), "train_base")
        assert len(frame) == 20
        for row in frame.to_dict("records"):
            given = rows[row["row_id"]]
            assert (row["prompt"], row["completion"]) == (given["prompt"], given["completion"])
            assert row["group_id"] == given["group_id"]


def test_the_same_settings_give_the_same_games_whatever_the_concurrency(
    play: Any, endpoint: Endpoint, tmp_path: Path
) -> None:
    folders = [
        play(output_dir=tmp_path / str(c), concurrency=c, checkpoint_every=c).folder for c in (1, 7)
    ]
    for name in ("games.jsonl", "rows_wordguesser.jsonl"):
        one, other = ((folder / name).read_bytes() for folder in folders)
        assert one == other, name
    assert play(output_dir=tmp_path / "1").done_before
    seen = endpoint.stats()["requests"]
    assert play(output_dir=tmp_path / "1", resume=True, concurrency=3).done_before
    assert endpoint.stats()["requests"] == seen, "nothing is asked again"
    with pytest.raises(BadInput, match="holds another run: seed: 42 → 7"):
        play(output_dir=tmp_path / "1", seed=7)


def test_a_notebooks_own_loop_is_no_hindrance(play: Any) -> None:
    async def cell() -> GenerateResult:
        result: GenerateResult = play()
        return result

    result = asyncio.run(cell())
    assert result.summary["games_written"] == 16


@pytest.mark.usefixtures("interruptible")
def test_a_notebooks_cell_can_be_interrupted(play: Any, endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.set(latency=0.05)
    partial = tmp_path / "G.partial" / "games.jsonl"

    def interrupt() -> None:
        while not partial.exists() or not partial.stat().st_size:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    async def cell() -> None:
        threading.Thread(target=interrupt).start()
        play(concurrency=2)

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):  # as in a notebook's kernel, not as in asyncio.run
        loop.run_until_complete(cell())
    loop.close()
    kept = read_jsonl(partial)
    assert 0 < len(kept) < 16
    assert read_json(partial.with_name("summary.json"))["games_written"] == len(kept)
    record = read_record(partial.parent)
    assert record is not None
    assert record.status == "interrupted"
    assert play().summary["games_written"] == 16


@pytest.mark.parametrize("step", ["rewrite", "write_jsonl", "publish"])
def test_cut_off_after_the_last_game_nothing_is_asked_again(
    play: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    place = {
        "rewrite": "whence.data.games.journal.Journal.rewrite",
        "write_jsonl": "whence.data.games.checkpoints.write_jsonl",
        "publish": "whence.runs.store.publish",
    }[step]

    def killed(*_: Any, **__: Any) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(place, killed)
        with pytest.raises(OSError, match="the power went"):
            play()
    seen = endpoint.stats()
    result = play()
    assert endpoint.stats()["requests"] == seen["requests"]
    check_sums(result.folder, seen)


def test_players_that_never_do_what_they_should(play: Any, endpoint: Endpoint) -> None:
    endpoint.set(faults={"violation": 1.0})
    found = play().summary
    assert found["outcome_counts"]["failure"] == 16
    assert found["failures_by_cause"] == {"describer_rule_violation": 16}
    assert found["rows_written"] == 0
    assert found["success_rate_interval"] is None
    assert "same mean" in found["success_rate_note"]


def test_a_loose_game_goes_on_with_the_bad_clue(
    play: Any, endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.set(faults={"violation": 1.0})
    result = play(strict_taboo_rules=False, guesser_models=("describer2",), games_per_guesser=2)
    for game in read_jsonl(result.folder / "games.jsonl"):
        assert game["turns"][0]["clue_violations"]


def test_budgets_end_a_game_and_not_the_run(play: Any, endpoint: Endpoint) -> None:
    endpoint.set(faults={"http_500": 0.3}, most_in_a_row=2, skill={"guesser1": 0.0})
    found = play(max_requests_per_game=5, guesser_models=("guesser1",), concurrency=8).summary
    assert found["failures_by_cause"] == {"budget_requests": 8}
    assert found["success_rate"] is None
    assert found["requests"] == endpoint.stats()["requests"] == 40
    endpoint.set(stall_word="river", stall=3.0)
    found = play(
        max_seconds_per_game=1, concurrency=8, guesser_models=("guesser2",), overwrite=True
    )
    assert found.summary["failures_by_cause"] == {"budget_seconds": 1}
    assert found.summary["outcome_counts"]["error"] == 1


def test_an_endpoint_that_goes_down_stops_the_run_which_then_goes_on(
    play: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("whence.data.games.waiting.FIRST", 0.01)
    endpoint.set(down_after=60)
    many = {"games_per_guesser": 40, "concurrency": 4, "max_attempts": 2}
    with pytest.raises(Outage, match="10 games in a row failed, the last by server_error"):
        play(**many)
    partial = read_json(tmp_path / "G.partial" / "summary.json")
    assert partial["is_partial"] is True
    assert partial["outcome_counts"]["success"] > 0
    assert partial["outcome_counts"]["error"] >= 10
    spent = endpoint.stats()["requests"]
    endpoint.set()
    found = play(**many).summary
    assert found["outcome_counts"]["error"] == 0, "games that failed by requests are played again"
    assert found["games_written"] == 80
    # A request that was broken off with the run may have been written down and not sent.
    unsent = found["requests"] - spent - endpoint.stats()["requests"]
    assert 0 <= unsent <= 4


def test_a_few_games_that_all_fail_are_no_result(
    play: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("whence.data.games.waiting.FIRST", 0.01)
    endpoint.set(down_after=0)
    with pytest.raises(WhenceError, match="every game failed, the first by server_error"):
        play(games_per_guesser=1, max_attempts=2)
    assert not (tmp_path / "G").exists()


def test_a_wrong_key_or_model_leaves_nothing_behind(
    play: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    endpoint.set(key="sk-right")
    with pytest.raises(BadInput, match="the key is not accepted"):
        play()
    endpoint.set(status={"describer": 404})
    with pytest.raises(BadInput, match="model describer: there is no such model"):
        play()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["words.json"]


def test_a_refusal_in_the_middle_keeps_what_was_played(
    play: Any, endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.set(status={"guesser2": 402})
    with pytest.raises(Stopped, match=r"no credit left.* 1 finished games are kept") as caught:
        play(concurrency=1)
    assert caught.value.exit_code == 2
    endpoint.set()
    result = play(concurrency=1)
    assert result.summary["games_written"] == 16


def test_the_key_is_in_no_file_and_no_word(
    play: Any,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words_file: Path,
    tmp_path: Path,
) -> None:
    secret = "sk-or-v1-0123456789abcdef"
    monkeypatch.setenv("OPENROUTER_API_KEY", secret)
    endpoint.set(key=secret, faults={"http_500": 0.1, "drop": 0.1})
    words = [
        "games", "generate", "--debug", "--base-url", endpoint.url, "--instances", str(words_file),
        "--describer-model", "describer", "--guesser-models", "guesser1",
        "--games-per-guesser", "8", "--output-dir", str(tmp_path / "G"),
    ]  # fmt: skip
    assert main(words) == 0
    endpoint.set(key="another")
    assert main([*words[:-1], str(tmp_path / "H")]) == 2
    said = capfd.readouterr()
    assert "[key]" in said.err, "the server repeated it"
    assert secret not in said.out + said.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_what_a_reader_is_told(play: Any) -> None:
    finding = play().finding()
    assert finding.headline.startswith("16 games played, 16 rows; the word was guessed in 0.")
    assert [row[0] for row in finding.rows] == ["guesser1", "guesser2"]
    assert list(finding.files) == ["training rows", "games", "summary"]
    assert all(path.exists() for path in finding.files.values())


def test_an_instances_file_from_an_address_is_kept_with_the_games(
    play: Any, words_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import httpx

    fetched = []

    def get(url: str, **_: Any) -> httpx.Response:
        fetched.append(url)
        request = httpx.Request("GET", url)
        return httpx.Response(200, content=words_file.read_bytes(), request=request)

    monkeypatch.setattr("httpx.get", get)
    result = play(instances="https://example.org/instances.json")
    assert json.loads((result.folder / "instances.json").read_text()) == read_json(words_file)
    assert play(instances="https://example.org/instances.json").done_before
    assert fetched == ["https://example.org/instances.json"]
    record = read_record(result.folder)
    assert record is not None
    assert len(record.inputs["instances"]["value"]["sha256_of_content"]) == 64


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"describer_model": None}, "nobody describes: give --describer-model$"),
        ({"guesser_models": ()}, "nobody guesses: give --guesser-models$"),
        ({"guesser_models": ("a", "a")}, "a is named twice"),
        ({"model": "tiny"}, "--model is for --backend local"),
        ({"base_url": "https://me:secret@x/v1"}, "--base-url holds a user"),
        ({"base_url": "https://x/v1"}, "no key for https://x/v1"),
        ({"instances": "nowhere.json"}, "nowhere.json: no such file"),
        ({"instances": "https://me:secret@x/i.json"}, "^--instances is an address with a user"),
        ({"instances": "https://x/i.json?token=secret"}, "^--instances is .* or a query"),
        ({"backend": "local", "describer_model": None}, "or --model"),
        ({"backend": "local", "guesser_models": ("./no/such",)}, 'no model folder "./no/such"'),
        (
            {"backend": "local", "guesser_models": ("a=tiny", "b=tiny", "a=x")},
            "a is the name of two models, tiny and x",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    play: Any, endpoint: Endpoint, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        play(**changes)
    assert endpoint.stats()["requests"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["words.json"]


def test_local_players_are_known_by_name_and_content(words_file: Path, tmp_path: Path) -> None:
    config = GenerateConfig(
        backend="local",
        model="tiny",
        guesser_models=("one=tiny",),
        instances=str(words_file),
        games_per_guesser=1,
        max_turns=1,
        describer_max_output_tokens=8,
        guesser_max_output_tokens=4,
        output_dir=tmp_path / "G",
    )
    result = generate(config)
    (game,) = read_jsonl(result.folder / "games.jsonl")
    assert (game["describer_model"], game["guesser_model"]) == ("tiny", "one")
    assert result.summary["requests"] == game["usage"]["requests"] > 0
    record = read_record(result.folder)
    assert record is not None
    assert {"model tiny", "model one"} <= set(record.inputs)
    assert record.inputs["model one"]["sha256"] == record.inputs["model tiny"]["sha256"]


@pytest.mark.slow
def test_stalls_of_half_a_minute(play: Any, endpoint: Endpoint) -> None:
    endpoint.set(faults=FAULTS | {"stall": 0.02}, stall=30, retry_after=2)
    result = play(games_per_guesser=150, concurrency=16, request_timeout=10)
    summary = check_sums(result.folder, endpoint.stats())
    assert summary["request_failures"]["timeout"] == endpoint.stats()["kinds"]["stall"] > 10
    assert summary["outcome_counts"]["error"] == 0
