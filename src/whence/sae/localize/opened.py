"""The model and SAEs that an extraction was made with, found again and checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.settings import ModelSettings
from whence.sae.settings import SaeSettings

if TYPE_CHECKING:
    import torch

    from whence.models.load import Loaded
    from whence.sae.load import LoadedSae


@dataclass(frozen=True)
class Opened:
    """What to load. adapter: the LoRA adapter that was on the model, if any. text, max_tokens,
    threshold, count_bos: how rows were read.
    """

    model: ModelSettings
    adapter: Path | None
    text: str
    max_tokens: int
    threshold: float
    count_bos: bool

    def load(self) -> Loaded:
        """The model with its adapter. Raises BadInput as `load_model` does."""
        return self.model.load(self.adapter)


def opened(
    summary: Mapping[str, Any], origin: Path, model_name: str | None, holding: Mapping[str, Any]
) -> Opened:
    """Read an extraction's summary. model_name replaces the model that it records.

    Raises BadInput where there is no summary (folders of the earlier system).
    """
    if "model" not in summary:
        raise BadInput(
            f"{origin / 'summary.json'} does not say which model was read; run "
            "`whence sae extract` again (the earlier system did not record it)"
        )
    model = summary["model"]
    return Opened(
        model=ModelSettings(
            base_model=model_name or model["source"],
            **{"revision": model.get("revision"), **holding},
        ),
        adapter=Path(model["adapter"]) if model.get("adapter") else None,
        text=summary["text"],
        max_tokens=summary["max_tokens"],
        threshold=summary["activation_threshold"],
        count_bos=summary["count_bos"],
    )


def moved_folders(paths: Sequence[str], sae_ids: Collection[str]) -> dict[str, Path]:
    """sae_id → the folder that it is in now. Raises BadInput where none is one of these SAEs."""
    if not paths:
        return {}
    folders = {folder.name: folder for folder in SaeSettings(sae_path=tuple(paths)).sae_folders()}
    known = {name: folder for name, folder in folders.items() if name in sae_ids}
    if not known:
        raise BadInput(f"--sae-path: {', '.join(folders)} is not among {', '.join(sae_ids)}")
    return known


def load_extracted_saes(
    facts: Mapping[str, Mapping[str, Any]],
    moved: Mapping[str, Path],
    device: torch.device,
) -> list[LoadedSae]:
    """The SAEs of an extraction, {sae_id: its entry in summary.json}, float32.

    moved: where some are now. Raises BadInput where one is not what was extracted with.
    """
    from whence.sae.load import load_saes

    found = []
    for sae_id, entry in facts.items():
        if sae_id in moved:
            settings = SaeSettings(sae_path=(str(moved[sae_id]),))
        elif entry.get("release"):
            settings = SaeSettings(sae_release=entry["release"], sae_id=(sae_id,))
        else:
            settings = SaeSettings(sae_path=(entry["path"],))
        (sae,) = load_saes(settings, device)
        if sae.fingerprint != entry["fingerprint"]:
            raise BadInput(
                f"SAE {sae_id} is not the one that was extracted with: its configuration or "
                "weights differ; extract again"
            )
        found.append(sae)
    return found
