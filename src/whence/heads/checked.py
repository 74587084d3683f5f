"""One line for whatever is wrong with a mapping that a file holds: which key, and what fits it."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from whence.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], value: object, where: str) -> Model:
    """`value` as `model`. Raises BadInput: `where`, the key, what was expected, the nearest key."""
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: an object was expected, got {_short(value)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # A list whose item failed is also "too short": only the item is worth a word.
        problems = [p for p in error.errors() if not any(_holds(p, q) for q in error.errors())]
        told = dict.fromkeys(_sentence(model, problem) for problem in problems)
        raise BadInput(f"{where}: {'; '.join(told)}") from None
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?`, or all that is known where nothing is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _holds(outer: Any, inner: Any) -> bool:
    at, below = outer["loc"], inner["loc"]
    return len(at) < len(below) and below[: len(at)] == at


def _sentence(model: type[BaseModel], problem: Any) -> str:
    location = problem["loc"]
    name = ".".join(map(str, location))
    if problem["type"] == "missing":
        return f"{name} is required"
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such key{nearest(str(location[-1]), _keys(model, location[:-1]))}"
    if problem["type"] == "value_error":
        told = str(problem["ctx"]["error"])
        return f"{name}: {told}" if name else told
    expected = problem["msg"].removeprefix("Input ")
    return f"{name}: {expected}, got {_short(problem['input'])}"


def _keys(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Keys of the section at `path`; a list's index leaves it where it was."""
    sections = [model]
    for part in path:
        fields = [m.model_fields[part] for m in sections if part in m.model_fields]
        sections = [m for f in fields for m in _models(f.annotation)] or sections
    return list(dict.fromkeys(name for section in sections for name in section.model_fields))


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
