"""Fits and checks that evaluations share: found again by content, and equal to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whence.anchors.evaluate import ceiling, shuffled
from whence.anchors.evaluate.shared import rows_content, shared_fit, shared_value
from whence.anchors.evaluate.train import TrainConfig, train
from whence.anchors.probes.data import Labels, Ragged
from whence.anchors.probes.probe import Fitting
from whence.anchors.probes.registry import PROBES
from whence.anchors.probes.settings import ProbeSettings

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
    # Of what a seed can change, also seed, sizes, and what early stopping looks at.
    seeded, held = PROBES["mlp_probe"], (data, Labels(y, True))
    small = ProbeSettings(mlp_max_iter=2, mlp_hidden_dim=2)
    assert count(seeded, data, labels, Fitting(small, fixed=True)) == 7
    assert count(seeded, data, labels, Fitting(small, fixed=True, seed=1)) == 8
    assert count(seeded, data, labels, Fitting(small, fixed=True, validation=held)) == 9
    larger = small.model_copy(update={"mlp_hidden_dim": 3})
    assert count(seeded, data, labels, Fitting(larger, fixed=True)) == 10
    # And every other thing that some probe reads.
    vertical = np.linspace(0, 1, len(data), dtype=np.float32)[:, None]
    reader = PROBES["vertical_attention_plus_position"]
    assert count(reader, replace(data, vertical=vertical), labels, fitting) == 11
    assert count(reader, replace(data, vertical=vertical[::-1]), labels, fitting) == 12
    binary = Labels((y > np.median(y)).astype(np.float64), True)
    assert count(probe, data, binary, fitting) == 13
    assert count(probe, data, Labels(binary.y, False), fitting) == 14
    start = np.arange(len(data))
    tokens = [
        Ragged(np.full((len(data), 2), value, np.float32), start, np.ones_like(start))
        for value in (0.0, 0.5)
    ]
    with_tokens = [rows_content(replace(data, tokens=each), ("tokens",)) for each in tokens]
    assert with_tokens[0] != with_tokens[1]
    for column, value in (("token_count", 3.0), ("chunk_text", "a"), ("function_tag", "b")):
        other = replace(data, frame=data.frame.assign(**{column: value}))
        assert rows_content(other, ()) != rows_content(data, ())


def test_what_a_disk_has_spoilt_is_made_again(make_study: MakeStudy, tmp_path: Path) -> None:
    from whence.anchors.features.store import load
    from whence.anchors.sentences import read_sentences
    from whence.anchors.targets import target_of

    study = make_study(8, 12, signal=0.5)
    frame = read_sentences(study.metadata)
    data = load(study.features).data(frame)
    labels = Labels(target_of(frame, "importance_abs"), True)
    given = (tmp_path / KEPT, PROBES["linear_probe"], data, labels, Fitting(fixed=True))
    scores = shared_fit(*given).score(data)
    value = shared_value(tmp_path / KEPT, lambda: {"of": "it"}, lambda: {"x": 0.1})
    whole = {path: path.read_bytes() for path in (tmp_path / KEPT).iterdir()}
    assert len(whole) == 2
    for share in (0, 0.5, 0.9):
        for path, content in whole.items():
            path.write_bytes(content[: int(share * len(content))])
        assert np.array_equal(shared_fit(*given).score(data), scores)
        assert shared_value(tmp_path / KEPT, lambda: {"of": "it"}, lambda: {"x": 0.1}) == value
        assert {path: path.read_bytes() for path in (tmp_path / KEPT).iterdir()} == whole
