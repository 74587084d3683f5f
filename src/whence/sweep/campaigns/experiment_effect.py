"""What decides an experiment, and which settings cannot change it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from whence.data.arms import parse_arms
from whence.data.experiment.rank import needs_adapter
from whence.data.experiment.settings import ExperimentConfig
from whence.data.rankings import asked_rankings, needs_queries, ranking_inputs
from whence.runs.config import resolved
from whence.runs.ranking import scores_file
from whence.sweep.campaigns.campaign import Effect
from whence.sweep.campaigns.contents import Contents, deciding
from whence.text.embedding import TFIDF

if TYPE_CHECKING:
    from whence.runs.manifest import Manifest

PLACES = (
    "manifest", "build", "base_model", "scores", "scoring_adapter", "rankings", "planted.file",
    "task_include_path", "eval",
)  # fmt: skip
"""Settings that say where inputs are: these count by their content."""


def effect_of(
    config: ExperimentConfig, manifest: Manifest, metric: str, contents: Contents
) -> Effect:
    """metric: the one that is ranked. Raises BadInput for inputs that are not there."""
    idle = _idle(config, metric)
    settings = deciding(config, [*PLACES, *idle])
    if config.match_on is None and "match_on" not in idle:
        settings["match_on"] = manifest.raw.get("split_policy", {}).get("stratify_by")
    asked = asked_rankings(parse_arms(config.arms))
    given = {name: path for name, path in config.rankings.items() if name in asked}
    splits = [config.pool_split, config.eval_split]
    splits += [config.query_split] if config.scores is None else []
    splits += [config.scoring_split] if needs_adapter(config) else []
    inputs: dict[str, Any] = {
        **{f"split {name}": manifest.split(name).path for name in splits},
        "base_model": config.identity(),
        "scores": config.scores and scores_file(config.scores),
        "scoring_adapter": None if "scoring_adapter" in idle else config.scoring_adapter,
        "planted": config.planted.file if config.planted and config.planted.oracle else None,
        "tasks": config.task_include_path,
        **ranking_inputs(
            asked, given, manifest, config.query_split, config.embedding_model or TFIDF
        ),
    }
    held = {name: contents.of(value) for name, value in inputs.items() if value is not None}
    return Effect({"settings": settings, "inputs": held}, idle)


def _idle(config: ExperimentConfig, metric: str) -> dict[str, str]:
    """Dotted setting → why it cannot change an arm's numbers here."""
    arms = parse_arms(config.arms)
    asked = asked_rankings(arms)
    idle = {
        "question": "it is the head of the report",
        "compare": "it orders comparisons; arms are what is ranked",
        "cells": "cells are the same, whoever makes them",
    }
    if config.scores is not None:
        told = "the scores are given"
        idle |= _section("score", resolved(config.score), told)
        if not needs_queries(asked, config.rankings):
            idle["query_split"] = told
        if config.start_from == "base":
            idle["scoring_adapter"] = told
    if not needs_adapter(config):
        told = "no scoring adapter is trained"
        idle |= dict.fromkeys(("scoring_split", "scoring_epochs", "scoring_seed"), told)
        for name in ("scoring_lora", "scoring_optim"):
            idle |= _section(name, getattr(config, name), told)
    else:
        idle["scoring_optim.num_train_epochs"] = "scoring_epochs says it"
    if "embedding" not in asked or "embedding" in config.rankings:
        idle["embedding_model"] = "no arm is drawn by embedding"
    if not any(arm.kind == "matched_random" for arm in arms):
        idle["match_on"] = "no arm is matched"
    if config.planted is None or config.planted.oracle is None:
        planted = {} if config.planted is None else resolved(config.planted)
        idle |= _section("planted", planted, "without an oracle it is told, and trains nothing")
    if "bench" not in config.judges:
        names = ("task_include_path", "task_limit", "task_batch_size")
        idle |= dict.fromkeys(names, "bench judges nothing")
    if "words" not in config.judges:
        idle["max_new_tokens"] = "words are not judged"
    elif metric == "loss":
        idle["max_new_tokens"] = "the loss is ranked, and no answer is in it"
    return idle


def _section(name: str, keys: Mapping[str, Any], why: str) -> dict[str, str]:
    return dict.fromkeys([name, *(f"{name}.{key}" for key in keys)], why)
