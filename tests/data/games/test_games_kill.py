"""Games survive kill -9: none is lost, none is played to its end twice, requests stay counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_server import Endpoint

from whence.data.games.backend import Ask, Reply
from whence.data.games.journal import Journal
from whence.data.games.ledger import Ledger
from whence.data.games.schedule import schedule
from whence.data.instances import read_instances
from whence.runs.jsonfile import read_json, read_jsonl

CONCURRENCY = 8


def command(endpoint: Endpoint, words_file: Path, output: Path, games: int = 40) -> list[str]:
    return [
        sys.executable, "-m", "whence", "games", "generate", "--base-url", endpoint.url,
        "--instances", str(words_file), "--describer-model", "describer",
        "--guesser-models", "guesser1", "guesser2", "--games-per-guesser", str(games),
        "--concurrency", str(CONCURRENCY), "--output-dir", str(output), "--resume",
    ]  # fmt: skip


def finished(output: Path) -> int:
    path = output.with_name(f"{output.name}.partial") / "games.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_five_times_every_game_is_there_once(
    endpoint: Endpoint, words_file: Path, tmp_path: Path
) -> None:
    faults = {"http_429": 0.05, "drop": 0.05, "violation": 0.05}
    endpoint.set(latency=0.03, faults=faults, retry_after=0.05)
    output = tmp_path / "killed"
    for kill in range(5):
        process = subprocess.Popen(command(endpoint, words_file, output), stderr=subprocess.PIPE)
        while finished(output) < 12 * (kill + 1):
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not output.exists()
        partial = read_json(tmp_path / "killed.partial" / "summary.json")
        assert partial["is_partial"] is True
    subprocess.run(command(endpoint, words_file, output), check=True, capture_output=True)
    games = read_jsonl(output / "games.jsonl")
    assert len({game["game_id"] for game in games}) == len(games) == 80
    summary = read_json(output / "summary.json")
    assert summary["games_written"] == 80
    # A killed process may have written down requests that it could not send any more.
    unsent = summary["requests"] - endpoint.stats()["requests"]
    assert 0 <= unsent <= 5 * CONCURRENCY
    assert summary["requests_of_unfinished_games"] > 0

    planned = schedule(
        read_instances(words_file),
        describer="describer",
        guessers=("guesser1", "guesser2"),
        games_per_guesser=40,
        max_turns=None,
        seed=42,
    )
    assert [game["game_id"] for game in games] == [game.game_id for game in planned]


@pytest.mark.usefixtures("interruptible")
def test_interrupted_it_says_how_to_go_on(
    endpoint: Endpoint, words_file: Path, tmp_path: Path
) -> None:
    endpoint.set(latency=0.05)
    output = tmp_path / "G"
    process = subprocess.Popen(command(endpoint, words_file, output), stderr=subprocess.PIPE)
    while finished(output) < 3:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"run the same command again to resume" in said
    assert b"Traceback" not in said
    record = read_json(tmp_path / "G.partial" / "whence.json")
    assert record["status"] == "interrupted"
    assert read_json(tmp_path / "G.partial" / "summary.json")["games_written"] == finished(output)


def test_two_processes_do_not_share_a_folder(
    endpoint: Endpoint, words_file: Path, tmp_path: Path
) -> None:
    endpoint.set(latency=0.05)
    output = tmp_path / "G"
    process = subprocess.Popen(command(endpoint, words_file, output, 12), stderr=subprocess.PIPE)
    while finished(output) < 1:
        assert process.poll() is None
        time.sleep(0.002)
    second = subprocess.run(command(endpoint, words_file, output, 12), capture_output=True)
    assert second.returncode == 2
    assert b"another whence process" in second.stderr
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert read_json(output / "summary.json")["games_written"] == 24


def test_a_torn_line_is_cut_off_and_games_can_be_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "games.jsonl"
    journal = Journal(path)
    for name in "abc":
        journal.append({"game_id": name, "text": "ä\u2028" * 3})
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"game_id": "d", "te')
    journal = Journal(path)
    assert path.read_bytes() == whole
    assert [record["game_id"] for record in journal.read()] == ["a", "b", "c"]
    journal.append({"game_id": "d"})
    journal.forget(["b"])
    assert "b" not in journal
    journal.rewrite(["d", "a", "c"])
    journal.append({"game_id": "e"})
    journal.close()
    assert [json.loads(line)["game_id"] for line in path.read_bytes().splitlines()] == [
        "d", "a", "c", "e",
    ]  # fmt: skip


def test_what_a_machine_without_power_left_unreadable_is_played_again(tmp_path: Path) -> None:
    path = tmp_path / "games.jsonl"
    line, other = b'{"game_id": "a"}\n', b'{"game_id": "b"}\n'
    path.write_bytes(line + bytes(30) + b'"d"}\n' + other)
    journal = Journal(path)
    assert [record["game_id"] for record in journal.read()] == ["a"]
    journal.append({"game_id": "b"})
    journal.close()
    assert path.read_bytes() == line + other

    path = tmp_path / "requests.tsv"
    ledger = Ledger(path, most=9)
    ask = Ask("a", "m", [], 1, 0, 0)
    ledger.sent(ask, 2)
    ledger.close()
    path.write_bytes(bytes(9) + b"1\nsent\ta\n" + path.read_bytes() + b"\xff\n")
    ledger = Ledger(path, most=9)
    ledger.answered(ask, Reply("", 3, 4))
    ledger.close()
    total = Ledger(path, most=9).total()
    assert (total.sent, total.retries, total.answered, total.prompt_tokens) == (1, 1, 1, 3)


def test_a_disk_that_takes_half_a_line_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "games.jsonl")
    journal.append({"game_id": "a"})
    whole, pwrite = journal.path.read_bytes(), os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, line, at: pwrite(file, line[:5], at))
        with pytest.raises(OSError, match="No space left"):
            journal.append({"game_id": "b"})
    assert "b" not in journal
    journal.close()
    Journal(journal.path).close()
    assert journal.path.read_bytes() == whole
