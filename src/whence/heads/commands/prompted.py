"""Settings of commands that read prompts and measure no effect: `heads ov`, `heads inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from whence.errors import BadInput
from whence.heads.commands.single import HeadsConfig
from whence.heads.prompts import MetricSpan, prepare
from whence.models.load import load_model

if TYPE_CHECKING:
    from whence.heads.prompts import Examples
    from whence.models.load import Loaded


class PromptedConfig(HeadsConfig):
    """A model and a corpus. Whatever only measurements of an effect need is fixed, and no flag."""

    metrics: ClassVar[None] = None  # type: ignore[misc]
    metric_span: ClassVar[MetricSpan] = "first_token"  # type: ignore[misc]
    memory_gb: ClassVar[float] = 2.0  # type: ignore[misc]
    seeds: ClassVar[tuple[int, ...]] = (0,)  # type: ignore[misc]
    subsample: ClassVar[None] = None  # type: ignore[misc]

    def load(self, **more: Any) -> Loaded:
        """The model, with whatever else `load_model` is to be told."""
        return load_model(
            self.model,
            adapter=self.adapter,
            revision=self.revision,
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
            **more,
        )

    def read(self, loaded: Loaded) -> Examples:
        """The corpus as the model's tokenizer reads it; answers of several tokens by their first.

        Raises BadInput naming the corpus and the row.
        """
        try:
            return prepare(
                self.rows(),
                loaded.tokenizer,
                prepend_bos=self.prepend_bos,
                max_seq_len=self.max_seq_len,
                multi_token="first",
            )
        except BadInput as error:
            raise BadInput(f"{self.corpus}: {error}") from None
