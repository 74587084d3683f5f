"""The flags of `whence games generate`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from whence.data.games.checkpoints import ROWS_FOLDER
from whence.data.games.obtain import CLEMBENCH
from whence.runs.config import OutputConfig, Words


class GenerateConfig(OutputConfig):
    """Let a describer and guessers play taboo, and write their games as training rows."""

    not_identity: ClassVar[frozenset[str]] = frozenset(
        {
            "base_url",
            "checkpoint_every",
            "concurrency",
            "device",
            "max_attempts",
            "max_seconds_per_game",
            "request_timeout",
            "resume",
        }
    )
    read_by_content: ClassVar[frozenset[str]] = frozenset({"instances"})

    backend: Literal["openai", "local"] = Field(
        default="openai",
        description="Who answers: an OpenAI-compatible endpoint, or models that run here.",
    )
    base_url: str = Field(
        default="https://openrouter.ai/api/v1",
        description="Address of the endpoint. Its key is read from OPENROUTER_API_KEY or "
        "OPENAI_API_KEY; an endpoint on this machine needs none.",
    )
    model: str | None = Field(
        default=None,
        description="Local play: the model of every part that is not named: a Hugging Face folder, "
        "a hub id, a LoRA adapter folder, or tiny.",
    )
    describer_model: str | None = Field(
        default=None,
        description="Who describes: the endpoint's name for it, or in local play a place as for "
        "--model, or NAME=PLACE.",
    )
    guesser_models: tuple[str, ...] = Field(
        default=(), description="Who guesses; one or more, given as the describer is."
    )
    instances: str = Field(
        default=CLEMBENCH,
        description="Words to be guessed and forbidden: a file in the format of clembench's "
        "taboo/in/instances.json, or its address.",
    )
    games_per_guesser: int = Field(
        default=60,
        ge=1,
        description="Games of each guesser. All play the same words; when the words are through, "
        "they come again.",
    )
    max_turns: int | None = Field(
        default=None,
        ge=1,
        description="Guesses in one game. Default: what the instances file says, else 3.",
    )
    seed: int = Field(default=42, description="Seed of the words' order and of every request.")
    concurrency: int = Field(default=8, ge=1, description="Games played at the same time.")
    checkpoint_every: int = Field(
        default=1,
        ge=1,
        description="Games after which the disk is made to hold them; a killed process has "
        "written every finished game anyway, a machine without power may lose those since.",
    )
    strict_taboo_rules: bool = Field(
        default=True,
        description="A clue that breaks the rules, after its repairs, loses the game. Otherwise "
        "it is passed on, and what it breaks is written down.",
    )
    save_hf_dataset: bool = Field(
        default=False,
        description=f"Write the rows also as a saved Hugging Face data set, {ROWS_FOLDER}.",
    )
    resume: bool = Field(
        default=False,
        description="Go on with an unfinished run. The same command does so without being told; "
        "where there is nothing to go on with, it starts.",
    )
    describer_temperature: float = Field(
        default=0.7, ge=0, description="Sampling temperature of clues; 0 is greedy."
    )
    guesser_temperature: float = Field(
        default=0.2, ge=0, description="Sampling temperature of guesses; 0 is greedy."
    )
    describer_max_output_tokens: int = Field(
        default=40, ge=1, description="Tokens that a clue may have."
    )
    guesser_max_output_tokens: int = Field(
        default=16, ge=1, description="Tokens that a guess may have."
    )
    describer_repair_attempts: int = Field(
        default=2, ge=0, description="Further tries after a clue that is empty or breaks the rules."
    )
    guesser_repair_attempts: int = Field(
        default=1, ge=0, description="Further tries after an answer without one guessed word."
    )
    placeholder_guess_words: Words = Field(
        default=("guess", "word"),
        description="Guesses that only repeat the form of an answer and do not count, unless one "
        "is the target word.",
    )
    request_timeout: float = Field(
        default=90, gt=0, description="Seconds that one request may take."
    )
    max_attempts: int = Field(
        default=6,
        ge=1,
        description="Times that a request is sent when the server is busy, fails or is silent.",
    )
    max_requests_per_game: int = Field(
        default=40, ge=2, description="Requests that one game may send, repeated ones included."
    )
    max_seconds_per_game: float = Field(
        default=900, gt=0, description="Seconds that one game may take."
    )
    dtype: str = Field(
        default="auto",
        description="Local play: float32, bfloat16, float16, stored; auto is bfloat16 on a GPU "
        "that computes in it, else float32.",
    )
    device: str = Field(
        default="auto",
        description="Local play: cpu, cuda, cuda:N, mps; auto takes the first there is.",
    )
    trust_remote_code: bool = Field(
        default=False, description="Local play: run Python code that comes with a model."
    )
