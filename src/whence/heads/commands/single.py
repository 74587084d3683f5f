"""One model, one corpus, one battery, one output folder: what the direct commands share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from whence.errors import BadInput
from whence.heads.battery import Method, Positions
from whence.heads.corpora import Fields, read_corpus, read_split, split_beside
from whence.heads.reading import Reading
from whence.models.settings import Holding
from whence.runs.config import OutputConfig, not_identity, resolved
from whence.runs.jsonfile import write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    from whence.heads.battery import Battery
    from whence.heads.condition import ConditionResult
    from whence.heads.corpora import Row
    from whence.heads.prompts import Examples
    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded
    from whence.models.replay import Replay
    from whence.runs.store import Run

Part = Literal["all", "train", "val", "test"]


class HeadsConfig(Reading, Fields, Holding, OutputConfig):
    """What every direct `heads` command is given: a model, a corpus, and how to read it."""

    model: str = Field(description="Model: a Hugging Face folder, a hub id, or tiny.")
    corpus: Path = Field(description="JSONL with clean, corrupt, target and foil.")
    part: Part = Field(
        default="all", description="Which part of the corpus's split file to use, or all rows."
    )
    split: Path | None = Field(
        default=None, description="Split file; by default ../splits/<corpus>.split.json."
    )
    adapter: Path | None = Field(default=None, description="LoRA adapter to put on the model.")

    def inputs(self) -> dict[str, Any]:
        """What a record keeps: corpus and split by content, the model by weights or hub id."""
        from whence.models.load import model_source

        source = model_source(self.model)
        is_folder = Path(source).is_dir()
        return {
            "corpus": self.corpus,
            "split": self.split_file(),
            "model": Path(source) if is_folder else f"{source}@{self.revision or 'main'}",
            "adapter": self.adapter,
        }

    @contextmanager
    def opened(self, command: str, **inputs: Any) -> Iterator[Run]:
        """The run that this command fills; inputs: files beside model and corpus."""
        with open_run(
            self.output_dir,
            command=command,
            config=self,
            inputs={**self.inputs(), **inputs},
            overwrite=self.overwrite,
            seeds=self.seeds,
        ) as run:
            yield run

    def split_file(self) -> Path | None:
        """The split file in use, None where all rows are. Raises BadInput where there is none."""
        if self.part == "all":
            return None
        found = self.split or split_beside(self.corpus)
        if found is None:
            raise BadInput(
                f"--part {self.part}: no split file beside {self.corpus}; give --split, or make "
                "one with `whence heads corpora filter`"
            )
        return found

    def bench(self) -> Bench:
        """The model, taken apart and proved, and the corpus as it reads it.

        Raises BadInput where the model cannot be had or taken apart, and naming file and row.
        """
        from whence.models.anatomy import find_anatomy
        from whence.models.load import load_model
        from whence.models.replay import Replay, prove_replay

        loaded = load_model(
            self.model,
            adapter=self.adapter,
            revision=self.revision,
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
        )
        anatomy = find_anatomy(loaded.model)
        prove_replay(anatomy)
        return Bench(loaded, anatomy, Replay(anatomy), self._examples(loaded))

    def _examples(self, loaded: Loaded) -> Examples:
        from whence.heads.prompts import prepare

        rows = self.rows()
        try:
            return prepare(
                rows,
                loaded.tokenizer,
                prepend_bos=self.prepend_bos,
                metric_span=self.metric_span,
                max_seq_len=self.max_seq_len,
            )
        except BadInput as error:
            raise BadInput(f"{self.corpus}: {error}") from None

    def rows(self) -> list[Row]:
        """The corpus, or its part. Raises BadInput naming file and line."""
        fields = Fields(**{name: getattr(self, name) for name in Fields.model_fields})
        rows = read_corpus(self.corpus, fields)
        split = self.split_file()
        if split is None:
            return rows
        wanted = set(read_split(split, len(rows), self.corpus).part(self.part))
        return [row for row in rows if row.index in wanted]

    def reading(self) -> Reading:
        """How prompts are read, apart from everything else."""
        return Reading(**{name: getattr(self, name) for name in Reading.model_fields})


class AblationConfig(HeadsConfig):
    """What commands that ablate heads are given beside."""

    ablation: Method = Field(
        default="zero",
        description="What takes the place of a head's output: zero, its mean over prompts, or its "
        "output on another prompt.",
    )
    positions: str = Field(
        default="all",
        description="Tokens where it does: all, last_token, first, final_K, or a list as 0,2,-1.",
    )

    @field_validator("positions")
    @classmethod
    def _one_spelling(cls, value: str) -> str:
        return str(Positions(value))


@dataclass(frozen=True)
class Bench:
    """A model taken apart and the examples that it reads, loaded once for all a command does."""

    loaded: Loaded
    anatomy: Anatomy
    replay: Replay
    examples: Examples

    def run(self, config: HeadsConfig, battery: Battery, run: Run, label: str) -> ConditionResult:
        """Run `battery`; its shards are kept under `label` until the run is whole."""
        from whence.heads.condition import run_condition

        return run_condition(
            self.loaded,
            self.anatomy,
            self.examples,
            battery,
            config.reading(),
            run.scratch / "shards" / label.replace(" ", "-"),
            replay=self.replay,
            label=label,
        )


def measure(
    config: HeadsConfig,
    bench: Bench,
    battery: Battery,
    run: Run,
    *,
    label: str,
    notes: Mapping[str, Any] | None = None,
) -> ConditionResult:
    """Run `battery` and write tables, summary, heatmap, report and costs into `run.folder`.

    notes: what else the summary says.
    """
    from whence.heads.metrics import requested
    from whence.heads.outputs import write_condition, write_report
    from whence.heads.profile import COSTS, Profile

    metrics = requested(config.metrics, full_target=config.metric_span == "full_target")
    profile = Profile(bench)
    with profile.phase("interventions"):
        result = bench.run(config, battery, run, label)
    with profile.phase("tables"):
        # What an attempt cost is no part of what it found.
        told = {name: note for name, note in result.notes.items() if name not in COSTS}
        tables = write_condition(
            run.folder,
            replace(result, notes={**told, **(notes or {})}),
            run_id=run_id(label, config),
            condition=None,
            battery=resolved(battery),
            model=model_line(config.model, bench.loaded, bench.anatomy),
            metrics=metrics,
            corpus={"path": str(config.corpus.absolute()), "part": config.part},
        )
        write_report(run.folder, {"": tables})
    write_json(run.folder / "profile.json", profile.summary(result.notes))
    return result


def model_line(name: str, loaded: Loaded, anatomy: Anatomy) -> dict[str, Any]:
    """What a summary says of the model."""
    return {
        "name": name,
        "revision": loaded.revision,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "n_layers": anatomy.n_layers,
        "n_heads": anatomy.n_heads,
        "n_kv_heads": anatomy.n_kv_heads,
        "d_head": anatomy.d_head,
        "d_model": anatomy.d_model,
    }


def run_id(command: str, config: OutputConfig) -> str:
    """A name for what was computed: the command and a hash of the settings that matter."""
    settings: Mapping[str, Any] = resolved(config)
    kept = {name: settings[name] for name in settings if name not in not_identity(config)}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    return f"{command.replace(' ', '-')}-{digest[:10]}"
