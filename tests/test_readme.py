"""The README's commands work as written, in the order given, beside nothing but examples/."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from whence.__main__ import main
from whence.runs.jsonfile import read_json

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "heads.md").read_text()
COMMANDS = [
    command
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for command in block.replace("\\\n", " ").splitlines()
    if command.strip()
]
PYTHON = re.findall(r"```python\n(.*?)```", README + GUIDE, flags=re.DOTALL)


def run(command: str) -> None:
    words = shlex.split(command.removeprefix("uv run "))
    assert words[0] == "whence"
    assert main(words[1:]) == 0, command


def test_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    steps = [command for command in COMMANDS if not command.startswith("uv run ")]
    assert len(steps) >= 10
    for command in steps:
        run(command)
    assert len(PYTHON) == 2
    for code in PYTHON:  # on what the commands wrote
        exec(code, {})
    assert "Traceback" not in capsys.readouterr().err
    for name in re.findall(r"(?:--output-dir|--output-json|--out|--run-dir) (\S+)", README):
        assert (tmp_path / name).exists(), name
    # "On negation and logic, where the tiny model answers at chance, it finds none."
    home = tmp_path / "runs" / "conditions" / "artifacts" / "cross_condition"
    assert read_json(home / "invariants.json")["heads"] == []


@pytest.mark.slow
def test_the_two_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [command for command in COMMANDS if command.startswith("uv run ")]
    assert first == ["uv run whence demo", "uv run pytest"]  # the second is running now
    monkeypatch.chdir(tmp_path)
    run(first[0])
    assert (tmp_path / "runs/demo/report.html").is_file()
