"""Where the shipped tiny model is: a plain Hugging Face folder inside the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.config import Config
from whence.runs.finding import Finding


class PathConfig(Config):
    """Print the folder of the tiny base model, and nothing else."""


@dataclass(frozen=True)
class TinyPath:
    folder: Path

    def finding(self) -> Finding:
        """The bare path, so that `$(whence tiny path)` works in a shell."""
        return Finding(headline=str(self.folder))


def path(config: PathConfig | None = None) -> TinyPath:
    """The folder of the tiny base model: `config.json`, `model.safetensors`, tokenizer."""
    folder = Path(str(resources.files("whence.tiny") / "weights"))
    if not (folder / "model.safetensors").is_file():
        raise WhenceError(f"{folder} has no model: `whence tiny train` makes it")
    return TinyPath(folder)
