"""From words on the command line, and perhaps a file, to one validated configuration."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
import yaml
from pydantic import BaseModel, ValidationError

from whence.cli.flags import Flag, Flags, flags_of, models_in
from whence.errors import BadInput
from whence.runs.jsonfile import read_json

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
        raise BadInput(_unknown_word(unknown, flags))
    file = typed.pop("config", None)
    typed.pop("debug")
    settings = read_settings(file, model) if file else {}
    given = _given(typed, words, flags)
    for flag, value in given.items():
        _put(settings, flags.flags[flag].path, value)
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise BadInput(_explain(error, model, flags, given, file)) from None


def read_settings(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    """Read a configuration file as it stands.

    Raises BadInput when it is absent, is not a mapping, or has a key that `model` does not have,
    naming the nearest one.
    """
    if path.suffix == ".json":
        found = read_json(path)
    else:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"{path}: no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: cannot be read ({error})") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" at line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or "malformed"
            raise BadInput(f"{path}: not YAML{line}: {problem}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput(f"{path}: holds a {type(found).__name__}, `key: value` lines were expected")
    return found


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


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
        raise BadInput(_unboxed(said.getvalue())) from None
    return typed, unknown


def _folded(example: str) -> str:
    """A command line on several lines, as a shell takes it, broken before flags only."""
    lines = [""]
    for part in re.split(r" (?=--)", example):
        if lines[-1] and len(lines[-1]) + len(part) > 68:
            lines.append("")
        lines[-1] = f"{lines[-1]} {part}".strip()
    return " \\\n      ".join(lines)


def _unboxed(text: str) -> str:
    """The sentence in tyro's box of several lines."""
    lines = [line.strip("│ ").strip() for line in text.splitlines()]
    body = []
    for line in lines[1:]:
        if line.startswith(("─", "╰")):
            break
        body.append(line)
    return " ".join(body).removeprefix("Error parsing ").replace("Expected 1 values.", "").strip()


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


def _unknown_word(words: list[str], flags: Flags) -> str:
    spelled = [word for word in words if word.startswith("-")]
    if not spelled:
        return f"unexpected word {words[0]!r}"
    known = [*flags.flags, "--config", "--debug", "--help"]
    known += [f"--no-{n[2:]}" for n, flag in flags.flags.items() if flag.kind == "switch"]
    near = nearest(spelled[0].lstrip("-"), [name.removeprefix("--") for name in known])
    return f"no flag {spelled[0]}{near.replace('mean ', 'mean --') or '; --help lists them'}"


def _explain(
    error: ValidationError,
    model: type[BaseModel],
    flags: Flags,
    given: Mapping[str, Any],
    file: Path | None,
) -> str:
    """One line for everything that pydantic found: the flag or key, and what was expected."""
    by_path = {flag.path: name for name, flag in flags.flags.items()}
    sentences = []
    for problem in error.errors():
        location = tuple(map(str, problem["loc"]))
        lengths = range(len(location), 0, -1)
        path = next((location[:n] for n in lengths if location[:n] in by_path), ())
        flag = by_path.get(path)
        absent = problem["type"] == "missing" and path == location
        if file and flag not in given and not absent:
            name = f"{file}: {'.'.join(location)}"
        else:
            name = " ".join([flag or "", ".".join(location[len(path) :])]).strip()
        sentences.append(_sentence(name, location, problem, model))
    return "; ".join(dict.fromkeys(sentences))


def _sentence(name: str, location: tuple[str, ...], problem: Any, model: type[BaseModel]) -> str:
    message: str = problem["msg"]
    if problem["type"] == "missing":
        return f"{name} is required"
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such key{nearest(location[-1], _keys(model, location[:-1]))}"
    if problem["type"] in ("value_error", "assertion_error"):
        return f"{name}: {problem['ctx']['error']}" if location else str(problem["ctx"]["error"])
    return f"{name}: {message.removeprefix('Input ')}, got {problem['input']!r}"


def _keys(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """Keys of the section at `path`, then those of the sections in it."""
    sections = [model]
    for part in path:
        fields = [m.model_fields[part] for m in sections if part in m.model_fields]
        # a list index or the tag of a union is no field: it stays in the same models
        sections = [m for f in fields for m in models_in(f.annotation)] or sections
    inner = [m for s in sections for f in s.model_fields.values() for m in models_in(f.annotation)]
    return [name for section in (*sections, *inner) for name in section.model_fields]
