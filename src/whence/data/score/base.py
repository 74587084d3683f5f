"""The base model of an adapter, where the user leaves it to the adapter to say."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from whence.errors import BadInput
from whence.models.settings import ModelSettings
from whence.runs.jsonfile import read_json

Settings = TypeVar("Settings", bound=ModelSettings)


def with_recorded_base(config: Settings, adapter: Path) -> Settings:
    """The configuration with the base model that the adapter records, where it says auto.

    Raises BadInput where the folder is no adapter, or records no base that can be had.
    """
    record = adapter / "adapter_config.json"
    if not record.is_file():
        raise BadInput(f"{adapter}: no adapter_config.json; expected a LoRA adapter folder")
    if config.base_model != "auto":
        return config
    recorded = read_json(record)
    base = recorded.get("base_model_name_or_path")
    if not base:
        raise BadInput(f"{record}: records no base model; say which with --base-model")
    revision = config.revision or recorded.get("revision")
    found = config.model_copy(update={"base_model": base, "revision": revision})
    try:
        found.identity()
    except BadInput as error:
        raise BadInput(f"{record}: {error}; say where its base is with --base-model") from error
    return found
