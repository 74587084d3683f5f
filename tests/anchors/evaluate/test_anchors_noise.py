"""On labels that are pure noise no probe beats untrained position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whence.anchors.evaluate.comparisons import Arm, compare_with_baselines
from whence.anchors.evaluate.judge import by_problem
from whence.anchors.evaluate.material import Material
from whence.anchors.evaluate.out_of_fold import PLAIN, out_of_fold
from whence.anchors.evaluate.settings import ProbingConfig
from whence.anchors.probes.data import ProbeData
from whence.anchors.probes.registry import PROBES
from whence.anchors.targets import target_of

MakeTable = Callable[[int, int, np.random.Generator], pd.DataFrame]
CHEAP = ("position_untrained", "linear_probe", "activations_plus_position", "length_tag_baseline")


def false_findings(make_table: MakeTable, folder: Path, seed: int, problems: int) -> list[str]:
    """Sentences of comparisons in which a probe beats untrained position: all of them are wrong.

    Importances have heavy tails, as real ones do, and activations are noise.
    """
    rng = np.random.default_rng(seed)
    frame = make_table(problems, 40, rng)
    frame["importance_signed"] = rng.standard_t(3, size=len(frame)) * 0.05
    mean = rng.normal(size=(len(frame), 24)).astype(np.float32)
    config = ProbingConfig(metadata=folder / "x", output_dir=folder / "y", fixed=True)
    material = Material(
        config,
        ProbeData(frame, mean=mean),
        target_of(frame, config.target),
        tuple(PROBES[name] for name in CHEAP),
        {},
    )
    held_out = out_of_fold(material, "problems", folder / f"scores-{seed}")
    bench = material.bench(np.arange(len(frame)))
    arms = [
        Arm(
            name,
            PROBES[name].baseline,
            {None: by_problem(bench, held_out.scores[PLAIN, name][0], (5,), probability=False)},
        )
        for name in CHEAP
    ]
    found, _ = compare_with_baselines(arms, "pr_auc", draws=2000)
    against = [each for each in found if each.control == "position_untrained"]
    assert len(against) == 6
    return [
        each.sentence
        for each in against
        if each.interval is not None
        and each.interval[0] > 0
        and each.q is not None
        and each.q <= 0.05
    ]


def test_noise_is_hardly_ever_a_finding(make_table: MakeTable, tmp_path: Path) -> None:
    wrong = [false_findings(make_table, tmp_path, seed, problems=10) for seed in range(12)]
    assert sum(map(bool, wrong)) <= 2


@pytest.mark.slow
def test_on_noise_no_probe_beats_position_in_95_of_100_draws(
    make_table: MakeTable, tmp_path: Path
) -> None:
    wrong = [false_findings(make_table, tmp_path, seed, problems=20) for seed in range(100)]
    assert sum(map(bool, wrong)) <= 5
