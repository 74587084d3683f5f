"""A LoRA adapter folded into its base model, as a plain Hugging Face folder: `whence data merge`.

W' = W + (alpha / r) · B A. The merged model is loaded again from disk and must give the logits that
base and adapter gave together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from whence.errors import WhenceError
from whence.models.settings import ModelSettings
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.load import Loaded

PROBE_SHAPE = (2, 32)
"""Rows and tokens of the random batch on which both models must agree."""


class MergeConfig(ModelSettings, OutputConfig):
    """Fold a LoRA adapter into its base model."""

    adapter_path: Path = Field(description="LoRA adapter to fold in.")
    dtype: str = Field(
        default="stored",
        description="Precision of the merged weights; stored is the one that the base has on disk.",
    )


@dataclass(frozen=True)
class MergeResult:
    """largest_difference: between merged and adapter logits, as a share of the largest logit."""

    model: Path
    dtype: str
    largest_difference: float
    allowed: float

    def finding(self) -> Finding:
        """That the merged model is the adapted one, and how closely."""
        return Finding(
            headline=f"Merged in {self.dtype}: logits differ by {self.largest_difference:.1e} of "
            f"the largest one (rounding allows {self.allowed:.0e}).",
            files={"model": self.model},
        )


def merge(config: MergeConfig) -> MergeResult:
    """Write base + adapter as one model folder with tokenizer and `merge.json`.

    Raises BadInput for an adapter of another base, WhenceError where the merged model, read back
    from disk, does not give the adapted model's logits within the dtype's rounding.
    """
    with open_run(
        config.output_dir,
        command="data merge",
        config=config,
        inputs={"base_model": config.identity(), "adapter": config.adapter_path},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _merge(config, run.folder)
    record = read_json(config.output_dir / "merge.json")
    return MergeResult(config.output_dir, **record)


def _merge(config: MergeConfig, folder: Path) -> None:
    from whence.models.load import load_model, no_progress_bars
    from whence.models.unembed import NOISE

    adapted = config.load(config.adapter_path)
    dtype = str(adapted.dtype).removeprefix("torch.")
    wanted = _probe(adapted)
    merged = adapted.model.merge_and_unload(safe_merge=True)
    with no_progress_bars():
        merged.save_pretrained(str(folder))
    adapted.tokenizer.save_pretrained(str(folder))
    device = str(adapted.device)
    del merged, adapted
    found = _probe(
        load_model(
            str(folder), dtype=dtype, device=device, trust_remote_code=config.trust_remote_code
        )
    )
    difference = float((found - wanted).abs().max() / wanted.abs().max())
    if not difference <= NOISE[dtype]:
        raise WhenceError(
            f"the merged model's logits differ by {difference:.1e} of the largest one, more than "
            f"rounding in {dtype} explains ({NOISE[dtype]:.0e}): merge with --dtype float32"
        )
    write_json(
        folder / "merge.json",
        {"dtype": dtype, "largest_difference": difference, "allowed": NOISE[dtype]},
    )


def _probe(loaded: Loaded) -> Tensor:
    """Logits on a fixed random batch, float32 on the CPU, [rows, tokens, vocab]."""
    import torch

    rng = torch.Generator().manual_seed(0)
    vocabulary = loaded.model.get_input_embeddings().num_embeddings
    ids = torch.randint(0, vocabulary, PROBE_SHAPE, generator=rng).to(loaded.device)
    with torch.inference_mode():
        logits: Tensor = loaded.model(input_ids=ids, use_cache=False).logits
    return logits.float().cpu()
