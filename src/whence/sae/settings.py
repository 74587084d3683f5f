"""Which sparse autoencoders a command works on: flags that every command with SAEs shares."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from whence.errors import BadInput
from whence.runs.config import Config, Words

TINY = "tiny"
CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"


def _as_text(value: Any) -> Any:
    """Paths are given by Python callers; text is kept, because `tiny` is no path."""
    if isinstance(value, str | Path):
        value = [value]
    if isinstance(value, list | tuple):
        return tuple(str(each) if isinstance(each, Path) else each for each in value)
    return value


Folders = Annotated[tuple[str, ...], BeforeValidator(_as_text)]


class SaeSettings(Config):
    """SAEs of a SAELens release, SAEs in folders, or both."""

    sae_release: str | None = Field(
        default=None,
        description="Release in SAELens's list of pretrained SAEs, or a hub repository of SAEs "
        "that SAELens saved; --sae-id says which of them.",
    )
    sae_id: Words = Field(
        default=(), description="SAEs of the release, by their ids there; several are one pass."
    )
    sae_path: Folders = Field(
        default=(),
        description="Folders that SAELens saved an SAE in (cfg.json and weights), each known by "
        "its name; or tiny: what ships with Whence for the tiny model.",
    )

    @model_validator(mode="after")
    def _some_sae(self) -> Self:
        if not self.sae_path and self.sae_release is None:
            raise ValueError("give --sae-path, or --sae-release with --sae-id")
        if self.sae_release is not None and not self.sae_id:
            raise ValueError("--sae-release needs --sae-id: which of its SAEs")
        if self.sae_id and self.sae_release is None:
            raise ValueError("--sae-id names SAEs of a release: give --sae-release, or --sae-path")
        return self

    def sae_folders(self) -> list[Path]:
        """The folders of `sae_path`, absolute, `tiny` resolved.

        Raises BadInput for one that is not there or holds no SAE.
        """
        folders: list[Path] = []
        for given in self.sae_path:
            folders += _tiny_folders() if given == TINY else [_sae_folder(Path(given))]
        return folders


def _tiny_folders() -> list[Path]:
    home = Path(str(resources.files("whence.tiny") / "sae"))
    found = sorted(each.parent for each in home.glob(f"*/{CONFIG_FILE}"))
    if not found:
        raise BadInput(f"--sae-path tiny: this Whence ships no SAE of the tiny model ({home})")
    return found


def _sae_folder(given: Path) -> Path:
    folder = given.expanduser().resolve()
    if not folder.is_dir():
        raise BadInput(f"--sae-path {given}: no such folder; expected one that SAELens saved")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if (folder / name).is_file():
            continue
        inside = sorted(each.parent.name for each in folder.glob(f"*/{CONFIG_FILE}"))
        hint = f"; did you mean the folders in it: {', '.join(inside[:5])}?" if inside else ""
        raise BadInput(
            f"--sae-path {given}: no {name} in this folder; expected one that SAELens "
            f"saved an SAE in{hint}"
        )
    return folder
