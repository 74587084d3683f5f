"""One cell of an experiment: one arm under one seed, trained and judged item by item.

A cell depends on its rows, its seed and the settings, and on nothing that ran before it: the base
is given back as it was, and every random number comes from the seed.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whence.data.draws import Drawn, draw_arms
from whence.data.evaluate.bench_tasks import BenchTask
from whence.data.evaluate.guesses import guess_words, is_correct
from whence.data.evaluate.item_loss import item_losses
from whence.data.experiment.comparisons import BASE, ORACLE
from whence.data.experiment.plan import Plan
from whence.data.experiment.settings import ExperimentConfig
from whence.data.train import train_adapter
from whence.models.adapters import using_adapter
from whence.models.alignment import AlignedRow, align_rows
from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from whence.data.matched import MatchedDraw
    from whence.models.load import Loaded
    from whence.runs.store import Run

FINISHED = "cell.json"
"""The file that a cell's folder gets last."""


@dataclass(frozen=True)
class Cell:
    """An arm under a seed; `seed` is None for the base model. `row_ids` are its training rows.

    match: for a matched_random arm, how well its rows match.
    """

    arm: str
    seed: int | None
    row_ids: Sequence[str] = ()
    match: MatchedDraw | None = None

    @property
    def place(self) -> str:
        """The cell's folder below the run's, as in `arms/top/seed-0`."""
        return f"arms/{self.arm}/" + ("once" if self.seed is None else f"seed-{self.seed}")


@dataclass(frozen=True)
class Exam:
    """The eval split, tokenised once for all cells. targets: None unless words are judged. bench:
    tasks that judge too.
    """

    row_ids: Sequence[str]
    rows: Sequence[AlignedRow]
    prompts: Sequence[str]
    targets: Sequence[str] | None
    bench: Sequence[BenchTask] = ()


def make_exam(plan: Plan, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Exam:
    """The plan's eval split, tokenised. max_length: tokens a row may have."""
    return Exam(
        row_ids=plan.evaluation["row_id"].tolist(),
        rows=align_rows(plan.evaluation, tokenizer, max_length),
        prompts=plan.evaluation["prompt"].tolist(),
        targets=plan.targets,
        bench=plan.bench,
    )


def lay_out(
    plan: Plan,
    seeds: Sequence[int],
    ranking: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame],
) -> list[Cell]:
    """Every cell of the experiment, in the order in which they run: seed by seed.

    So an experiment that is looked at half-way has whole replications, not whole arms.
    """
    cells = [Cell(BASE, None)]
    for seed in seeds:
        drawn: Mapping[str, Drawn] = draw_arms(
            plan.arms, ranking, plan.pool, seed, match_on=plan.match_on, rankings=rankings
        )
        cells += [Cell(name, seed, arm.row_ids, arm.match) for name, arm in drawn.items()]
        if plan.planted and plan.planted.oracle:
            cells.append(Cell(ORACLE, seed, plan.planted.draw(seed)))
    return cells


def run_cell(
    cell: Cell,
    config: ExperimentConfig,
    base: Loaded,
    pool: pd.DataFrame,
    exam: Exam,
    start: Path | None,
    run: Run,
) -> None:
    """Train the cell's adapter and judge it; writes `adapter/`, `items.parquet`, `cell.json`, and
    `bench.parquet` where tasks judge.

    pool: its rows, indexed by `row_id`. start: adapter to continue from, or None. A cell that is
    finished is left alone. The adapter that is judged is the one on disk, read back.
    """
    folder = run.folder / cell.place
    if (folder / FINISHED).is_file():
        return
    import pyarrow as pa

    adapter, training = start, None
    checkpoints = run.scratch / "checkpoints" / cell.place
    if cell.seed is not None:
        adapter = folder / "adapter"
        training = train_adapter(
            base,
            align_rows(pool.loc[list(cell.row_ids)], base.tokenizer, config.max_length),
            lora=config.lora,
            optim=config.optim,
            seed=cell.seed,
            output=adapter,
            resume_adapter=start,
            checkpoints=checkpoints,
            label=f"{cell.arm}, seed {cell.seed}",
        )
    with using_adapter(base, adapter) as model:
        items = judge(model, exam, config, f"{cell.arm}: ")
        answers = answer_tasks(model, exam.bench, config)
    for name, found in (("items", items), ("bench", answers)):
        if found is not None:
            found.insert(0, "arm", cell.arm)
            found.insert(1, "seed", cell.seed)
            table = pa.Table.from_pandas(found.astype({"seed": "Int64"}), preserve_index=False)
            write_parquet(table, folder / f"{name}.parquet")
    write_json(
        folder / FINISHED,
        {
            "arm": cell.arm,
            "seed": cell.seed,
            "rows": len(cell.row_ids),
            "row_ids": cell.row_ids,
            "match": cell.match and {"notes": cell.match.notes(), "budget": cell.match.budget},
            "training": training,
        },
    )
    # One checkpoint of a large model is gigabytes, and nobody goes back to a finished cell's.
    shutil.rmtree(checkpoints, ignore_errors=True)


@contextmanager
def lasting_objects_set_aside() -> Iterator[None]:
    """Keep what is there already (libraries, the base, the rows) out of garbage collection.

    Accelerate collects after every training. To walk a million objects that stay anyway took a
    third of a small cell's time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def judge(model: Loaded, exam: Exam, config: ExperimentConfig, label: str = "") -> pd.DataFrame:
    """Per eval row: `row_id`, `correct` (null unless words are judged), `loss`, `answer`.

    loss: mean nats over the row's supervised tokens.
    """
    import pandas as pd

    losses = item_losses(model, exam.rows, config.eval_batch_tokens, label=f"{label}loss")
    items = pd.DataFrame({"row_id": list(exam.row_ids)})
    items["correct"] = pd.array([None] * len(items), dtype="boolean")
    items["loss"] = losses[:, 0] / losses[:, 1]
    items["answer"] = pd.array([None] * len(items), dtype="string")
    if exam.targets is not None:
        answers = guess_words(
            model,
            exam.prompts,
            max_new_tokens=config.max_new_tokens,
            max_length=config.max_length,
            label=f"{label}answers",
        )
        right = [is_correct(a, target) for a, target in zip(answers, exam.targets, strict=True)]
        items["correct"] = pd.array(right, dtype="boolean")
        items["answer"] = pd.array(answers, dtype="string")
    return items


def answer_tasks(
    model: Loaded, tasks: Sequence[BenchTask], config: ExperimentConfig
) -> pd.DataFrame | None:
    """`task, doc_id, metric, value` of every document of every task; None without tasks."""
    if not tasks:
        return None
    import pandas as pd

    from whence.data.evaluate.bench_items import bench_items

    return pd.concat(
        [
            bench_items(
                model, task, limit=config.task_limit, batch_size=config.task_batch_size, bars=False
            )
            for task in tasks
        ],
        ignore_index=True,
    )


def collect_bench(
    cells: Sequence[Cell], folder: Path, tasks: Sequence[BenchTask]
) -> pd.DataFrame | None:
    """`arm, seed, row_id` and a column per task, its headline metric, of all cells; None without
    tasks. A row is one document of one task, and empty in the columns of the others.
    """
    if not tasks:
        return None
    import pandas as pd

    from whence.data.evaluate.bench import headline_items

    answers = pd.concat([pd.read_parquet(folder / cell.place / "bench.parquet") for cell in cells])
    return pd.concat([headline_items(answers, task) for task in tasks], ignore_index=True)


def collect(cells: Sequence[Cell], folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`arm, seed, row_id, correct, loss` of all cells, and their training curves
    (`arm, seed, step, loss`).
    """
    import pandas as pd

    items, curves = [], []
    for cell in cells:
        items.append(pd.read_parquet(folder / cell.place / "items.parquet"))
        training = read_json(folder / cell.place / FINISHED)["training"]
        for point in training["loss_curve"] if training else ():
            curves.append({"arm": cell.arm, "seed": cell.seed, **point})
    return (
        pd.concat(items, ignore_index=True).drop(columns="answer"),
        pd.DataFrame(curves, columns=["arm", "seed", "step", "loss"]),
    )


def taken_by(cells: Sequence[Cell]) -> dict[str, list[Sequence[str]]]:
    """Arm → the rows it trained on, one list per seed."""
    taken: dict[str, list[Sequence[str]]] = {}
    for cell in cells:
        if cell.seed is not None:
            taken.setdefault(cell.arm, []).append(cell.row_ids)
    return taken
