"""The shape shared by every command's configuration.

A command's configuration is one pydantic model. Its fields are its flags, its config-file keys and
its Python arguments; a field's description is its `--help` text. Written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretBytes, SecretStr

from whence.runs.jsonfile import plain


def split_commas(value: Any) -> Any:
    """`"a,b"` and `["a,b", "c"]` as separate words; what is not made of strings stays as it is."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    parts = [item.split(",") if isinstance(item, str) else [item] for item in value]
    words = [part.strip() if isinstance(part, str) else part for group in parts for part in group]
    return tuple(word for word in words if word != "")


Words = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
"""Names given as `--x a b`, `--x a,b` or a list in a file."""
Numbers = Annotated[tuple[int, ...], BeforeValidator(split_commas)]
"""The same for whole numbers."""


class Config(BaseModel):
    """Base of all configurations: unknown keys are errors, values do not change once made.

    `not_identity` names fields that do not change what a run computes (where it writes, on which
    device, how it reports). `read_by_content` names inputs of which the record keeps the content
    that counts, wherever they lie: no part of the identity either, and a replay reads them where
    they are. A subclass adds to its bases' names; a nested model has its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
    not_identity: ClassVar[frozenset[str]] = frozenset()
    read_by_content: ClassVar[frozenset[str]] = frozenset()


class OutputConfig(Config):
    """Configuration of a command that fills one output folder."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"output_dir", "overwrite"})

    output_dir: Path = Field(description="Folder to write. Made when the run is whole.")
    overwrite: bool = Field(
        default=False,
        description="Replace an earlier run in the same folder made with other settings.",
    )


def resolved(config: BaseModel) -> dict[str, Any]:
    """Every setting of `config` as JSON values, paths absolute, secrets (`SecretStr`) left out."""
    values = {name: getattr(config, name) for name in type(config).model_fields}
    return {
        name: _setting(value)
        for name, value in values.items()
        if not isinstance(value, SecretStr | SecretBytes)
    }


def not_identity(config: BaseModel) -> list[str]:
    """Dotted names of the settings that do not change what is computed, nested models included."""
    names = sorted(_declared(type(config), "not_identity") | read_by_content(type(config)))
    for field in type(config).model_fields:
        nested = getattr(config, field)
        if isinstance(nested, BaseModel):
            names += [f"{field}.{name}" for name in not_identity(nested)]
    return names


def read_by_content(config: type[BaseModel]) -> frozenset[str]:
    """Names of the settings that are inputs, of which only the content counts."""
    return _declared(config, "read_by_content")


def _declared(config: type[BaseModel], name: str) -> frozenset[str]:
    """What a class and its bases name under `name`, together."""
    return frozenset(each for base in config.__mro__ for each in vars(base).get(name, ()))


def _setting(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return resolved(value)
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return {str(key): _setting(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_setting(item) for item in value]
    return plain(value)
