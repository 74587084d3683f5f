"""One task in this process: its log, its failures, and what it may not leave behind."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from pathlib import Path

import pytest
from sweep_toy import answers, toy_task

from whence.runs.store import _held
from whence.sweep.execute import worker
from whence.sweep.execute.worker import began, here, run_task
from whence.sweep.layout import log_file


def test_everything_a_task_says_is_in_the_log_of_its_attempt(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run_task(toy_task(tmp_path, 4), tmp_path, 1)
    assert (outcome.ok, outcome.headline, outcome.reused) == (True, "twice 4 is 8", False)
    assert outcome.where == here()
    assert outcome.peak_memory_bytes is not None
    assert 10e6 < outcome.peak_memory_bytes < 10e9
    said = log_file(tmp_path, "t4", 1).read_text()
    for words in ("printed 4", "written to descriptor 1", "said by a child", "logged"):
        assert words in said
    assert began(tmp_path, "t4", 1) == here()
    print("after")
    assert capfd.readouterr() == ("after\n", "")
    again = run_task(toy_task(tmp_path, 4), tmp_path, 2)
    assert (again.ok, again.reused) == (True, True)
    assert "printed" not in log_file(tmp_path, "t4", 2).read_text()
    assert answers(tmp_path) == {"t4": "8\n"}


@pytest.mark.parametrize(
    ("do", "kind", "error"),
    [
        ("bad input", "bad_input", "n: no such number"),
        ("raise", "error", "ValueError: the first line"),
        ("exit", "error", "SystemExit: 3"),
    ],
)
def test_what_a_task_raises_is_one_line_and_its_traceback_is_in_the_log(
    tmp_path: Path, do: str, kind: str, error: str
) -> None:
    outcome = run_task(toy_task(tmp_path, 1, do), tmp_path, 1)
    assert (outcome.ok, outcome.failure, outcome.error) == (False, kind, error)
    assert "Traceback" in log_file(tmp_path, "t1", 1).read_text()


def test_settings_that_do_not_fit_are_wrong_input_in_words(tmp_path: Path) -> None:
    task = toy_task(tmp_path, 1)
    wrong = type(task)(**{**vars(task), "settings": {**task.settings, "n": "many", "m": 1}})
    outcome = run_task(wrong, tmp_path, 1)
    assert outcome.failure == "bad_input"
    assert outcome.error is not None
    assert "m: no such key" in outcome.error


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    outcome = run_task(toy_task(tmp_path, 1), tmp_path / "elsewhere", 1)
    assert outcome.failure == "error"
    assert not (tmp_path / "elsewhere").exists()
    assert began(tmp_path / "elsewhere", "t1", 1) is None


def test_nothing_of_a_task_is_left_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.chdir(tmp_path)

    def state() -> tuple[object, ...]:
        root = logging.getLogger()
        return (
            Path.cwd(), list(root.handlers), root.level, logging.root.manager.disable,
            list(warnings.filters), os.environ.get("KEPT"), os.environ.get("LEFT_BEHIND"),
        )  # fmt: skip

    before = state()
    task = toy_task(tmp_path, 1, function="sweep_toy:leave_a_mess")
    assert run_task(task, tmp_path, 1).ok
    assert state() == before


def test_a_folder_held_by_a_dying_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = toy_task(tmp_path, 3)
    freed = threading.Event()

    def hold() -> None:
        with _held(tmp_path / "runs" / "t3"):
            freed.set()
            time.sleep(0.6)

    holder = threading.Thread(target=hold)
    holder.start()
    freed.wait()
    assert run_task(task, tmp_path, 1).ok
    holder.join()
    assert "waiting" in log_file(tmp_path, "t3", 1).read_text()
    monkeypatch.setattr(worker, "BUSY_SECONDS", 0.3)
    with _held(tmp_path / "runs" / "t5"):
        outcome = run_task(toy_task(tmp_path, 5), tmp_path, 1)
    assert outcome.failure == "busy"
    assert outcome.error is not None
    assert "another whence process" in outcome.error
