"""One line for whatever is wrong with a command line or a configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from whence.cli.flags import Flags
from whence.runs.validation import nearest, sentence


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
        sentences.append(sentence(name, location, problem, model))
    return "; ".join(dict.fromkeys(sentences))
