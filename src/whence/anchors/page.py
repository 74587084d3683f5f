"""`whence anchors page`: traces with their sentences coloured by importance and by each probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from whence.errors import BadInput
from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    import pandas as pd

    from whence.report.anchors_trace import Shown
    from whence.report.page import Section

PAGE, FILE = "page.html", "page.json"
SENTENCE = ("chunk_idx", "chunk_text")


class PageConfig(OutputConfig):
    """Show traces, sentence by sentence, beside what probes make of them."""

    not_identity: ClassVar[frozenset[str]] = frozenset()

    predictions: Path = Field(
        description="Table of predictions: predictions.parquet of `whence anchors train` or `cv`, "
        "or the earlier study's predictions_seed_*.parquet."
    )
    traces: Path | None = Field(
        default=None, description="traces.jsonl; with it, what stood before the first sentence."
    )
    problems: Words = Field(
        default=(), description="Problems to show. Default: the table's first ones."
    )
    max_problems: int = Field(
        default=10, ge=1, description="Most problems to show when none are named."
    )
    score_columns: Words = Field(
        default=(), description="Score columns to show. Default: all of the table."
    )
    split: str | None = Field(
        default=None, description="Only rows of this split, as test. Default: all."
    )
    seed: int | None = Field(
        default=None, description="Training seed whose scores count. Default: the table's first."
    )


@dataclass(frozen=True)
class PageResult:
    """problems: shown, in order. left_out: how many more the table has. columns: shown."""

    output_dir: Path
    problems: Sequence[str]
    left_out: int
    columns: Sequence[str]
    sentences: int
    seed: int | None

    def finding(self) -> Finding:
        """Which traces the page shows, and what it does not."""
        shown, one = len(self.problems), len(self.problems) == 1
        said = (
            f"{shown} trace{'' if one else 's'}, {self.sentences:,} sentences, "
            f"{len(self.columns)} columns of scores"
        )
        if self.seed is not None:
            said += f", seed {self.seed}"
        if self.left_out:
            said += f"; {self.left_out} more in the table (--problems, --max-problems)"
        return Finding(headline=f"{said}.", files={"page": self.output_dir / PAGE})


def page(config: PageConfig) -> PageResult:
    """Write `page.html`.

    Raises BadInput for problems, columns, seeds or splits that the table does not have.
    """
    with open_run(
        config.output_dir,
        command="anchors page",
        config=config,
        inputs={"predictions": config.predictions, "traces": config.traces},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _work(config, run.folder)
    told = read_json(config.output_dir / FILE)
    return PageResult(config.output_dir, **told)


def trace_sections(
    frame: pd.DataFrame,
    problems: Sequence[str],
    columns: Sequence[str],
    prompts: dict[str, str] | None = None,
) -> list[Section]:
    """A section a problem, from rows of one seed. columns: those of scores."""
    from whence.report.anchors_trace import trace_section

    shown = _shown(frame, columns)
    sections = []
    for problem in problems:
        own = frame[frame["problem_id"] == problem]
        own = own.sort_values("chunk_idx", kind="stable").reset_index(drop=True)
        prompt = (prompts or {}).get(problem)
        sections.append(trace_section(own, shown, f"Problem {problem}", prompt))
    return sections


def _work(config: PageConfig, folder: Path) -> None:
    from whence.anchors.predictions import of_seed, read_predictions, score_columns
    from whence.report.anchors_trace import masthead
    from whence.report.page import render_page

    path = config.predictions
    frame, seed = of_seed(read_predictions(path), config.seed, path)
    frame = _rows(config, frame)
    columns = list(config.score_columns or score_columns(frame))
    available = list(dict.fromkeys(frame["problem_id"]))
    problems = _problems(config, available)
    prompts = _prompts(config.traces, frame, problems) if config.traces else {}
    sections = trace_sections(frame, problems, columns, prompts)
    own = frame[frame["problem_id"].isin(problems)]
    lead = (
        f"{len(own):,} sentences of {len(problems)} of the {len(available)} traces in "
        f"{path.name}{f', training seed {seed}' if seed is not None else ''}. Beside each sentence "
        "its measured importance and what every probe gave it; click a heading to sort."
    )
    probes = "what a probe says" if len(columns) == 1 else f"what {len(columns)} probes say"
    title = f"Which sentences matter, and {probes}"
    render_page(title, sections, folder / PAGE, masthead=masthead(title, lead, sections))
    told = {
        "problems": problems,
        "left_out": 0 if config.problems else len(available) - len(problems),
        "columns": columns,
        "sentences": len(own),
        "seed": seed,
    }
    write_json(folder / FILE, told)


def _rows(config: PageConfig, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows to show. Raises BadInput for a column that is absent and a sentence twice."""
    from whence.anchors.predictions import need

    path = config.predictions
    for column in SENTENCE:
        need(frame, column, path)
    for column in config.score_columns:
        need(frame, column, path, "--score-columns")
    if config.split is not None:
        need(frame, "split", path, "--split")
        found = sorted({str(value) for value in frame["split"]})
        if config.split not in found:
            raise BadInput(f"{path}: --split {config.split}: its splits are {', '.join(found)}")
        frame = frame[frame["split"] == config.split]
    twice = frame.duplicated(["problem_id", "chunk_idx"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise BadInput(
            f"{path}: problem {row['problem_id']}: sentence {row['chunk_idx']} occurs twice; "
            "choose one --split, or a table with one row a sentence and seed"
        )
    return frame


def _problems(config: PageConfig, available: Sequence[str]) -> list[str]:
    from whence.anchors.sentences import as_id

    if not config.problems:
        return list(available[: config.max_problems])
    asked = list(dict.fromkeys(as_id(each) for each in config.problems))
    absent = [each for each in asked if each not in available]
    if absent:
        some = ", ".join(available[:10]) + (", …" if len(available) > 10 else "")
        raise BadInput(
            f"{config.predictions}: --problems {absent[0]}: no such problem; it has {some}"
        )
    return asked


def _shown(frame: pd.DataFrame, columns: Sequence[str]) -> list[Shown]:
    from whence.anchors.predictions import probe_of
    from whence.report.anchors_trace import Shown
    from whence.report.notation import words

    measured = []
    if "importance_signed" in frame.columns and frame["importance_signed"].notna().any():
        measured.append(Shown("importance_signed", "importance", signed=True))
    elif "importance_score" in frame.columns and frame["importance_score"].notna().any():
        measured.append(Shown("importance_score", "importance"))
    return [*measured, *(Shown(name, words(probe_of(name))) for name in columns)]


def _prompts(path: Path, frame: pd.DataFrame, problems: Sequence[str]) -> dict[str, str]:
    """Problem → the text before its first sentence, for those traces that the file has."""
    from whence.anchors.traces import read_traces

    texts = {trace.problem_id: trace.text for trace in read_traces(path)}
    found = {}
    for problem in problems:
        own = frame[frame["problem_id"] == problem].sort_values("chunk_idx", kind="stable")
        at = texts.get(problem, "").find(str(own["chunk_text"].iloc[0]).strip())
        if at > 0 and (before := texts[problem][:at].strip()):
            found[problem] = before
    return found
