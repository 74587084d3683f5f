"""Loss on a split, item by item, of a base model and of an adapter: `whence data eval-loss`.

The split's loss is the mean over all its supervised tokens, on the ids and labels that finetuning
uses. Two calls, one without and one with `--adapter-path`, in either order, end in one JSON file
with both and their difference.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from whence.data.evaluate.item_loss import item_losses, mean_loss
from whence.errors import BadInput
from whence.models.alignment import align_rows
from whence.models.settings import ModelSettings
from whence.runs.atomic import lock_beside, remove_lock
from whence.runs.finding import Finding
from whence.runs.fingerprint import hash_path
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import load_manifest, read_split
from whence.runs.store import open_run

__all__ = ["EvalLossConfig", "EvalLossResult", "eval_loss", "item_losses", "mean_loss"]

Side = Literal["base", "finetuned"]
COUNTS = ("num_eval_rows", "supervised_token_count", "truncated_rows")
SHARED_KEYS = ("base_model", "eval_split", "eval_rows_sha256", "max_length")


class EvalLossConfig(ModelSettings):
    """Measure the loss of a base model, or of an adapter on it, on one split."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"output_json", "items_dir", "overwrite"})

    manifest: Path = Field(
        default=Path("runs/smoltalk_v1/manifest.json"),
        description="Manifest of `whence data build`, or one made from it.",
    )
    eval_split: str = Field(default="eval", description="Split to measure on.")
    adapter_path: Path | None = Field(
        default=None, description="LoRA adapter to measure; without one the base model is."
    )
    max_length: int = Field(default=2048, ge=2, description="Tokens a row may have.")
    batch_size: int = Field(
        default=4,
        ge=1,
        description="Rows of --max-length tokens in a batch; of shorter rows more are taken.",
    )
    output_json: Path = Field(
        default=Path("runs/smoltalk_v1/eval_loss_compare.json"),
        description="JSON file that both sides are merged into.",
    )
    items_dir: Path | None = Field(
        default=None,
        description="Folder for the loss of each item and the record of this run. Default: "
        "beside the JSON file, under its name and the side (loss.base, loss.finetuned).",
    )
    overwrite: bool = Field(
        default=False, description="Replace an earlier result made with other settings."
    )


@dataclass(frozen=True)
class EvalLossResult:
    """One side's result. losses: nats per token. delta: finetuned − base where both are known."""

    side: Side
    eval_loss: float
    perplexity: float
    rows: int
    supervised_tokens: int
    delta_loss: float | None
    sentence: str | None
    output_json: Path
    items: Path

    def finding(self) -> Finding:
        """Loss and perplexity of this side, and the difference once both sides were measured."""
        rows = [
            ("loss (nats per token)", f"{self.eval_loss:.4f}"),
            ("perplexity", f"{self.perplexity:.4g}"),
            ("rows", f"{self.rows:,}"),
            ("supervised tokens", f"{self.supervised_tokens:,}"),
        ]
        if self.delta_loss is not None:
            rows.append(("finetuned − base", f"{self.delta_loss:+.4f}"))
        other = "with --adapter-path" if self.side == "base" else "without --adapter-path"
        return Finding(
            headline=self.sentence or f"{self.side} measured; run again {other} to compare.",
            columns=("measure", self.side),
            rows=rows,
            files={"comparison": self.output_json, "per item": self.items},
        )


def eval_loss(config: EvalLossConfig) -> EvalLossResult:
    """Measure one side and merge it into `output_json`.

    Raises BadInput when manifest, split, model or adapter cannot be used, and when `output_json`
    holds a comparison on other rows, another base model or another `max_length`.
    """
    side: Side = "base" if config.adapter_path is None else "finetuned"
    output = config.output_json
    config = config.model_copy(
        update={"items_dir": config.items_dir or output.with_name(f"{output.stem}.{side}")}
    )
    folder = Path(config.items_dir or "")
    manifest = load_manifest(config.manifest)
    split = manifest.split(config.eval_split)
    base = config.identity()
    shared = {
        "manifest": str(manifest.path.resolve()),
        "eval_split": config.eval_split,
        "eval_rows_sha256": hash_path(split.path),
        "base_model": config.base_model,
        "max_length": config.max_length,
    }
    if not config.overwrite:
        _refuse_other(output, shared)
    with open_run(
        folder,
        command="data eval-loss",
        config=config,
        inputs={"eval": split.path, "base_model": base, "adapter": config.adapter_path},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _measure(config, run.folder)
    summary = read_json(folder / "summary.json")
    merged = _merge(output, shared, side, summary, folder)
    return EvalLossResult(
        side=side,
        eval_loss=summary["eval_loss"],
        perplexity=summary["perplexity"],
        rows=summary["num_eval_rows"],
        supervised_tokens=summary["supervised_token_count"],
        delta_loss=merged.get("delta_loss"),
        sentence=(merged.get("comparison") or {}).get("sentence"),
        output_json=output,
        items=folder / "items.parquet",
    )


def _measure(config: EvalLossConfig, folder: Path) -> None:
    import pyarrow as pa

    from whence.runs.tables import write_parquet

    table = read_split(load_manifest(config.manifest), config.eval_split)
    loaded = config.load(config.adapter_path)
    rows = align_rows(table, loaded.tokenizer, config.max_length)
    items = item_losses(loaded, rows, config.batch_size * config.max_length)
    loss = mean_loss(items)
    write_parquet(
        pa.table(
            {
                "row_id": table["row_id"].tolist(),
                "group_id": table["group_id"].tolist(),
                "loss": items[:, 0] / items[:, 1].clip(min=1),
                "loss_sum": items[:, 0],
                "supervised_tokens": items[:, 1].astype("int64"),
                "length_tokens": [len(row.input_ids) for row in rows],
                "truncated": [row.truncated for row in rows],
            }
        ),
        folder / "items.parquet",
    )
    write_json(
        folder / "summary.json",
        {
            "model": loaded.source,
            "revision": loaded.revision,
            "adapter_path": config.adapter_path,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "eval_loss": loss,
            "perplexity": math.exp(loss),
            "num_eval_rows": len(rows),
            "supervised_token_count": int(items[:, 1].sum()),
            "truncated_rows": sum(row.truncated for row in rows),
        },
    )


def _refuse_other(output: Path, shared: Mapping[str, Any]) -> None:
    if not output.exists():
        return
    old = read_json(output)
    differing = [
        f"{key}: {old.get(key)} → {shared[key]}"
        for key in SHARED_KEYS
        if old.get(key) != shared[key]
    ]
    if differing:
        raise BadInput(
            f"{output} holds another comparison ({'; '.join(differing)}): "
            "use --overwrite or another --output-json"
        )


def _merge(
    output: Path, shared: Mapping[str, Any], side: Side, summary: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Put one side into the comparison file, and the difference once it has both."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with lock_beside(output) as lock:
        old = read_json(output) if output.exists() else {}
        if any(old.get(key) != shared[key] for key in SHARED_KEYS):
            old = {}
        items = os.path.relpath(folder, output.parent)
        measured = {key: v for key, v in summary.items() if key not in COUNTS} | {"items": items}
        sides = {name: old[name] for name in ("base", "finetuned") if name in old} | {
            side: measured
        }
        merged = {**shared, **{key: summary[key] for key in COUNTS}}
        merged |= {name: sides[name] for name in ("base", "finetuned") if name in sides}
        if len(sides) == 2:
            base, finetuned = sides["base"], sides["finetuned"]
            _refuse_unlike(output, base, finetuned)
            merged |= {
                "delta_loss": finetuned["eval_loss"] - base["eval_loss"],
                "delta_ppl": finetuned["perplexity"] - base["perplexity"],
                "comparison": _compare(
                    output.parent / finetuned["items"], output.parent / base["items"]
                ),
            }
        write_json(output, merged)
        remove_lock(lock)
    return merged


def _refuse_unlike(output: Path, base: Mapping[str, Any], finetuned: Mapping[str, Any]) -> None:
    for key in ("dtype", "model", "revision"):
        if base[key] != finetuned[key]:
            raise BadInput(
                f"{output}: the base was measured with {key} {base[key]}, the adapter with "
                f"{finetuned[key]}; measure both alike, with --overwrite or another --output-json"
            )


def _compare(finetuned: Path, base: Path) -> dict[str, Any] | None:
    """The house's verdict on the mean of per-item losses; None where a side's items are gone."""
    import pandas as pd

    from whence.stats.verdict import compare

    tables = {"finetuned": finetuned / "items.parquet", "base": base / "items.parquet"}
    if not all(path.is_file() for path in tables.values()):
        return None
    items = pd.concat(
        [pd.read_parquet(path).assign(arm=arm, seed=0) for arm, path in tables.items()]
    )
    verdict = compare(
        items, "finetuned", "base", "loss", higher_is_better=False, cluster="group_id"
    )
    return verdict.to_dict()
