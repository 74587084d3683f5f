"""What pydantic found wrong with settings, in sentences a person can act on."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError


def explained(error: ValidationError, model: type[BaseModel]) -> str:
    """Everything that is wrong, in one line, keys as `section.key`."""
    found = []
    for problem in error.errors():
        location = tuple(map(str, problem["loc"]))
        found.append(sentence(".".join(location), location, problem, model))
    return "; ".join(dict.fromkeys(found))


def sentence(name: str, location: tuple[str, ...], problem: Any, model: type[BaseModel]) -> str:
    message: str = problem["msg"]
    if problem["type"] == "missing":
        return f"{name} is required"
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such key{nearest_key(location[-1], model, location[:-1])}"
    if problem["type"] in ("value_error", "assertion_error"):
        return f"{name}: {problem['ctx']['error']}" if location else str(problem["ctx"]["error"])
    got = repr(problem["input"])
    got = got if len(got) <= 80 else f"{got[:77]}…"
    return f"{name}: {message.removeprefix('Input ')}, got {got}"


def nearest_key(word: str, model: type[BaseModel], path: tuple[str, ...]) -> str:
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


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every model that a value of this type may hold directly or as an item."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]
