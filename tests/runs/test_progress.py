"""Progress: a bar on a terminal, few plain lines elsewhere, nothing for short work."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from whence.runs import progress
from whence.runs.progress import Progress, track


class Clock:
    """Time that moves when told to, in seconds."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_short_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(range(10)):
        clock.now += 0.19
    assert capsys.readouterr() == ("", "")


def test_lines_have_rate_and_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in track(range(60), label="scoring"):
        clock.now += 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "scoring: 3/60 rows, 0.5 rows/s, 1:54 left"
    assert lines[-1] == "scoring: 60 rows in 2:00"
    assert len(lines) == 60 // 3 + 1  # every third advance is five seconds after the last line


def test_what_an_earlier_attempt_did_does_not_count_as_speed(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("arms", total=1_200, unit="steps", done=1_000) as work:
        clock.now += 10
        work.advance(100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "arms: 1,100/1,200 steps, 10 steps/s, 10 s left",
        "arms: 1,100 steps in 10 s",
    ]


def test_unknown_totals_and_failures(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        for n in track((n for n in range(9)), label="reading"):
            clock.now += 4_000
            if n == 2:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert capsys.readouterr().err.splitlines() == [
        "reading: 1 rows, 0.00025 rows/s",
        "reading: 2 rows, 0.00025 rows/s",
    ]


TERMINAL = """
import time
from whence.runs.progress import Progress, track
for arm in track(["top", "random"], label="arms", unit="arms"):
    with Progress("steps", total=4, unit="steps") as steps:
        for _ in range(4):
            time.sleep(0.3)
            steps.advance()
print("end")
"""


def test_a_terminal_gets_nested_bars_and_is_left_clean() -> None:
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL], stdout=writer, stderr=writer,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(writer)
    seen = b""
    while True:
        try:
            part = os.read(reader, 4096)
        except OSError:  # Linux: the other side has closed
            break
        if not part:
            break
        seen += part
    assert process.wait(30) == 0
    os.close(reader)
    text = seen.decode()
    assert "arms" in text
    assert "━" in text
    assert re.search(r"steps .*[1-4]/4", text)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is shown again
    assert re.search(r"arms: 2 arms in \d s\r\nend", text)
