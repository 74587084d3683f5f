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
    "games": "synthetic word games: models play, their games become training rows",
    "heads corpora": "probe corpora: prompts in pairs, with a target and a foil",
    "heads": "which attention heads and layers carry or suppress it",
    "sae": "which features of a sparse autoencoder go with attribution",
    "anchors": "which sentences of its own reasoning decide the answer",
    "sweep": "campaigns over many configurations of any command, here or on a cluster",
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
        summary="Write data of the tiny world: games, players, probes, traces or corpus.",
        example="whence tiny make --kind games --out runs/games",
    ),
    "tiny grade": Command(
        config="whence.tiny.grade:GradeConfig",
        run="whence.tiny.grade:grade",
        summary="Hold generated games of the tiny world against the world: planted truth.",
        example="whence tiny grade --rows runs/synthetic/rows_wordguesser.jsonl --out runs/graded",
    ),
    "tiny train": Command(
        config="whence.tiny.train:TrainConfig",
        run="whence.tiny.train:train",
        summary="Train the shipped tiny model again from its recipe.",
        example="whence tiny train --output-dir runs/tiny-model",
    ),
    "tiny sae": Command(
        config="whence.tiny.sae.recipe:SaeConfig",
        run="whence.tiny.sae.recipe:train_saes",
        summary="Train the shipped SAEs of the tiny model again, and examine them.",
        example="whence tiny sae --output-dir runs/tiny-sae",
    ),
    "tiny path": Command(
        config="whence.tiny.where:PathConfig",
        run="whence.tiny.where:path",
        summary="Print the folder of the shipped tiny model, or those of its SAEs.",
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
    "data stability": Command(
        config="whence.data.stability:StabilityConfig",
        run="whence.data.stability:stability",
        summary="Say how far rankings agree when queries or projections are drawn anew.",
        example="whence data stability --scores runs/gsm8k/score runs/gsm8k/score-query "
        "--manifest runs/gsm8k/manifest.json --output-dir runs/gsm8k/stability",
    ),
    "data select": Command(
        config="whence.data.select:SelectConfig",
        run="whence.data.select:select",
        summary="Draw subsets from a ranking: top, window, random, matched random.",
        example="whence data select --scores runs/gsm8k/score "
        "--manifest runs/gsm8k/manifest.json --arm top:50 --arm random:50:after=100 "
        "--output-dir runs/gsm8k/arms",
    ),
    "data classify": Command(
        config="whence.data.classify:ClassifyConfig",
        run="whence.data.classify:classify",
        summary="Train a text encoder to tell top rows from the rest: do words suffice?",
        example="whence data classify --manifest runs/gsm8k/manifest.json "
        "--scores runs/gsm8k/score --top-k 100 --output-dir runs/gsm8k/words",
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
    "data eval-bench": Command(
        config="whence.data.evaluate.bench:EvalBenchConfig",
        run="whence.data.evaluate.bench:eval_bench",
        summary="Judge a model and adapters by tasks of lm-evaluation-harness.",
        example="whence data eval-bench --base-model tiny --adapter-path runs/gsm8k/adapter "
        "--tasks ifeval,arc_easy --output-dir runs/gsm8k/bench",
    ),
    "data experiment": Command(
        config="whence.data.experiment:ExperimentConfig",
        run="whence.data.experiment:experiment",
        summary="Retrain on several subsets over several seeds and give a verdict.",
        example="whence data experiment examples/tiny-games/experiment.yaml",
        positional="config",
    ),
    "data cell": Command(
        config="whence.data.experiment.one_cell:CellConfig",
        run="whence.data.experiment.one_cell:data_cell",
        summary="Train and judge one arm of an experiment under one seed, by itself.",
        example="whence data cell examples/tiny-games/experiment.yaml --build null "
        "--manifest runs/tiny-games/data --scores runs/scores --arm top --seed 0 "
        "--output-dir runs/cells/top-0",
        positional="config",
    ),
    "games generate": Command(
        config="whence.data.games.generate:GenerateConfig",
        run="whence.data.games.generate:generate",
        summary="Let models play taboo through an endpoint or here, and write rows to train on.",
        example="whence games generate --backend local --model tiny "
        "--instances taboo/in/instances.json --games-per-guesser 20 --output-dir runs/synthetic",
    ),
    "sae extract": Command(
        config="whence.sae.extract:ExtractConfig",
        run="whence.sae.extract:extract",
        summary="Encode every row by sparse autoencoders: which features, how strongly.",
        example="whence sae extract --manifest runs/gsm8k/manifest.json --model-name tiny "
        "--sae-path tiny --output-dir runs/gsm8k/features",
    ),
    "heads corpora make": Command(
        config="whence.heads.corpora.make:MakeConfig",
        run="whence.heads.corpora.make:make",
        summary="Write facts, negation, counterfactual and logic corpora of the tiny world.",
        example="whence heads corpora make --output-dir runs/probes",
    ),
    "heads corpora check": Command(
        config="whence.heads.corpora.check:CheckConfig",
        run="whence.heads.corpora.check:check",
        summary="Look for what makes a corpus measure something else than it seems to.",
        example="whence heads corpora check runs/probes/corpora/facts.jsonl --tokenizer tiny",
        positional="corpus",
    ),
    "heads corpora filter": Command(
        config="whence.heads.corpora.filter:FilterConfig",
        run="whence.heads.corpora.filter:filter_corpora",
        summary="Keep rows whose target and foil are single tokens, and draw new splits.",
        example="whence heads corpora filter runs/probes/corpora/facts.jsonl --tokenizer tiny "
        "--suffix tiny --output-dir runs/probes-tiny",
        positional="corpus",
    ),
    "heads corpora balance": Command(
        config="whence.heads.corpora.balance:BalanceConfig",
        run="whence.heads.corpora.balance:balance",
        summary="Make every answer equally frequent, drop duplicates, and draw a new split.",
        example="whence heads corpora balance runs/probes/corpora/negation.jsonl "
        "--output-dir runs/probes-balanced",
        positional="corpus",
    ),
    "heads sweep": Command(
        config="whence.heads.commands.sweep:SweepConfig",
        run="whence.heads.commands.sweep:sweep",
        summary="Ablate every head in turn: what does each do to the answer?",
        example="whence heads sweep --model tiny --corpus runs/probes/corpora/facts.jsonl "
        "--output-dir runs/facts-heads",
    ),
    "heads pairs": Command(
        config="whence.heads.commands.pairs:PairsConfig",
        run="whence.heads.commands.pairs:pairs",
        summary="Ablate pairs among the strongest heads: which act together?",
        example="whence heads pairs --model tiny --corpus runs/probes/corpora/facts.jsonl "
        "--top 6 --output-dir runs/facts-pairs",
    ),
    "heads partial": Command(
        config="whence.heads.commands.partial:PartialConfig",
        run="whence.heads.commands.partial:partial",
        summary="Ablate a set of heads and restore one: how much comes back?",
        example="whence heads partial --model tiny --corpus runs/probes/corpora/facts.jsonl "
        "--heads 2:0 2:1 3:1 --output-dir runs/facts-partial",
    ),
    "heads patch": Command(
        config="whence.heads.commands.patch:PatchConfig",
        run="whence.heads.commands.patch:patch",
        summary="Put one prompt's activations into its partner's run, layer by layer.",
        example="whence heads patch --model tiny --corpus runs/probes/corpora/facts.jsonl "
        "--granularity layer_resid --positions last_token --output-dir runs/facts-patch",
    ),
    "heads screen": Command(
        config="whence.heads.commands.screen:ScreenConfig",
        run="whence.heads.commands.screen:screen",
        summary="Estimate every head, node and pair by gradients; measure the strongest exactly.",
        example="whence heads screen --model tiny --corpus runs/probes/corpora/facts.jsonl "
        "--output-dir runs/facts-screen",
    ),
    "heads ov": Command(
        config="whence.heads.ov.report:OvConfig",
        run="whence.heads.ov.report:ov",
        summary="Say in tokens what heads write: mean OV output and OV circuit.",
        example="whence heads ov --model tiny --corpus runs/probes/corpora/facts.jsonl "
        "--heads 0:2 1:1 --output-dir runs/facts-ov",
    ),
    "heads ov-compare": Command(
        config="whence.heads.ov.compare:OvCompareConfig",
        run="whence.heads.ov.compare:ov_compare",
        summary="Compare what heads write across models and conditions.",
        example="whence heads ov-compare runs/facts-ov/ov.json runs/logic-ov/ov.json",
        positional="files",
    ),
    "heads inspect": Command(
        config="whence.heads.inspect.command:InspectConfig",
        run="whence.heads.inspect.command:inspect",
        summary="Show where heads look, before and after others are ablated.",
        example="whence heads inspect --model tiny --corpus runs/probes/corpora/facts.jsonl "
        "--heads 2:0 3:1 --ablate 0:1 --row 0 3 --output-dir runs/facts-attention",
    ),
    "heads run": Command(
        config="whence.heads.run:RunConfig",
        run="whence.heads.run:run_plan",
        summary="Run a battery on one corpus or several, as a configuration file says.",
        example="whence heads run examples/heads/conditions.json --corpora runs/probes/corpora "
        "--model tiny --output-dir runs/conditions",
        positional="plan",
    ),
    "heads rebuild": Command(
        config="whence.heads.rebuild:RebuildConfig",
        run="whence.heads.rebuild:rebuild",
        summary="Put runs made one by one together, as conditions of one.",
        example="whence heads rebuild runs/conditions/conditions/facts "
        "runs/conditions/conditions/counterfactual --output-dir runs/together",
        positional="runs",
    ),
    "sae contrast": Command(
        config="whence.sae.contrast.command:ContrastConfig",
        run="whence.sae.contrast.command:contrast",
        summary="Compare the top attributed rows with the rest: statistics and features.",
        example="whence sae contrast --scores runs/gsm8k/score --sae-dir runs/gsm8k/features "
        "--top-k 100 --output-dir runs/gsm8k/contrast",
    ),
    "sae predict": Command(
        config="whence.sae.predict:PredictConfig",
        run="whence.sae.predict:predict",
        summary="Predict attribution from features, beside what words and length can.",
        example="whence sae predict --scores runs/gsm8k/score --sae-dir runs/gsm8k/features "
        "--output-dir runs/gsm8k/predicted",
    ),
    "sae validate": Command(
        config="whence.sae.validate.command:ValidateConfig",
        run="whence.sae.validate.command:validate",
        summary="Compare predictions with reward, difficulty, quality, category and length.",
        example="whence sae validate --predictions runs/gsm8k/predicted "
        "--fields reward_model_score,difficulty,length --output-dir runs/gsm8k/validated",
    ),
    "sae localize": Command(
        config="whence.sae.localize.command:LocalizeConfig",
        run="whence.sae.localize.command:localize",
        summary="Show features in the tokens, turns and spans that they are active at.",
        example="whence sae localize --sae-dir runs/features --contrast runs/contrast --top 5 "
        "--output-dir runs/localized",
    ),
    "anchors make": Command(
        config="whence.anchors.make:MakeConfig",
        run="whence.anchors.make:make",
        summary="Write traces of the tiny world whose decisive sentences are planted.",
        example="whence anchors make --output-dir runs/traces",
    ),
    "anchors index": Command(
        config="whence.anchors.rollouts.index:IndexConfig",
        run="whence.anchors.rollouts.index:index",
        summary="List the problems of a rollout data set, draw some, and split them.",
        example="whence anchors index --root math-rollouts --num-problems 20 "
        "--output-dir runs/index",
    ),
    "anchors labels": Command(
        config="whence.anchors.labels.command:LabelsConfig",
        run="whence.anchors.labels.command:labels",
        summary="Write every sentence's importance with its standard error.",
        example="whence anchors labels --index runs/index --output-dir runs/labels",
    ),
    "anchors verify": Command(
        config="whence.anchors.labels.verify:VerifyConfig",
        run="whence.anchors.labels.verify:verify",
        summary="Recompute published importances from their rollouts and compare.",
        example="whence anchors verify --index runs/index --output-dir runs/verify",
    ),
    "anchors spans": Command(
        config="whence.anchors.spans.command:SpansConfig",
        run="whence.anchors.spans.command:spans",
        summary="Locate every sentence in its trace, in characters and tokens, and check it.",
        example="whence anchors spans --traces runs/traces/traces.jsonl --model tiny --check "
        "--output-dir runs/spans",
    ),
    "anchors extract": Command(
        config="whence.anchors.features.extract:ExtractConfig",
        run="whence.anchors.features.extract:extract",
        summary="Capture the activations of sentences, one forward pass a trace.",
        example="whence anchors extract --metadata runs/traces/sentence_metadata.parquet "
        "--model tiny --layers quartiles --pooling mean,tokens --output-dir runs/features",
    ),
    "anchors storage": Command(
        config="whence.anchors.features.storage:StorageConfig",
        run="whence.anchors.features.storage:storage",
        summary="Say how many bytes an extraction would take, before it runs.",
        example="whence anchors storage --metadata runs/traces/sentence_metadata.parquet "
        "--model tiny --layers all --pooling mean,tokens",
    ),
    "anchors receivers": Command(
        config="whence.anchors.receivers:ReceiversConfig",
        run="whence.anchors.receivers:receivers",
        summary="Rank attention heads by how much they narrow in on single sentences.",
        example="whence anchors receivers --traces runs/traces/traces.jsonl --model tiny "
        "--proximity 1 --output-dir runs/receivers",
    ),
    "anchors train": Command(
        config="whence.anchors.evaluate.train:TrainConfig",
        run="whence.anchors.evaluate.train:train",
        summary="Train probes on one split of problems and judge them on the rest.",
        example="whence anchors train --metadata runs/traces/sentence_metadata.parquet "
        "--splits runs/traces/splits.json --probes position_baseline,text_only_baseline "
        "--output-dir runs/anchor-probes",
    ),
    "anchors cv": Command(
        config="whence.anchors.evaluate.cv:CvConfig",
        run="whence.anchors.evaluate.cv:cv",
        summary="Judge probes by cross-validation over problems, against every baseline.",
        example="whence anchors cv --metadata runs/traces/sentence_metadata.parquet "
        "--features runs/features --folds problems --probes position_untrained,linear_probe "
        "--output-dir runs/cv",
    ),
    "anchors predict": Command(
        config="whence.anchors.probes.predict:PredictConfig",
        run="whence.anchors.probes.predict:predict",
        summary="Score the sentences of new traces with a saved probe.",
        example="whence anchors predict --probe runs/anchor-probes/probes/linear_probe "
        "--model tiny --input runs/traces/traces.jsonl --output-dir runs/scored",
    ),
    "anchors aggregate": Command(
        config="whence.anchors.evaluate.aggregate:AggregateConfig",
        run="whence.anchors.evaluate.aggregate:aggregate",
        summary="Put several probe runs together: tables, intervals, a README block.",
        example="whence anchors aggregate runs/anchor-probes --output-dir runs/together",
        positional="runs",
    ),
    "anchors defer": Command(
        config="whence.anchors.defer.command:DeferConfig",
        run="whence.anchors.defer.command:defer",
        summary="Choose which sentences a probe labels alone and which go to rollouts.",
        example="whence anchors defer --predictions runs/anchor-probes/predictions.parquet "
        "--score-column score_linear_probe --objective budget --deferral-budget 0.2 "
        "--output runs/deferral.json",
    ),
    "anchors page": Command(
        config="whence.anchors.page:PageConfig",
        run="whence.anchors.page:page",
        summary="Show traces with sentences coloured by importance and by each probe.",
        example="whence anchors page --predictions runs/anchor-probes/predictions.parquet "
        "--output-dir runs/page",
    ),
    "anchors run": Command(
        config="whence.anchors.study:StudyConfig",
        run="whence.anchors.study:study",
        summary="Labels, activations, probes and tables of one study, from one file.",
        example="whence anchors run examples/anchors/study.yaml --output-dir runs/study",
        positional="config",
    ),
    "sweep plan": Command(
        config="whence.sweep.plan:PlanConfig",
        run="whence.sweep.plan:plan",
        summary="Say what a stage of a sweep will run, share and cost, and check all of it.",
        example="whence sweep plan examples/anchors-sweep/sweep.yaml --output-dir runs/sweep",
        positional="config",
    ),
    "sweep run": Command(
        config="whence.sweep.run:RunConfig",
        run="whence.sweep.run:run_sweep",
        summary="Run what was planned, here or on a Ray cluster; a killed sweep goes on.",
        example="whence sweep run runs/sweep --workers 2",
        positional="sweep",
    ),
    "sweep summarize": Command(
        config="whence.sweep.summarize.command:SummarizeConfig",
        run="whence.sweep.summarize.command:summarize",
        summary="Rank configurations, and judge the best on data that did not choose it.",
        example="whence sweep summarize runs/sweep --stage stage1",
        positional="sweep",
    ),
    "sweep gate": Command(
        config="whence.sweep.gate.command:GateConfig",
        run="whence.sweep.gate.command:gate",
        summary="Say on one page whether a sweep may be released; the exit code says it too.",
        example="whence sweep gate runs/sweep",
        positional="sweep",
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
