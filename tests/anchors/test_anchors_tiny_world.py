"""From planted traces to a verdict on real activations, in a world where one can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whence.anchors.evaluate.cv import CvConfig, cv
from whence.anchors.features.extract import ExtractConfig, extract
from whence.anchors.make import MakeConfig, make
from whence.runs.replay import ReplayConfig, replay

PROBES = ("position_untrained", "position_baseline", "linear_probe")


def verdict(folder: Path, *, effect: float = 0.6, storage: str = "float32") -> dict[str, Any]:
    """metrics.json of leave-one-problem-out on 24 traces."""
    traces, features = folder / f"traces-{effect}", folder / f"features-{effect}-{storage}"
    make(MakeConfig(output_dir=traces, count=24, effect=effect))
    table = traces / "sentence_metadata.parquet"
    extract(ExtractConfig(metadata=table, model="tiny", storage_dtype=storage, output_dir=features))
    result = cv(
        CvConfig(
            metadata=table,
            features=features,
            probes=PROBES,
            anchor_percentile=70,
            shuffles=5,
            output_dir=folder / f"cv-{effect}-{storage}",
        )
    )
    return dict(result.metrics)


def against_position(metrics: dict[str, Any]) -> dict[str, Any]:
    (found,) = [
        each
        for each in metrics["comparisons"]
        if (each["arm"], each["control"]) == ("linear_probe", "position_untrained")
        and each["metric"] == "pr_auc"
    ]
    return dict(found)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tiny-world")
    return folder, verdict(folder)


def test_activations_know_more_than_place(planted: tuple[Path, dict[str, Any]]) -> None:
    _, metrics = planted
    found = against_position(metrics)
    assert found["interval"][0] > 0.05
    assert found["q"] < 0.05
    assert found["items"] == 24
    assert found["seeds"] == 0  # leave-one-problem-out of a linear probe has nothing random
    assert "beats position_untrained" in found["sentence"]
    assert metrics["tripwires"]["shuffled_labels"]["passed"] is True
    assert metrics["tripwires"]["memorisation"]["passed"] is True
    # what these noisy labels allow is above the probe, and below perfection
    ceiling = metrics["noise_ceiling"]["mean"]["pr_auc"]["mean"]
    assert metrics["cv"]["linear_probe"]["pr_auc"]["mean"] < ceiling < 1


def test_half_precision_on_disk_changes_no_conclusion(
    planted: tuple[Path, dict[str, Any]],
) -> None:
    folder, full = planted
    half = verdict(folder, storage="float16")
    assert half["model"] == full["model"]
    for one, other in zip(full["comparisons"], half["comparisons"], strict=True):
        assert (one["arm"], one["control"]) == (other["arm"], other["control"])
        assert other["effect"] == pytest.approx(one["effect"], abs=0.02)
        settled = [each["interval"][0] > 0 or each["interval"][1] < 0 for each in (one, other)]
        assert settled[0] == settled[1]


def test_runs_can_be_replayed(planted: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = planted
    for name in ("features-0.6-float32", "cv-0.6-float32"):
        again = replay(ReplayConfig(folder=folder / name))
        assert again.same, again.finding()


def test_labels_of_pure_noise_are_not_predicted(planted: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = planted
    metrics = verdict(folder, effect=0.0)
    assert against_position(metrics)["q"] > 0.05
    assert "beats" not in against_position(metrics)["sentence"]
    # and the ceiling says that there was nothing to win
    spearman = metrics["noise_ceiling"]["mean"]["spearman"]["mean"]
    assert spearman < 0.4
