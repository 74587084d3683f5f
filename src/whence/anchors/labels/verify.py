"""`whence anchors verify`: whether published importances follow from their rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from whence.anchors.labels.settings import RecomputeSettings
from whence.errors import BadInput
from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.progress import track
from whence.runs.store import Run, open_run

SHOWN = 10
"""Problems printed one by one; of more, only those that differ. The file has them all."""


class VerifyConfig(RecomputeSettings, OutputConfig):
    """Recompute published importances from rollouts, and compare sentence by sentence.

    Judged are the mean absolute differences of the accuracies, in every problem. KL is compared and
    not judged: it depends on when two answers count as one, which the published files do not say.
    """

    index: Path = Field(description="Folder of `whence anchors index`.")
    problem_ids: Words = Field(default=(), description="Only these problems of it: 330,1591.")
    tolerance: float = Field(
        default=0.01,
        ge=0,
        description="Mean absolute difference that resampling and forced accuracy may have.",
    )
    tolerance_counterfactual: float = Field(
        default=0.025,
        ge=0,
        description="The same for counterfactual accuracy, which hangs on an embedding model.",
    )

    def tolerances(self) -> dict[str, float]:
        """Importance → what it may differ by; only what is judged."""
        return {
            "resampling_importance_accuracy": self.tolerance,
            "forced_importance_accuracy": self.tolerance,
            "counterfactual_importance_accuracy": self.tolerance_counterfactual,
        }


@dataclass(frozen=True)
class VerifyResult:
    """about: the content of `verify.json`."""

    folder: Path
    about: Mapping[str, Any]
    done: bool

    @classmethod
    def read(cls, folder: Path, done: bool) -> Self:
        return cls(folder, read_json(folder / "verify.json"), done)

    def finding(self) -> Finding:
        """Whether published and recomputed agree, and by how much they do not."""
        about = self.about
        shown = about["problems"]
        if len(shown) > SHOWN:
            everything = {"problem_id": "all", "importances": about["overall"]}
            shown = [everything, *(each for each in shown if differs(each))][:SHOWN]
        rows = [
            (
                problem["problem_id"],
                name,
                f"{one['compared']}",
                _shown(one["mean"]),
                _shown(one["largest"]),
                f"{one['zero_there_missing_here']}",
                one["verdict"],
            )
            for problem in shown
            for name, one in problem["importances"].items()
            if one["compared"] or one["verdict"] != "not judged"
        ]
        return Finding(
            f"{'Already verified: ' if self.done else ''}{about['sentence']}",
            ("problem", "importance", "compared", "mean", "largest", "0 there, missing here", ""),
            rows,
            {
                "summary": self.folder / "verify.json",
                "per sentence": self.folder / "compared.parquet",
            },
            failed=not about["passed"],
        )


def verify(config: VerifyConfig) -> VerifyResult:
    """Write `verify.json` and `compared.parquet`, one row a sentence and importance.

    Killed, it goes on with the next problem. Raises BadInput where a problem has no rollouts or
    nothing published of it.
    """
    from whence.anchors.rollouts.opened import Index
    from whence.anchors.sentences import as_id
    from whence.text.embedding import embedding_identity

    index = Index.open(config.index)
    wanted = [as_id(each) for each in config.problem_ids]
    absent = [each for each in wanted if each not in index.problem_ids]
    if absent:
        raise BadInput(
            f"--problem-ids {absent[0]}: not in {index.path}; it has "
            f"{', '.join(index.problem_ids[:8])}{', …' if len(index.problem_ids) > 8 else ''}"
        )
    index = index.only(wanted) if wanted else index
    with open_run(
        config.output_dir,
        command="anchors verify",
        config=config,
        inputs={
            "index": index.path,
            "files": index.content(with_rollouts=True),
            "embedding_model": embedding_identity(config.embedding_model),
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            _write(config, index, run)
    return VerifyResult.read(config.output_dir, run.done)


def _write(config: VerifyConfig, index: Any, run: Run) -> None:
    import pandas as pd
    import pyarrow as pa

    from whence.anchors.labels.agreement import compare, table_of
    from whence.anchors.labels.measure import Recomputer
    from whence.anchors.labels.published import published
    from whence.anchors.sentences import ids_for_disk
    from whence.runs.atomic import whole_file
    from whence.runs.tables import write_parquet

    recompute = Recomputer(index, config, run.scratch / "problems")
    problems, tables = [], []
    for each in track(index.problem_ids, label="verifying", unit="problems"):
        problem = index.problem(each)
        if not problem.labelled:
            raise BadInput(
                f"{problem.place}: no chunks_labeled.json, so there is nothing to compare with; "
                "leave it out with --problem-ids"
            )
        table = table_of(problem, published(problem, "keep"), recompute(problem))
        tables.append(table)
        found = compare(table, config.tolerances())
        problems.append({"problem_id": each, "importances": found})
    whole = pd.concat(tables, ignore_index=True)
    overall = compare(whole, config.tolerances())
    whole["problem_id"] = ids_for_disk(whole["problem_id"].tolist())
    with whole_file(run.folder / "compared.parquet") as temporary:
        write_parquet(pa.Table.from_pandas(whole, preserve_index=False), temporary)
    verdicts = [one["verdict"] for each in problems for one in each["importances"].values()]
    failing = [each["problem_id"] for each in problems if differs(each)]
    judged = any(verdict in ("agrees", "differs") for verdict in verdicts)
    about = {
        "passed": judged and not failing,
        "sentence": _sentence(judged, failing, len(problems), overall, config),
        "tolerances": config.tolerances(),
        "overall": overall,
        "problems": problems,
    }
    write_json(run.folder / "verify.json", about)


def _sentence(
    judged: bool, failing: Sequence[str], total: int, overall: Mapping[str, Any], config: Any
) -> str:
    if not judged:
        return "Nothing could be judged: no sentence has an accuracy both published and recomputed."
    means = ", ".join(
        f"{name.removesuffix('_importance_accuracy')} {overall[name]['mean']:.4f}"
        for name in config.tolerances()
        if overall[name]["compared"]
    )
    if not failing:
        return (
            f"Published importances follow from the rollouts in all {total} problems "
            f"(mean difference: {means})."
        )
    return (
        f"Published importances do not follow from the rollouts in {len(failing)} of {total} "
        f"problems ({', '.join(failing[:5])}{', …' if len(failing) > 5 else ''}; mean difference: "
        f"{means})."
    )


def differs(problem: Mapping[str, Any]) -> bool:
    """Whether any judged importance of a problem is further off than it may be."""
    return any(one["verdict"] == "differs" for one in problem["importances"].values())


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
