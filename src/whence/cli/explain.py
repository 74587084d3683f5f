"""One line for whatever is wrong with a command line or a configuration file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from whence.cli.flags import Flags, models_in


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def unboxed(text: str) -> str:
    """The sentence in the box of several lines that tyro draws around an error."""
    lines = [line.strip("│ ").strip() for line in text.splitlines()]
    body = []
    for line in lines[1:]:
        if line.startswith(("─", "╰")):
            break
        body.append(line)
    return " ".join(body).removeprefix("Error parsing ").replace("Expected 1 values.", "").strip()


def unknown_word(words: list[str], flags: Flags) -> str:
    """What to say of words that belong to no flag: the first of them, and the nearest flag."""
    spelled = [word for word in words if word.startswith("-")]
    if not spelled:
        return f"unexpected word {words[0]!r}"
    known = [*flags.flags, "--config", "--debug", "--help"]
    known += [f"--no-{n[2:]}" for n, flag in flags.flags.items() if flag.kind == "switch"]
    near = nearest(spelled[0].lstrip("-"), [name.removeprefix("--") for name in known])
    return f"no flag {spelled[0]}{near.replace('mean ', 'mean --') or '; --help lists them'}"


def explain(
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
        return f"{name}: no such key{_nearest_key(location[-1], model, location[:-1])}"
    if problem["type"] in ("value_error", "assertion_error"):
        return f"{name}: {problem['ctx']['error']}" if location else str(problem["ctx"]["error"])
    got = repr(problem["input"])
    got = got if len(got) <= 80 else f"{got[:77]}…"
    return f"{name}: {message.removeprefix('Input ')}, got {got}"


def _nearest_key(word: str, model: type[BaseModel], path: tuple[str, ...]) -> str:
    """The nearest key of the section at `path`, or one of a section in it, as `lora.lora_r`."""
    sections = [model]
    for part in path:
        fields = [m.model_fields[part] for m in sections if part in m.model_fields]
        # a list index or the tag of a union is no field: it stays in the same models
        sections = [m for f in fields for m in models_in(f.annotation)] or sections
    own = {name: field for section in sections for name, field in section.model_fields.items()}
    inner = {
        key: f"{name}.{key}"
        for name, field in own.items()
        for section in models_in(field.annotation)
        for key in section.model_fields
    }
    if word not in inner and (near := nearest(word, list(own))):
        return near
    found = difflib.get_close_matches(word, inner, n=1, cutoff=0.6)
    return f"; did you mean {inner[found[0]]}?" if found else ""
