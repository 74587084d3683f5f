"""Every command there is. A static table: reading it imports no instrument."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from whence.runs.finding import Finding


@dataclass(frozen=True)
class Command:
    """One command.

    config, run: "module:name" of its pydantic model and of the function that takes one.
    summary: one line. example: one command line that works, shown under `--help`.
    positional: the setting given without a flag, if any; "config" is the configuration file.
    """

    config: str
    run: str
    summary: str
    example: str
    positional: str | None = None


GROUPS = {
    "data": "which training examples made the model better at this",
    "tiny": "the built-in world: a small model, its data, and planted truth",
}

COMMANDS = {
    "demo": Command(
        config="whence.demo:DemoConfig",
        run="whence.demo:demo",
        summary="Run the whole training-data experiment on the tiny world, in minutes.",
        example="whence demo --output-dir runs/demo",
    ),
    "doctor": Command(
        config="whence.doctor:DoctorConfig",
        run="whence.doctor:doctor",
        summary="Say what this machine has, and prove that a model loads and pads correctly.",
        example="whence doctor --model tiny",
    ),
    "replay": Command(
        config="whence.runs.replay:ReplayConfig",
        run="whence.runs.replay:replay",
        summary="Run a finished run again from its record and compare every file.",
        example="whence replay runs/demo",
        positional="folder",
    ),
    "tiny make": Command(
        config="whence.tiny.make:MakeConfig",
        run="whence.tiny.make:make",
        summary="Write data of the tiny world: games, probes, traces or corpus.",
        example="whence tiny make --kind games --out runs/games",
    ),
    "tiny train": Command(
        config="whence.tiny.train:TrainConfig",
        run="whence.tiny.train:train",
        summary="Train the shipped tiny model again from its recipe.",
        example="whence tiny train --output-dir runs/tiny-model",
    ),
    "tiny path": Command(
        config="whence.tiny.where:PathConfig",
        run="whence.tiny.where:path",
        summary="Print the folder of the shipped tiny model.",
        example="whence tiny path",
    ),
    "data build": Command(
        config="whence.data.build:BuildConfig",
        run="whence.data.build:build",
        summary="Turn chats or prompt/completion rows into splits and a manifest.",
        example="whence data build --train-file train.jsonl --test-file test.jsonl "
        "--prompt-field question --completion-field answer --train-size 5000 "
        "--run-dir runs/gsm8k",
    ),
    "data finetune": Command(
        config="whence.data.finetune:FinetuneConfig",
        run="whence.data.finetune:finetune",
        summary="Finetune a LoRA adapter on one split of a manifest.",
        example="whence data finetune --manifest runs/gsm8k/manifest.json --base-model tiny "
        "--train-split train_base --output-dir runs/gsm8k/adapter",
    ),
    "data merge": Command(
        config="whence.data.merge:MergeConfig",
        run="whence.data.merge:merge",
        summary="Merge a LoRA adapter into its base model.",
        example="whence data merge --base-model tiny --adapter-path runs/gsm8k/adapter "
        "--output-dir runs/gsm8k/merged",
    ),
    "data score": Command(
        config="whence.data.score:ScoreConfig",
        run="whence.data.score:score",
        summary="Rank the pool's examples by how much their gradients help the query.",
        example="whence data score --manifest runs/gsm8k/manifest.json "
        "--adapter-path runs/gsm8k/adapter --subset-k 100 --output-dir runs/gsm8k/score",
    ),
    "data select": Command(
        config="whence.data.select:SelectConfig",
        run="whence.data.select:select",
        summary="Draw subsets from a ranking: top, window, random, matched random.",
        example="whence data select --scores runs/gsm8k/score "
        "--manifest runs/gsm8k/manifest.json --arm top:50 --arm random:50:after=100 "
        "--output-dir runs/gsm8k/arms",
    ),
    "data eval-loss": Command(
        config="whence.data.evaluate.loss:EvalLossConfig",
        run="whence.data.evaluate.loss:eval_loss",
        summary="Measure the loss on a split, item by item, with and without adapters.",
        example="whence data eval-loss --manifest runs/gsm8k/manifest.json --base-model tiny "
        "--adapter-path runs/gsm8k/adapter --output-json runs/gsm8k/loss.json",
    ),
    "data eval-words": Command(
        config="whence.data.evaluate.words:EvalWordsConfig",
        run="whence.data.evaluate.words:eval_words",
        summary="Let adapters guess words and compare them item by item.",
        example="whence data eval-words --manifest runs/games/manifest.json --base-model tiny "
        "--top-adapter runs/top --random-adapter runs/random --output-json runs/words.json",
    ),
    "data experiment": Command(
        config="whence.data.experiment:ExperimentConfig",
        run="whence.data.experiment:experiment",
        summary="Retrain on several subsets over several seeds and give a verdict.",
        example="whence data experiment examples/tiny-games/experiment.yaml",
        positional="config",
    ),
}


def load(place: str) -> Any:
    """Import "module:name"."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def run(command: Command, config: Any) -> Finding:
    """Call the command's function and say what it found."""
    function = cast("Callable[[Any], Any]", load(command.run))
    return cast("Finding", function(config).finding())
