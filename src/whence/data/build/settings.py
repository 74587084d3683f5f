"""What `whence data build` is told, and what a preset says where nothing was told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from whence.data.sources.mix import parse_sources
from whence.errors import BadInput
from whence.runs.config import Config

DEFAULT_DATASET = "HuggingFaceTB/smoltalk"
DEFAULT_CONFIG = "smol-magpie-ultra"
PLAYPEN_DATASET = "colab-potsdam/playpen-data"
PLAYPEN_CONFIG = "interactions"
# Rows read of a hub data set for each row needed: what filters and strata have to choose from.
OVERSAMPLING = 4
SPARE_ROWS = 1_000

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "smoltalk": {},
    "playpen": {
        "run_dir": Path("runs/simple_wordguesser_v1"),
        "dataset_name": PLAYPEN_DATASET,
        "dataset_config": PLAYPEN_CONFIG,
        "game": "taboo",
        "role": "WordGuesser",
        "train_size": None,
        "query_size": None,
        "eval_size": None,
        "query_fraction": 0.4,
        "stratify_by": (),
    },
}
"""What a preset says of settings that were not given; smoltalk is the defaults themselves."""


class BuildConfig(Config):
    """Make the splits of an experiment: train_base, score_pool, attr_query and eval."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"run_dir", "overwrite"})

    run_dir: Path = Field(
        default=Path("runs/smoltalk_v1"),
        description="Folder to write manifest.json and data/ into. What else is in it stays. "
        "With --preset playpen: runs/simple_wordguesser_v1.",
    )
    preset: Literal["smoltalk", "playpen"] | None = Field(
        default=None,
        description="Other values of what is not given. smoltalk: those shown here. playpen: all "
        "played games of one role of colab-potsdam/playpen-data, validation shared out between "
        "query and eval by --query-fraction 0.4.",
    )
    dataset_name: str = Field(
        default=DEFAULT_DATASET,
        description="Hub data set, or a folder with train and test (Parquet, JSONL, or saved by "
        "the datasets library). With --preset playpen also a folder of clembench episodes.",
    )
    dataset_config: str = Field(
        default=DEFAULT_CONFIG, description="Configuration of the data set, where it has several."
    )
    dataset_revision: str | None = Field(
        default=None, description="Branch, tag or commit of a hub data set. Default: its newest."
    )
    game: str | None = Field(
        default=None, description="Game to keep, with --preset playpen. Default there: taboo."
    )
    role: str | None = Field(
        default=None,
        description="Role whose turns are learned, with --preset playpen. Default there: "
        "WordGuesser.",
    )
    instances: Path | None = Field(
        default=None,
        description="The game's instances file (clembench's in/instances.json), which says the "
        "target word of every game; with --preset playpen.",
    )
    source: tuple[str, ...] = Field(
        default=(),
        description="A source to mix, in place of a data set or file; may be given several times. "
        "NAME=PLACE, where PLACE is a file, folder or hub id, and NAME goes into the column "
        "`source`; with options behind it, as in made=rows.jsonl:use=train:cap=500. There are use= "
        "(train, eval or both), cap= (most rows to draw of each of its splits), config=, "
        "revision=, messages=, prompt=, completion= (columns), preset=playpen.",
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
    train_size: int | None = Field(
        default=8000, ge=1, description="Rows to train on (train_base); none takes all."
    )
    query_size: int | None = Field(
        default=500,
        ge=1,
        description="Rows that say what to learn; none takes what eval leaves. Default with "
        "--query-fraction: none.",
    )
    eval_size: int | None = Field(
        default=500,
        ge=1,
        description="Rows to evaluate on; none takes what query leaves. Default with "
        "--query-fraction: none.",
    )
    query_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share the held-out rows out by group_id, this share of the groups to query "
        "and the rest to eval. With --disjoint-by, what has a value in common stays together too.",
    )
    pool_size: int | None = Field(
        default=None,
        ge=1,
        description="Rows to score, disjoint from train_base. Default: train_base is the pool.",
    )
    seed: int = Field(default=42, ge=0, description="Seed of the draws.")
    stratify_by: tuple[str, ...] | None = Field(
        default=None,
        description="Columns whose make-up every split keeps. Default: category, where present; "
        "with --source, source and category.",
    )
    disjoint_by: str | None = Field(
        default=None,
        description="Column of which no value in eval is in query, train_base or score_pool. Rows "
        "without a value are left out.",
    )
    word_disjoint: bool = Field(default=False, description="The same as --disjoint-by target_word.")
    max_conversation_tokens: int = Field(
        default=2000,
        ge=1,
        description="Leave out longer rows. Counted by the column conversation_tokens where there "
        "is one, else by the tokenizer of --base-model, else in words.",
    )
    max_tokens_per_row: int | None = Field(
        default=None,
        ge=2,
        description="Cut longer rows: the beginning of the prompt goes, the completion stays "
        "whole. Counted by the tokenizer of --base-model, else in words, and done before "
        "--max-conversation-tokens is looked at.",
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
    near_duplicates: bool = Field(
        default=True,
        description="Look for near-duplicates between splits, and write near_duplicates.json.",
    )
    near_duplicate_threshold: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Jaccard similarity of word 5-grams from which two rows are near-duplicates.",
    )
    drop_near_duplicates: bool = Field(
        default=False,
        description="Train on no row that is a near-duplicate of a query or eval row; they are "
        "counted.",
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

    @model_validator(mode="before")
    @classmethod
    def _what_was_not_given(cls, given: Any) -> Any:
        """A preset, and --query-fraction, change the defaults of what was not given."""
        if not isinstance(given, Mapping):
            return given
        filled = {**PRESETS.get(str(given.get("preset")), {}), **given}
        if filled.get("query_fraction") is not None:
            filled = {"query_size": None, "eval_size": None, **filled}
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> BuildConfig:
        sources = parse_sources(self.source)
        games = self.preset == "playpen" or any(one.preset == "playpen" for one in sources)
        for flag, value in (
            ("--game", self.game), ("--role", self.role), ("--instances", self.instances)
        ):  # fmt: skip
            if value is not None and not games:
                raise BadInput(f"{flag} {value}: is for games; add --preset playpen")
        if self.test_file and not self.train_file:
            advice = (
                f"write it as one, as in --source held={self.test_file}:use=eval"
                if sources
                else "needs a --train-file beside it"
            )
            raise BadInput(f"--test-file: {advice}")
        if sources and self.train_file:
            raise BadInput(
                f"--train-file: with --source, write it as one, as in --source "
                f"mine={self.train_file}"
            )
        if sources and self.dataset_name not in (DEFAULT_DATASET, PLAYPEN_DATASET):
            raise BadInput(
                f"--dataset-name: with --source, write it as one, as in --source "
                f"mine={self.dataset_name}"
            )
        for flag, value, unset, option in (
            ("--dataset-name", self.dataset_name, (DEFAULT_DATASET, PLAYPEN_DATASET), None),
            ("--dataset-config", self.dataset_config, (DEFAULT_CONFIG, PLAYPEN_CONFIG), "config"),
            ("--dataset-revision", self.dataset_revision, (None,), "revision"),
        ):
            if value not in unset and self.train_file:
                raise BadInput(f"{flag} {value}: says nothing about --train-file; leave one out")
            if value not in unset and sources and option:
                raise BadInput(
                    f"{flag} {value}: with --source, write it as its option :{option}={value}"
                )
        if sources and self.instances and not any(one.preset == "playpen" for one in sources):
            raise BadInput(
                "--instances: no source is read as games; give the one that is its option "
                ":preset=playpen"
            )
        if self.train_file and games:
            raise BadInput(
                "--train-file: --preset playpen reads --dataset-name; give the folder there"
            )
        if self.query_size is None and self.eval_size is None and self.query_fraction is None:
            raise BadInput(
                "--query-size none, --eval-size none: one must be a number, or say by "
                "--query-fraction how the held-out rows are shared out"
            )
        if self.word_disjoint and self.disjoint_by not in (None, "target_word"):
            raise BadInput(
                f"--word-disjoint, --disjoint-by {self.disjoint_by}: only one column can be kept "
                "apart"
            )
        if self.drop_near_duplicates and not self.near_duplicates:
            raise BadInput("--drop-near-duplicates: needs --near-duplicates, which is switched off")
        return self

    @property
    def apart(self) -> str | None:
        """The column that --disjoint-by or --word-disjoint names."""
        return "target_word" if self.word_disjoint else self.disjoint_by
