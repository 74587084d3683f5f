"""What an experiment is: data, a ranking, arms, seeds, and how each arm is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from whence.data.build import BuildConfig
from whence.data.score.settings import ScoreSettings
from whence.data.train import LoraSettings, OptimSettings
from whence.errors import BadInput
from whence.models.settings import ModelSettings
from whence.runs.config import Config, OutputConfig, Words
from whence.runs.validation import explained

Judge = Literal["words", "loss", "bench"]


class PlantedSettings(Config):
    """Truth planted in the pool and withheld from every method; the report alone sees it."""

    file: Path = Field(description="Table with row_id and the withheld column.")
    column: str = Field(default="kind", description="The withheld column.")
    useful: tuple[str, ...] = Field(
        default=("useful",), description="Values that mark rows worth training on."
    )
    oracle: int | None = Field(
        default=None,
        ge=1,
        description="Rows of an extra arm drawn from the useful ones: what perfect knowledge gets.",
    )


class ExperimentConfig(ModelSettings, OutputConfig):
    """Rank a pool, train on what each arm takes from it, over several seeds, and compare."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"cells"})

    question: str = Field(
        default="Does attribution pick better training data than chance?",
        description="What is asked, for the head of the report.",
    )
    manifest: Path | None = Field(
        default=None, description="Manifest of `whence data build`; or give `build`."
    )
    build: BuildConfig | None = Field(
        default=None,
        description="Settings of `whence data build`, run first if needed; --overwrite holds for "
        "it too.",
    )
    arms: tuple[str, ...] = Field(
        default=("top:500", "matched_random:of=top"),
        min_length=1,
        description="What to train on: `top:K`, `bottom:K`, `window:A-B`, `random:K[:after=R]`, "
        "`matched_random[:of=ARM][:overlap=yes]`, `full`, each with a name if wanted "
        "(`mine=top:300`); what has ranks may end in `:by=RANKING`.",
    )
    rankings: dict[str, Path] = Field(
        default={},
        description="Rankings that arms may name with `by=`, as in predictor=runs/predicted: each "
        "a folder with scores.parquet, or a table with row_id and score. Without being given there "
        "are attribution, length, loss, bm25, embedding, and column:NAME of the pool.",
    )
    embedding_model: str | None = Field(
        default=None,
        description="Model of the embedding ranking: a sentence-transformers model or any Hugging "
        "Face encoder (hub id or folder), tiny, or tfidf, the default.",
    )
    compare: tuple[str, ...] = Field(
        default=(),
        description="Comparisons to put first, each as ARM/CONTROL. Without asking, every arm is "
        "compared with its matched_random, with a random arm of its own size, and with the base.",
    )
    seeds: tuple[int, ...] = Field(
        default=(0, 1, 2, 3, 4),
        min_length=1,
        description="Each seed draws the random arms anew and trains every arm once.",
    )
    scores: Path | None = Field(
        default=None, description="Ranking made earlier by `whence data score`; default: make it."
    )
    scoring_adapter: Path | None = Field(
        default=None,
        description="Adapter at which gradients are taken; default: train one on `scoring_split`.",
    )
    scoring_split: str = Field(
        default="train_base", description="Split on which the scoring adapter is trained."
    )
    scoring_epochs: float = Field(
        default=1.0, gt=0, description="Passes over that split for the scoring adapter."
    )
    scoring_seed: int | None = Field(
        default=None, description="Seed of the scoring adapter; default: the first of `seeds`."
    )
    scoring_lora: dict[str, Any] = Field(
        default={}, description="Keys of `lora` that are otherwise in the scoring adapter."
    )
    scoring_optim: dict[str, Any] = Field(
        default={}, description="Keys of `optim` that are otherwise in its training."
    )
    start_from: Literal["base", "scoring_adapter"] = Field(
        default="base", description="What every arm continues from."
    )
    pool_split: str = Field(default="score_pool", description="Rows that are ranked.")
    query_split: str = Field(default="attr_query", description="Rows that say what is wanted.")
    eval_split: str = Field(default="eval", description="Rows on which arms are judged.")
    judges: tuple[Judge, ...] = Field(
        default=("loss",),
        min_length=1,
        description="loss: nats per supervised token. words: the word after GUESS: is right. "
        "bench: `tasks` of lm-evaluation-harness.",
    )
    eval: tuple[Judge, ...] | None = Field(
        default=None,
        description="In place of `judges`, whatever they are, as in --eval bench --tasks ifeval.",
    )
    tasks: Words = Field(
        default=(), description="Tasks of lm-evaluation-harness, where bench judges."
    )
    task_include_path: Path | None = Field(
        default=None, description="Folder of further task files (YAML) in the harness's format."
    )
    task_limit: int | None = Field(
        default=None, ge=1, description="Documents of each task, from its first; default: all."
    )
    task_batch_size: int = Field(
        default=8, ge=1, description="Requests of a task answered at once."
    )
    match_on: tuple[str, ...] | None = Field(
        default=None,
        description="Columns that matched random matches besides length; default: the columns that "
        "the data was stratified by.",
    )
    max_length: int = Field(
        default=2048,
        ge=2,
        description="Tokens a row may have, in scoring, training and evaluation alike.",
    )
    eval_batch_tokens: int = Field(
        default=8192, ge=1, description="Padded tokens in an evaluation batch."
    )
    max_new_tokens: int = Field(default=16, ge=1, description="Longest answer, where words judge.")
    score: ScoreSettings = Field(default=ScoreSettings(), description="How rows are scored.")
    lora: LoraSettings = Field(default=LoraSettings(), description="The adapter of every arm.")
    optim: OptimSettings = Field(default=OptimSettings(), description="The training of every arm.")
    planted: PlantedSettings | None = Field(
        default=None, description="Planted truth, where there is any."
    )
    cells: tuple[Path, ...] = Field(
        default=(),
        description="Folders of `whence data cell` to take over instead of training; each must be "
        "what this experiment would have made.",
    )

    @model_validator(mode="before")
    @classmethod
    def _eval_takes_the_place_of_judges(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("eval") is None:
            return given
        return {**given, "judges": given["eval"], "eval": None}

    @field_validator("score")
    @classmethod
    def _one_max_length(cls, score: ScoreSettings, known: ValidationInfo) -> ScoreSettings:
        """Scoring cuts rows where training does: gradients of other rows would be ranked."""
        length = known.data.get("max_length", score.max_length)
        if "max_length" in score.model_fields_set and score.max_length != length:
            raise BadInput("score.max_length: set max_length itself; it holds for every step")
        return score.model_copy(update={"max_length": length})

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        if (self.manifest is None) == (self.build is None):
            given = "neither is" if self.manifest is None else "both are"
            raise BadInput(f"manifest, build: {given} given; give one, and only one")
        if len(set(self.seeds)) < len(self.seeds):
            raise BadInput("seeds: one is given twice; a repeated seed is no replication")
        if ("bench" in self.judges) != bool(self.tasks):
            raise BadInput(
                "judges: bench needs tasks, as in --tasks ifeval,arc_easy"
                if not self.tasks
                else f"tasks {', '.join(self.tasks)}: judges does not name bench; add it"
            )
        if len(set(self.tasks)) < len(self.tasks):
            raise BadInput("tasks: one is given twice")
        self.scoring_training()
        if "words" in self.judges and self.max_length <= self.max_new_tokens:
            raise BadInput(
                f"max_length {self.max_length}: leaves no room for a prompt beside "
                f"max_new_tokens {self.max_new_tokens}"
            )
        return self

    def scoring_training(self) -> tuple[LoraSettings, OptimSettings, int]:
        """Shape, training and seed of the scoring adapter that the experiment trains.

        Raises BadInput for keys that there are not.
        """
        found: list[Any] = []
        for name, over in (("lora", self.scoring_lora), ("optim", self.scoring_optim)):
            own = getattr(self, name)
            try:
                found.append(type(own).model_validate({**dict(own), **over}))
            except ValidationError as error:
                raise BadInput(f"scoring_{name}: {explained(error, type(own))}") from None
        lora, optim = found
        optim = optim.model_copy(update={"num_train_epochs": self.scoring_epochs})
        return lora, optim, self.seeds[0] if self.scoring_seed is None else self.scoring_seed
