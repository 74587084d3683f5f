"""From a pydantic model to command-line flags.

tyro parses and prints the help; pydantic validates. Between them stands a `TypedDict` in which
every flag is optional, so that tyro reports only what was typed. What is left out can then come
from the configuration file or from the model's defaults, and flags win.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import tyro
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

SCALARS: dict[Any, str] = {
    str: "STR", int: "INT", float: "FLOAT", Path: "PATH", bool: "{true,false}", SecretStr: "SECRET"
}  # fmt: skip

typed_dict: Any = TypedDict
"""Called with tables made at run time, which no type checker follows."""

Kind = Literal["value", "switch", "list", "pairs", "yaml"]


@dataclass(frozen=True)
class Flag:
    """One flag: where its value goes in the configuration and how it is written.

    kind: "switch" is --x/--no-x; "list" takes words; "pairs" takes KEY=VALUE words; "yaml" takes
    one JSON or YAML value, for what has no simpler form. optional: "none" means None.
    """

    path: tuple[str, ...]
    spelling: str
    kind: Kind
    optional: bool


@dataclass
class Flags:
    """All flags of one model, as tyro wants them. `switches` are the defaults of booleans."""

    table: Any
    switches: dict[str, Any]
    flags: dict[str, Flag] = field(default_factory=dict)


def flags_of(model: type[BaseModel], positional: str | None, extra: Mapping[str, Any]) -> Flags:
    """Flags of `model`, nested models flattened, with `extra` annotated entries beside them.

    A nested field gets the prefix of its section only where two flags would have one name.
    """
    found: dict[str, Flag] = {}
    names = [name.replace("_", "-") for name in _leaf_names(model)] + list(extra)
    repeated = {name for name in names if names.count(name) > 1}
    table, switches = _section(model, (), repeated, positional, found)
    typed = typed_dict("Flags", {**table, **extra}, total=False)
    return Flags(table=typed, switches=switches, flags=found)


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model` or `Model | None`."""
    options = [o for o in _options(annotation) if o is not type(None)]
    if len(options) == 1 and isinstance(options[0], type) and issubclass(options[0], BaseModel):
        return options[0]
    return None


def _section(
    model: type[BaseModel],
    path: tuple[str, ...],
    repeated: set[str],
    positional: str | None,
    found: dict[str, Flag],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Entries of one model for the TypedDict, and the defaults of its switches."""
    table: dict[str, Any] = {}
    switches: dict[str, Any] = {}
    fields = sorted(model.model_fields.items(), key=lambda field: not field[1].is_required())
    for name, info in fields:
        here = (*path, name)
        inner = nested_model(info.annotation)
        if inner is not None:
            entries, inner_switches = _section(inner, here, repeated, None, found)
            typed = typed_dict(inner.__name__, entries, total=False)
            about = tyro.conf.arg(help=info.description or "", prefix_name=False)
            table[name] = NotRequired[Annotated[typed, about]]
            switches[name] = inner_switches
            continue
        kind, annotation, metavar = _form(info.annotation)
        spelling = name.replace("_", "-")
        if path and spelling in repeated:
            spelling = "-".join([*path, name]).replace("_", "-")
        optional = type(None) in _options(info.annotation)
        if name == positional:
            about = tyro.conf.arg(
                help=info.description or "", metavar=name.upper(), help_behavior_hint=""
            )
            marks: list[Any] = [about, tyro.conf.Positional]
            spelling = name.upper()
        else:
            about = tyro.conf.arg(
                name=spelling, prefix_name=False, metavar=metavar,
                help=info.description or "", help_behavior_hint=_hint(info),
            )  # fmt: skip
            marks, spelling = [about], f"--{spelling}"
        found[spelling] = Flag(here, spelling, kind, optional)
        if kind == "switch":
            switches[name] = bool(_default(info))
        table[name] = Annotated[(annotation, *marks)]
    return table, switches


def _leaf_names(model: type[BaseModel]) -> Iterable[str]:
    for name, info in model.model_fields.items():
        inner = nested_model(info.annotation)
        yield from _leaf_names(inner) if inner else [name]


def _form(annotation: Any) -> tuple[Kind, Any, str | None]:
    """How a type is written on a command line: the kind, tyro's type for it, its metavar.

    Numbers and paths stay text here, so that pydantic alone says what is wrong with one. Choices
    are tyro's, which turns `Literal[8]` back into a number.
    """
    options = _options(annotation)
    present = [o for o in options if o is not type(None)]
    if options == [bool]:
        return "switch", bool, None
    if all(map(_is_scalar, present)):
        return "value", _word(present, optional=len(present) < len(options)), _metavar(present)
    origin, arguments = typing.get_origin(present[0]), typing.get_args(present[0])
    if len(present) == 1 and arguments and all(map(_is_scalar, _options(arguments[0]))):
        items = _options(arguments[0])
        if origin in (list, set, frozenset, Sequence) or (
            origin is tuple and arguments[1:] == (Ellipsis,)
        ):
            return "list", list[_word(items, optional=False)], f"{_metavar(items)} ..."  # type: ignore[misc]
        if origin in (dict, Mapping) and all(
            _is_scalar(o) for o in _options(arguments[1]) if o is not type(None)
        ):
            return "pairs", list[str], "KEY=VALUE ..."
    return "yaml", str, "JSON"


def _word(options: list[Any], *, optional: bool) -> Any:
    """The type that tyro gives one word: a choice, or text."""
    if len(options) != 1 or typing.get_origin(options[0]) is not Literal:
        return str
    choices = typing.get_args(options[0])
    return Literal[(*choices, "none")] if optional else options[0]


def _options(annotation: Any) -> list[Any]:
    """The members of a union; of anything else, itself. `Annotated` wrappers are taken off."""
    if typing.get_origin(annotation) is Annotated:
        return _options(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(annotation) for option in _options(part)]
    return [annotation]


def _is_scalar(annotation: Any) -> bool:
    is_enum = isinstance(annotation, type) and issubclass(annotation, enum.Enum)
    return annotation in SCALARS or is_enum or typing.get_origin(annotation) is Literal


def _metavar(options: list[Any]) -> str:
    return "|".join(
        "{" + ",".join(map(str, typing.get_args(option))) + "}"
        if typing.get_origin(option) is Literal
        else SCALARS.get(option, "VALUE")
        for option in options
    )


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else info.get_default(call_default_factory=True)


def _hint(info: FieldInfo) -> str:
    if info.is_required():
        return "(required)"
    default = _default(info)
    if default is None:
        return ""
    if isinstance(default, list | tuple | set | frozenset):
        default = " ".join(map(str, default)) or "none"
    elif isinstance(default, Mapping):
        default = " ".join(f"{key}={value}" for key, value in default.items()) or "none"
    elif isinstance(default, enum.Enum):
        default = default.value
    return f"(default: {default})"
