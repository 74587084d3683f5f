"""Which model a command works on: flags that every command with a model shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.runs.config import Config

if TYPE_CHECKING:
    from whence.models.load import Loaded


class Loading(Config):
    """Which files of a model are read, and whether its code may run."""

    revision: str | None = Field(
        default=None, description="Branch, tag or commit of the model on the hub."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that comes with the model."
    )


class Holding(Loading):
    """How a model is held: in which dtype, on which device."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"device"})

    dtype: str = Field(
        default="auto",
        description="float32, bfloat16, float16, stored; auto is bfloat16 on a GPU that computes "
        "in it, else float32.",
    )
    device: str = Field(
        default="auto", description="cpu, cuda, cuda:N, mps; auto takes the first there is."
    )


class ModelSettings(Holding):
    """A base model and how to hold it."""

    base_model: str = Field(
        default="google/gemma-3-1b-it",
        description="Base model: a Hugging Face folder, a hub id, or tiny (ships with Whence).",
    )

    def load(self, adapter: Path | None = None) -> Loaded:
        """The model, loaded. Raises BadInput as `load_model` does."""
        from whence.models.load import load_model

        return load_model(
            self.base_model,
            adapter=adapter,
            revision=self.revision,
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
        )

    def identity(self) -> Any:
        """What a record keeps of the base model: its folder (hashed), or hub id and revision.

        Raises BadInput for a folder that is not there or holds no model.
        """
        from whence.models.load import model_source

        source = model_source(self.base_model)
        if Path(source).is_dir():
            return Path(source)
        return f"{source}@{self.revision or 'main'}"


def absolute_model(model: str) -> str:
    """A model's name that means the same from anywhere: a folder's absolute, others as given."""
    folder = Path(model).expanduser()
    return str(folder.absolute()) if model != "tiny" and folder.is_dir() else model
