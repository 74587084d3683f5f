"""One cell of an experiment: one arm under one seed, trained and judged item by item."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whence.data.evaluate.guesses import guess_words, is_correct, target_words
from whence.data.evaluate.item_loss import item_losses
from whence.data.experiment.settings import ExperimentConfig
from whence.data.tokenize import align_rows
from whence.data.train import train_adapter
from whence.models.adapters import using_adapter
from whence.models.load import Loaded
from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import pandas as pd

BASE = "base"
"""The arm that trains on nothing. It depends on no seed, so it is evaluated once."""


@dataclass(frozen=True)
class Cell:
    """An arm under a seed; `seed` is None for the base model. `row_ids` are its training rows."""

    arm: str
    seed: int | None
    row_ids: Sequence[str]

    def folder(self, run: Path) -> Path:
        return run / "arms" / self.arm / ("once" if self.seed is None else f"seed-{self.seed}")


def run_cell(
    cell: Cell,
    config: ExperimentConfig,
    base: Loaded,
    pool: pd.DataFrame,
    evaluation: pd.DataFrame,
    start: Path | None,
    folder: Path,
) -> None:
    """Train the cell's adapter and judge it; writes `adapter/`, `items.parquet`, `cell.json`.

    pool, evaluation: rows of the pool (indexed by `row_id`) and of the eval split. start: adapter
    to continue from, or None. A finished cell (it has `cell.json`, written last) is left alone.
    """
    if (folder / "cell.json").is_file():
        return
    import pyarrow as pa

    adapter, training = start, None
    if cell.seed is not None:
        rows = align_rows(pool.loc[list(cell.row_ids)], base.tokenizer, config.max_length)
        adapter = folder / "adapter"
        training = train_adapter(
            base,
            rows,
            None,
            lora=config.lora,
            optim=config.optim,
            seed=cell.seed,
            output=adapter,
            resume_adapter=start,
            checkpoints=folder / "checkpoints",
            label=f"{cell.arm}, seed {cell.seed}",
        )
    with using_adapter(base, adapter) as model:
        items = judge(model, evaluation, config)
    items.insert(0, "arm", cell.arm)
    items.insert(1, "seed", cell.seed)
    table = pa.Table.from_pandas(items.astype({"seed": "Int64"}), preserve_index=False)
    write_parquet(table, folder / "items.parquet")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    write_json(
        folder / "cell.json",
        {"arm": cell.arm, "seed": cell.seed, "row_ids": cell.row_ids, "training": training},
    )


def judge(model: Loaded, evaluation: pd.DataFrame, config: ExperimentConfig) -> pd.DataFrame:
    """Per eval row: `row_id`, `correct` (null unless words are judged), `loss`, `answer`.

    loss: mean nats over the row's supervised tokens.
    """
    import pandas as pd

    rows = align_rows(evaluation, model.tokenizer, config.max_length)
    losses = item_losses(model, rows, max_tokens=config.eval_batch_tokens)
    items = pd.DataFrame({"row_id": evaluation["row_id"].tolist()})
    items["correct"] = pd.array([None] * len(items), dtype="boolean")
    items["loss"] = losses[:, 0] / losses[:, 1]
    items["answer"] = pd.array([None] * len(items), dtype="string")
    if "words" in config.judges:
        answers = guess_words(
            model,
            evaluation["prompt"].tolist(),
            max_new_tokens=config.max_new_tokens,
            max_length=config.max_length,
        )
        right = [is_correct(a, t) for a, t in zip(answers, target_words(evaluation), strict=True)]
        items["correct"] = pd.array(right, dtype="boolean")
        items["answer"] = pd.array(answers, dtype="string")
    return items


def collect(cells: Sequence[Cell], run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The items of all cells, and their training curves (`arm, seed, step, loss`)."""
    import pandas as pd

    items = pd.concat(
        [pd.read_parquet(cell.folder(run) / "items.parquet") for cell in cells], ignore_index=True
    )
    curves = []
    for cell in cells:
        training = read_json(cell.folder(run) / "cell.json")["training"]
        for point in training["loss_curve"] if training else ():
            curves.append({"arm": cell.arm, "seed": cell.seed, **point})
    return items, pd.DataFrame(curves, columns=["arm", "seed", "step", "loss"])
