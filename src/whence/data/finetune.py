"""LoRA finetuning on aligned rows: `whence data finetune`.

Supervised finetuning with TRL on the completion only, on the token ids and labels that scoring and
loss evaluation see too (`whence.models.alignment`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from whence.data.train import (
    CHECKPOINT_SECONDS,
    LoraSettings,
    OptimSettings,
    TrainMetrics,
    train_adapter,
)
from whence.errors import BadInput
from whence.models.alignment import align_rows
from whence.models.settings import ModelSettings
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import load_manifest, read_split
from whence.runs.store import open_run

__all__ = [
    "FinetuneConfig",
    "FinetuneResult",
    "LoraSettings",
    "OptimSettings",
    "TrainMetrics",
    "finetune",
    "train_adapter",
]


class FinetuneConfig(LoraSettings, OptimSettings, ModelSettings, OutputConfig):
    """Train a LoRA adapter on one split of a manifest, on completions only."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"checkpoint_seconds"})

    manifest: Path = Field(
        default=Path("runs/smoltalk_v1/manifest.json"),
        description="Manifest of `whence data build`, `score` or `select`.",
    )
    train_split: str = Field(default="train_base", description="Split to train on.")
    eval_split: str | None = Field(
        default=None, description="Split whose loss is measured before and after training."
    )
    output_dir: Path = Field(
        default=Path("runs/smoltalk_v1/base_adapter"),
        description="Folder for adapter, tokenizer and train_metrics.json.",
    )
    max_length: int = Field(
        default=2048,
        ge=2,
        description="Tokens a row may have; a longer one loses prompt tokens from the left first.",
    )
    resume_adapter: Path | None = Field(
        default=None,
        description="Adapter to train further instead of a new one; its rank and modules hold.",
    )
    seed: int = Field(default=42, description="Seed of the new adapter and of the rows' order.")
    checkpoint_seconds: float = Field(
        default=CHECKPOINT_SECONDS,
        ge=0,
        description="Save a checkpoint this often; the same command continues from it.",
    )


@dataclass(frozen=True)
class FinetuneResult:
    """adapter: folder with the adapter and its tokenizer."""

    adapter: Path
    metrics: TrainMetrics

    def finding(self) -> Finding:
        """How far the loss came, and how much was trained on."""
        m = self.metrics
        rows = [
            ("rows", f"{m.rows_trained:,} ({m.truncated_rows:,} truncated)"),
            ("supervised tokens", f"{m.supervised_tokens:,}"),
            ("optimizer steps", f"{m.steps:,}"),
            (
                "train loss, first → last step",
                f"{m.loss_curve[0]['loss']:.4f} → {m.loss_curve[-1]['loss']:.4f}",
            ),
            ("tokens/s", f"{m.tokens_per_second:,.0f}"),
        ]
        headline = f"Adapter trained on {m.rows_trained:,} rows."
        if m.eval_loss_before is not None and m.eval_loss_after is not None:
            change = f"{m.eval_loss_before:.4f} → {m.eval_loss_after:.4f}"
            headline = f"Eval loss {change} after training on {m.rows_trained:,} rows."
            rows.insert(3, ("eval loss (nats per token)", change))
        return Finding(
            headline=headline,
            columns=("measure", "value"),
            rows=rows,
            files={"adapter": self.adapter, "metrics": self.adapter / "train_metrics.json"},
        )


def finetune(config: FinetuneConfig) -> FinetuneResult:
    """Train an adapter as `config` says. A killed run, started again, ends with the same adapter.

    Raises BadInput when manifest, split, model, adapter or target modules cannot be used, and
    WhenceError when the loss stops being a number.
    """
    manifest = load_manifest(config.manifest)
    train = manifest.split(config.train_split)
    held_out = None if config.eval_split is None else manifest.split(config.eval_split)
    with open_run(
        config.output_dir,
        command="data finetune",
        config=config,
        inputs={
            "train": train.path,
            "eval": held_out and held_out.path,
            "base_model": config.identity(),
            "resume_adapter": config.resume_adapter,
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            rows = read_split(manifest, config.train_split)
            if rows.empty:
                raise BadInput(f"{train.path}: no rows to train on")
            others = None if held_out is None else read_split(manifest, held_out.name)
            base = config.load()
            metrics = train_adapter(
                base,
                align_rows(rows, base.tokenizer, config.max_length),
                None if others is None else align_rows(others, base.tokenizer, config.max_length),
                lora=config,
                optim=config,
                seed=config.seed,
                output=run.folder,
                resume_adapter=config.resume_adapter,
                checkpoints=run.scratch / "checkpoints",
                checkpoint_seconds=config.checkpoint_seconds,
            )
            base.tokenizer.save_pretrained(str(run.folder))
            write_json(run.folder / "train_metrics.json", metrics)
    return FinetuneResult(
        adapter=config.output_dir,
        metrics=TrainMetrics(**read_json(config.output_dir / "train_metrics.json")),
    )
