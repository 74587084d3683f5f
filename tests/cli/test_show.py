"""What is printed: tables that are not cut, paths on one line, nothing that steers a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from whence.cli.show import complain, show_finding
from whence.runs.finding import Finding


def test_a_long_path_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("/very") / ("long" * 60) / "report.html"
    show_finding(Finding("Done.", files={"report": path}))
    assert f"report  {path}\n" in capsys.readouterr().out


def test_cells_are_not_cut_and_numbers_are_right_aligned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [("top", "1.5"), ("matched random " + "x" * 100, "10.25")]
    show_finding(Finding("Done.", columns=("arm", "loss"), rows=rows))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "x" * 100 in lines[-1]
    ends = {len(line) for line in lines if line.endswith(("1.5", "10.25", "loss"))}
    assert len(ends) == 1


def test_text_of_data_sets_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J[bold]x[/bold]\r\x07\u202e :smile:"
    show_finding(Finding(evil, columns=(evil,), rows=[(evil,)], files={evil: Path(evil)}))
    complain("error", f"{evil}\nsecond line")
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not {"\x1b", "\r", "\x07", "\u202e"} & set(text)
    assert "[bold]x[/bold]" in out
    assert ":smile:" in out
    assert err.count("\n") == 1


def test_only_a_headline(capsys: pytest.CaptureFixture[str]) -> None:
    show_finding(Finding("/a/path with spaces"))
    assert capsys.readouterr().out == "/a/path with spaces\n"
