"""Numbers that a study has problem by problem, known before it runs: a sweep that ranks by another
would run to its end for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.runs.validation import nearest

if TYPE_CHECKING:
    from whence.anchors.probes.probe import Probe
    from whence.anchors.study import StudyConfig

ALWAYS = ("pr_auc", "pr_auc_trapezoid", "spearman")
RESIDUAL = ("residual_pr_auc", "residual_spearman")


def check_metric(config: StudyConfig, probes: Sequence[Probe], metric: str) -> None:
    """Raise BadInput where the study has no such metric per problem, with the setting that would
    make it."""
    if metric == "primary" or metric in metrics_of(config, probes):
        return
    depth = metric.removeprefix("top_").removesuffix("_recall")
    if metric == f"top_{depth}_recall" and depth.isdecimal():
        told = f"training.k_values is {list(config.training.k_values)}; put {depth} in it"
    elif metric in RESIDUAL and config.split.strategy != "lopo_cv":
        told = "residuals are judged problem by problem under split.strategy lopo_cv alone"
    elif metric in RESIDUAL:
        told = "training.residualize_against is none; give position or position_plus_text"
    elif metric == "brier":
        told = "it is of trained probes, under labels.target_mode anchor_binary"
    else:
        known = ["primary", *metrics_of(config, probes)]
        told = f"no such metric{nearest(metric, known)}; there are {', '.join(known)}"
    raise BadInput(f"rank.metric {metric}: {told}")


def metrics_of(config: StudyConfig, probes: Sequence[Probe]) -> list[str]:
    """Names of `whence.anchors.evaluate.judge.problem_metrics` that the study will have."""
    training = config.training
    found = [*ALWAYS, *(f"top_{depth}_recall" for depth in training.k_values)]
    binary = config.labels.target_mode == "anchor_binary"
    if binary and any(probe.trained for probe in probes):
        found.append("brier")
    if config.split.strategy == "lopo_cv" and training.residualize_against != "none":
        found += RESIDUAL
    return found
