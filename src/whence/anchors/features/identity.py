"""When stored activations may be used again: equal model, tokens and numbers; labels play no part.

Layers and poolings are not in the fingerprint, because each is an array of its own, nor are texts,
which are compared problem by problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.anchors.spans.tokens import PrependBos, front_ids
from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint, hash_path
from whence.runs.jsonfile import read_json, write_json

if TYPE_CHECKING:
    from whence.models.load import Loaded


def model_identity(loaded: Loaded) -> dict[str, Any]:
    """Which model this is: its folder's content, or hub id and commit; its adapter; its dtype."""
    folder = Path(loaded.source)
    local = folder.is_dir()
    return {
        "name": loaded.source,
        "content": hash_path(folder) if local else f"{loaded.source}@{loaded.revision or 'main'}",
        "adapter": None if loaded.adapter is None else hash_path(loaded.adapter),
        "compute_dtype": str(loaded.dtype).removeprefix("torch."),
    }


def features_fingerprint(model: dict[str, Any], front: list[int], storage_dtype: str) -> str:
    """What must be equal for activations of one text to be those of another extraction."""
    decides = {key: model[key] for key in ("content", "adapter", "compute_dtype")}
    return fingerprint({"model": decides, "front": front, "storage_dtype": storage_dtype})


def recorded_model(model: str, revision: str | None) -> Any:
    """What a run's record keeps of the model: its folder (hashed), or hub id and revision."""
    from whence.models.load import model_source

    source = model_source(model)
    if Path(source).is_dir():
        return Path(source)
    return f"{source}@{revision or 'main'}"


def front_of(loaded: Loaded, bos: PrependBos) -> list[int]:
    """Ids that go before every text."""
    return front_ids(loaded.tokenizer, bos)


def continue_with(model: Mapping[str, Any], attempt: Path) -> None:
    """Keep what decides of `model` in the file `attempt`, which lies in a run's scratch folder.

    Equal settings do not make equal models: dtype auto is another one on another device, and a
    branch of the hub moves on. Raises BadInput where an earlier attempt of the run had another.
    """
    own = {key: model[key] for key in ("content", "adapter", "compute_dtype")}
    if not attempt.exists():
        write_json(attempt, own)
        return
    earlier = read_json(attempt)
    differs = [f"{key} {earlier[key]} → {own[key]}" for key in own if earlier[key] != own[key]]
    if differs:
        raise BadInput(
            f"{attempt.parent.parent}: an earlier attempt read its traces with another model "
            f"({'; '.join(differs)}); go on with that one (on the same --device, where --dtype is "
            "auto), or remove this folder"
        )
