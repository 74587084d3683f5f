"""From words on the command line, and perhaps a file, to one validated configuration."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
import yaml
from pydantic import BaseModel, ValidationError

from whence.cli.explain import explain, unboxed, unknown_word
from whence.cli.flags import Flag, Flags, flags_of
from whence.errors import BadInput
from whence.runs.settings_file import read_settings

Model = TypeVar("Model", bound=BaseModel)

FILE_HELP = "YAML or JSON file of settings, named as the flags with underscores; flags win."
DEBUG_HELP = "Show tracebacks and what the libraries have to say."


@dataclass(frozen=True)
class Usage:
    """What `--help` says about a command beside its flags."""

    words: str
    summary: str
    example: str
    positional: str | None = None


def parse(model: type[Model], argv: Sequence[str], usage: Usage) -> Model:
    """Read `argv` (after the command's words) into `model`.

    Prints the help and raises SystemExit(0) at `--help`. Raises BadInput, one line naming the flag
    or the key, at anything that is not understood.
    """
    flags = flags_of(model, usage.positional, _general(usage.positional))
    words = _join_repeats(_free_positional(argv, usage.positional), flags)
    typed, unknown = _ask_tyro(flags, words, usage)
    if unknown:
        raise BadInput(unknown_word(unknown, flags))
    file = typed.pop("config", None)
    typed.pop("debug")
    settings = read_settings(file) if file else {}
    given = _given(typed, words, flags)
    for flag, value in given.items():
        _put(settings, flags.flags[flag].path, value)
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise BadInput(explain(error, model, flags, given, file)) from None


def _general(positional: str | None) -> dict[str, Any]:
    """The flags that every command has."""
    file: Any = Annotated[
        Path, tyro.conf.arg(help=FILE_HELP, metavar="FILE", help_behavior_hint="")
    ]
    if positional == "config":
        about = tyro.conf.arg(help=FILE_HELP, metavar="CONFIG", help_behavior_hint="")
        file = Annotated[tyro.conf.Positional[Path], about]
    debug = tyro.conf.arg(help=DEBUG_HELP, help_behavior_hint="")
    return {"config": file, "debug": Annotated[tyro.conf.FlagCreatePairsOff[bool], debug]}


def _ask_tyro(flags: Flags, words: list[str], usage: Usage) -> tuple[dict[str, Any], list[str]]:
    """What was typed, as tyro reads it, and the words that it does not know."""
    said = io.StringIO()
    description = f"{usage.summary}\n\nExample:\n  {_folded(usage.example)}"
    try:
        with contextlib.redirect_stderr(said):
            typed, unknown = tyro.cli(
                flags.table,
                prog=f"whence {usage.words}",
                description=description,
                args=words,
                default={**flags.switches, "debug": False},
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise BadInput(unboxed(said.getvalue())) from None
    return typed, unknown


def _folded(example: str) -> str:
    """A command line on several lines, as a shell takes it, broken before flags only."""
    lines = [""]
    for part in re.split(r" (?=--)", example):
        if lines[-1] and len(lines[-1]) + len(part) > 68:
            lines.append("")
        lines[-1] = f"{lines[-1]} {part}".strip()
    return " \\\n      ".join(lines)


def _free_positional(argv: Sequence[str], positional: str | None) -> list[str]:
    """Let `--config FILE` stand for FILE in commands that take the file without a flag."""
    words = [part for word in argv for part in _split(word)]
    if positional != "config" or "--config" not in words[:-1]:
        return words
    at = words.index("--config")
    return [words[at + 1], *words[:at], *words[at + 2 :]]


def _split(word: str) -> list[str]:
    """`--a_b=c` as `--a-b`, `c`; any other word as it is."""
    name, equals, value = word.partition("=")
    if not name.startswith("--"):
        return [word]
    return [name.replace("_", "-"), *([value] if equals else [])]


def _join_repeats(words: list[str], flags: Flags) -> list[str]:
    """Write `--arm a --arm b` as `--arm a b`, which is what tyro reads as a list."""
    many = {name for name, flag in flags.flags.items() if flag.kind in ("list", "pairs")}
    taken: dict[str, list[str]] = {}
    rest: list[str] = []
    into = rest
    for word in words:
        if word.startswith("--"):
            into = taken.setdefault(word, []) if word in many else rest
        if word not in many:
            into.append(word)
    # lists come last so that a bare word before them stays what it was
    return rest + [part for name, values in taken.items() for part in (name, *values)]


def _given(typed: Mapping[str, Any], words: Sequence[str], flags: Flags) -> dict[str, Any]:
    """Flag → value of what was typed. A switch is in `typed` in any case, so look for its word."""
    given = {}
    for name, flag in flags.flags.items():
        value: Any = typed
        for part in flag.path:
            value = value.get(part) if isinstance(value, Mapping) else None
        negated = f"--no-{name.removeprefix('--')}"
        if value is None or (flag.kind == "switch" and not {name, negated} & set(words)):
            continue
        given[name] = _read(flag, value)
    return given


def _read(flag: Flag, value: Any) -> Any:
    if flag.optional and value in ("none", "None", "null"):
        return None
    if flag.kind == "yaml":
        return _yaml_word(flag.spelling, value)
    if flag.kind == "pairs":
        for pair in value:
            if "=" not in pair:
                raise BadInput(f"{flag.spelling}: KEY=VALUE was expected, got {pair!r}")
        return {key: word for key, _, word in (pair.partition("=") for pair in value)}
    return value


def _yaml_word(spelling: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise BadInput(f"{spelling}: JSON was expected, got {text!r}") from None


def _put(settings: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *sections, last = path
    for section in sections:
        if not isinstance(settings.get(section), dict):
            settings[section] = {}
        settings = settings[section]
    settings[last] = value
