"""Where the shipped tiny model and its SAEs are: plain folders inside the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import Field

from whence.errors import WhenceError
from whence.runs.config import Config
from whence.runs.finding import Finding


class PathConfig(Config):
    """Print the folder of the tiny base model, and nothing else."""

    sae: bool = Field(default=False, description="Print the folders of its SAEs instead.")


@dataclass(frozen=True)
class TinyPath:
    """folder: the model's. saes: its SAEs', where they were asked for."""

    folder: Path
    saes: tuple[Path, ...] = ()

    def finding(self) -> Finding:
        """The bare paths, one a line, so that `$(whence tiny path)` works in a shell."""
        return Finding(headline="\n".join(map(str, self.saes or [self.folder])))


def path(config: PathConfig | None = None) -> TinyPath:
    """The folder of the tiny base model: `config.json`, `model.safetensors`, tokenizer."""
    folder = Path(str(resources.files("whence.tiny") / "weights"))
    if not (folder / "model.safetensors").is_file():
        raise WhenceError(f"{folder} has no model: `whence tiny train` makes it")
    return TinyPath(folder, tuple(sae_folders()) if config and config.sae else ())


def sae_folders() -> list[Path]:
    """The folders of the shipped SAEs, as SAELens reads them, by name."""
    home = Path(str(resources.files("whence.tiny") / "sae"))
    found = sorted(config.parent for config in home.glob("*/cfg.json"))
    if not found:
        raise WhenceError(f"{home} has no SAE: `whence tiny sae` makes them")
    return found
