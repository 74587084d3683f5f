"""Fits and checks that evaluations share: found again by content, and equal to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whence.anchors.evaluate import ceiling, shuffled
from whence.anchors.evaluate.shared import shared_fit
from whence.anchors.evaluate.train import TrainConfig, train
from whence.anchors.probes.data import Labels
from whence.anchors.probes.probe import Fitting
from whence.anchors.probes.registry import PROBES

MakeStudy = Callable[..., Any]
KEPT = "shared"


def test_metrics_are_the_same_and_the_second_evaluation_computes_nothing_again(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(8, 12, signal=0.5)

    def judged(name: str, **given: Any) -> Any:
        config = TrainConfig(
            metadata=study.metadata,
            features=study.features,
            splits=study.splits,
            output_dir=tmp_path / name,
            shuffles=5,
            draws=200,
            page=False,
            probes=("position_baseline", "text_only_baseline", "linear_probe", "mlp_probe"),
            **{"fixed": True, **given},
        )
        return train(config).metrics

    plain = judged("plain")
    first = judged("first", shared=tmp_path / KEPT)
    assert first == plain
    assert not (tmp_path / "first" / "report.html").exists()
    files = {path.name for path in (tmp_path / KEPT).iterdir()}

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr(ceiling, "noise_ceiling", never)
    monkeypatch.setattr(shuffled, "shuffled_labels", never)
    for probe in PROBES.values():
        if probe.trained:
            monkeypatch.setattr(type(probe), "fit", never)
    assert judged("second", shared=tmp_path / KEPT) == plain
    assert {path.name for path in (tmp_path / KEPT).iterdir()} == files
    with pytest.raises(AssertionError, match="computed again"):
        judged("other", shared=tmp_path / KEPT, fixed=False)


def test_whatever_decides_a_fit_makes_another(make_study: MakeStudy, tmp_path: Path) -> None:
    from dataclasses import replace

    from whence.anchors.features.store import load
    from whence.anchors.sentences import read_sentences
    from whence.anchors.targets import target_of

    study = make_study(8, 12, signal=0.5)
    frame = read_sentences(study.metadata)
    data = load(study.features).data(frame)
    y = target_of(frame, "importance_abs")
    probe, labels, fitting = PROBES["linear_probe"], Labels(y, True), Fitting(fixed=True)
    assert data.mean is not None

    def count(*given: Any) -> int:
        shared_fit(tmp_path / KEPT, *given)
        return len(list((tmp_path / KEPT).iterdir()))

    assert count(probe, data, labels, fitting) == 1
    assert count(probe, data, Labels(y.copy(), True), Fitting(fixed=True, seed=9)) == 1
    assert count(probe, data, labels, Fitting()) == 2
    assert count(probe, data, Labels(y + 1e-12, True), fitting) == 3
    nudged = data.mean.copy()
    nudged[0, 0] = np.nextafter(nudged[0, 0], np.float32(np.inf))
    assert count(probe, replace(data, mean=nudged), labels, fitting) == 4
    renamed = frame.assign(problem_id=frame["problem_id"] + "x")
    assert count(probe, replace(data, frame=renamed), labels, fitting) == 5
    position = PROBES["position_baseline"]
    assert count(position, data, labels, fitting) == 6
    assert count(position, replace(data, mean=nudged), labels, fitting) == 6
