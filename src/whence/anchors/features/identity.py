"""When stored activations may be used again: equal model, tokens and numbers; labels play no part.

Layers and poolings are not in the fingerprint, because each is an array of its own, nor are texts,
which are compared problem by problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.anchors.spans.tokens import PrependBos, front_ids
from whence.models.resumed import continue_with
from whence.runs.fingerprint import fingerprint, hash_path

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


def continue_reading_with(model: Mapping[str, Any], attempt: Path) -> None:
    """Raise BadInput where an earlier attempt of a run read its traces with another model."""
    own = {key: model[key] for key in ("content", "adapter", "compute_dtype")}
    continue_with(own, attempt, "traces")
