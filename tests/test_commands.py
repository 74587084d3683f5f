"""The table of commands is true: every command exists, explains itself, and its example parses."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
from pydantic import BaseModel

from whence.cli.flags import flags_of, nested_model
from whence.cli.parse import Usage, parse
from whence.commands import COMMANDS, GROUPS, load

NAMES = sorted(COMMANDS)

WALK = """
import contextlib, io, sys
from whence.__main__ import main
for words in sys.argv[1:]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            main([*words.split(), "--help"])
        except SystemExit as stop:
            assert stop.code == 0, words
    assert "Example:" in said.getvalue(), words
    heavy = {"torch", "transformers", "datasets", "pandas", "pyarrow", "scipy", "bergson", "trl"}
    assert not heavy & set(sys.modules), (words, heavy & set(sys.modules))
"""


def test_every_command_explains_itself_without_a_heavy_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WALK, *NAMES], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_config_and_function_exist(name: str) -> None:
    command = COMMANDS[name]
    assert issubclass(load(command.config), BaseModel)
    assert callable(load(command.run))


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_is_described(name: str) -> None:
    def missing(model: type[BaseModel]) -> list[str]:
        return [n for n, info in model.model_fields.items() if not info.description]

    assert missing(load(COMMANDS[name].config)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_one_of_this_command_and_parses(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS[name]
    words = shlex.split(command.example)
    assert words[: 1 + len(name.split())] == ["whence", *name.split()]
    rest = words[1 + len(name.split()) :]
    usage = Usage(name, command.summary, command.example, command.positional)
    if command.positional == "config":
        # the file is an example of the repository, with a test of its own
        assert rest[0].endswith(".yaml")
        return
    parse(load(command.config), rest, usage)


@pytest.mark.parametrize("name", NAMES)
def test_flag_names_are_unique(name: str) -> None:
    command = COMMANDS[name]
    model = load(command.config)
    found = flags_of(model, command.positional, {}).flags

    def leaves(model: type[BaseModel]) -> int:
        inner = [nested_model(info.annotation) for info in model.model_fields.values()]
        return sum(leaves(section) if section else 1 for section in inner)

    assert len(found) == leaves(model)
    assert not {"--config", "--debug", "--help"} & set(found)


def test_every_group_has_commands() -> None:
    assert {name.rpartition(" ")[0] for name in NAMES if " " in name} == set(GROUPS)
