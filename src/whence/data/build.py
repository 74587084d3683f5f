"""From any chat or prompt/completion data to splits and a manifest: `whence data build`.

    sources → prompt + completion → filters → stratified, disjoint splits → checks → manifest

The defaults are the user's SmolTalk experiment (§14 of the notes). Two builds with the same seed
and the same data write the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from whence.data.assemble import Built, Recipe, make_splits
from whence.data.sources.dataset import local_folder, read_dataset
from whence.data.sources.local import read_files
from whence.data.sources.rows import Fields
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.models.load import load_tokenizer
from whence.runs.config import Config
from whence.runs.finding import Finding
from whence.runs.fingerprint import hash_path
from whence.runs.manifest import Manifest, Split, load_manifest, write_manifest, write_split
from whence.runs.store import open_run

DEFAULT_DATASET = "HuggingFaceTB/smoltalk"
DEFAULT_CONFIG = "smol-magpie-ultra"
# Rows read of a hub data set for each row needed: what filters and strata have to choose from.
OVERSAMPLING = 4
SPARE_ROWS = 1_000


class BuildConfig(Config):
    """Make the splits of an experiment: train_base, score_pool, attr_query and eval."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"run_dir", "overwrite"})

    run_dir: Path = Field(
        default=Path("runs/smoltalk_v1"),
        description="Folder to write manifest.json and data/ into. What else is in it stays.",
    )
    dataset_name: str = Field(
        default=DEFAULT_DATASET,
        description="Hub data set, or a folder with train and test (Parquet, JSONL, or saved by "
        "the datasets library).",
    )
    dataset_config: str = Field(
        default=DEFAULT_CONFIG, description="Configuration of the data set, where it has several."
    )
    dataset_revision: str | None = Field(
        default=None, description="Branch, tag or commit of a hub data set. Default: its newest."
    )
    train_file: Path | None = Field(
        default=None,
        description="JSONL, Parquet or JSON file to read instead of a data set.",
    )
    test_file: Path | None = Field(
        default=None,
        description="File for query and eval rows. Default: they are taken out of the train file.",
    )
    prompt_field: str | None = Field(
        default=None, description="Column with the prompt, for data that are not chats."
    )
    completion_field: str | None = Field(
        default=None, description="Column with the completion, for data that are not chats."
    )
    messages_field: str = Field(
        default="messages",
        description="Column with chats. The last assistant turn becomes the completion, the turns "
        "before it the prompt.",
    )
    train_size: int = Field(default=8000, ge=1, description="Rows to train on (train_base).")
    query_size: int = Field(default=500, ge=1, description="Rows that say what to learn.")
    eval_size: int = Field(default=500, ge=1, description="Rows to evaluate on.")
    pool_size: int | None = Field(
        default=None,
        ge=1,
        description="Rows to score, disjoint from train_base. Default: train_base is the pool.",
    )
    seed: int = Field(default=42, ge=0, description="Seed of the draws.")
    stratify_by: tuple[str, ...] | None = Field(
        default=None,
        description="Columns whose make-up every split keeps. Default: category, where present.",
    )
    max_conversation_tokens: int = Field(
        default=2000,
        ge=1,
        description="Leave out longer rows. Counted by the column conversation_tokens where there "
        "is one, else by the tokenizer of --base-model, else in words.",
    )
    min_reward_model_score: float | None = Field(
        default=None, description="Leave out rows with a lower reward_model_score."
    )
    base_model: str | None = Field(
        default=None, description="Model whose tokenizer counts tokens where the data do not say."
    )
    withhold: tuple[str, ...] = Field(
        default=(),
        description="Columns to keep out of the splits, in withheld.parquet, where no method sees "
        "them: planted truth, for example.",
    )
    drop_empty: bool = Field(
        default=False,
        description="Leave out rows with an empty prompt or completion instead of refusing them. "
        "Chats without a usable last turn are always left out. Both are counted.",
    )
    max_unanswered_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Refuse chats of which a larger share ends without an assistant turn.",
    )
    max_source_rows: int | None = Field(
        default=None,
        ge=0,
        description="Read at most this many rows of each split of a hub data set, from its start; "
        f"0 reads all. Default: {OVERSAMPLING} times the rows asked for, plus {SPARE_ROWS:,}.",
    )
    overwrite: bool = Field(
        default=False, description="Replace an earlier build in the same folder."
    )


@dataclass(frozen=True)
class BuildResult:
    """manifest: the written manifest. done_before: nothing had to be done."""

    manifest: Manifest
    done_before: bool

    def finding(self) -> Finding:
        """The splits with their sizes, and what the filters left out."""
        kept = self.manifest.raw["filter_stats"]
        read = sum(stats["rows_read"] for stats in kept.values())
        usable = sum(stats["kept"] for stats in kept.values())
        files = {"manifest": self.manifest.path}
        withheld = self.manifest.path.parent / "withheld.parquet"
        if withheld.is_file():
            files["withheld columns"] = withheld
        return Finding(
            headline=f"{'Already built' if self.done_before else 'Built'}: "
            f"{usable:,} of {read:,} rows could be drawn.",
            columns=("split", "rows", "file"),
            rows=[
                (split.name, f"{split.rows:,}", self.manifest.raw["splits"][split.name]["path"])
                for split in self.manifest.splits.values()
            ],
            files=files,
        )


def build(config: BuildConfig) -> BuildResult:
    """Read, filter, split, check and write.

    Writes `manifest.json`, `data/<split>.parquet` and, for withheld columns, `withheld.parquet`
    into `config.run_dir`. Raises BadInput, leaving nothing behind, for data that cannot be read,
    lack a column, or have too few rows for the sizes asked for.
    """
    if config.test_file and not config.train_file:
        raise BadInput("--test-file: needs a --train-file beside it")
    hub_id = f"{config.dataset_name}@{config.dataset_revision or 'newest'}"
    folder = None if config.train_file else local_folder(config.dataset_name)
    inputs = {
        "train_file": config.train_file,
        "test_file": config.test_file,
        "dataset": None if config.train_file else folder or hub_id,
    }
    with open_run(
        config.run_dir,
        command="data build",
        config=config,
        inputs=inputs,
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            sources, origin = _read(config)
            fields = Fields(
                config.prompt_field,
                config.completion_field,
                config.messages_field,
                config.max_unanswered_share,
                config.drop_empty,
            )
            recipe = Recipe(
                train=config.train_size,
                query=config.query_size,
                evaluation=config.eval_size,
                pool=config.pool_size,
                seed=config.seed,
                stratify_by=config.stratify_by,
                max_tokens=config.max_conversation_tokens,
                min_reward=config.min_reward_model_score,
                tokenizer=load_tokenizer(config.base_model) if config.base_model else None,
                withhold=config.withhold,
            )
            _write(run.folder, make_splits(sources, fields, recipe), origin)
    return BuildResult(load_manifest(config.run_dir / "manifest.json"), run.done)


def _read(config: BuildConfig) -> tuple[list[Source], dict[str, Any]]:
    """The sources, and what the manifest says of where they are from."""
    if config.train_file:
        sources = read_files(config.train_file, config.test_file)
        paths = [config.train_file, *filter(None, [config.test_file])]
        return sources, {
            "name": config.train_file.name,
            "config": None,
            "files": {
                source.split: {"name": source.file, "sha256": hash_path(path)}
                for source, path in zip(sources, paths, strict=True)
            },
        }
    return read_dataset(
        config.dataset_name,
        config.dataset_config,
        default_config=DEFAULT_CONFIG,
        revision=config.dataset_revision,
        limits={
            "train": _limit(config, config.train_size + (config.pool_size or 0)),
            "test": _limit(config, config.query_size + config.eval_size),
        },
    )


def _limit(config: BuildConfig, rows: int) -> int | None:
    if config.max_source_rows is not None:
        return config.max_source_rows or None
    return OVERSAMPLING * rows + SPARE_ROWS


def _write(folder: Path, built: Built, origin: Mapping[str, Any]) -> None:
    splits = {}
    for name, table in built.splits.items():
        shared = name == "score_pool" and built.sections["split_policy"]["score_pool_is_train_base"]
        path = folder / "data" / f"{'train_base' if shared else name}.parquet"
        rows = table.num_rows if shared else write_split(table, path)
        splits[name] = Split(name, path, rows)
    if built.withheld is not None:
        write_split(built.withheld, folder / "withheld.parquet")
    write_manifest(folder / "manifest.json", splits, {"dataset": origin, **built.sections})
