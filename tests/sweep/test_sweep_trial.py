"""What a stage is said to cost, from small tasks that are run before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep_toy import toy_task

from whence.sweep.campaigns import trial
from whence.sweep.campaigns.extrapolate import expected
from whence.sweep.campaigns.trial import Sample, Tried, tried
from whence.sweep.campaigns.trial_process import Timing
from whence.sweep.price import priced
from whence.sweep.tasks import Resources, Task


def test_a_line_parts_what_any_task_costs_from_what_its_work_adds() -> None:
    timings = [
        Timing("fit", 1, 60.0, 500, first=True),  # imports
        Timing("fit", 10, 3.0, 300),
        Timing("fit", 30, 7.0, 500),
    ]
    found = expected(timings, [100, 200])
    # 1 s and 0.2 s a unit; 200 bytes and 10 a unit; the first paid 58.8 s for nothing of its work.
    assert found.seconds == pytest.approx(2 * 1.0 + 300 * 0.2)
    assert found.bytes == pytest.approx(2 * 200 + 300 * 10)
    assert found.start == pytest.approx(60 - 1.2)
    # Noise never makes more work cheaper, nor a task that does nothing cost less than nothing.
    falling = [Timing("fit", 10, 3.0), Timing("fit", 30, 2.0)]
    assert expected(falling, [100]).seconds == pytest.approx(2.5)
    steep = [Timing("fit", 10, 1.0), Timing("fit", 30, 9.0)]
    assert expected(steep, [100]).seconds == pytest.approx(25.0)
    alone = [Timing("fit", 10, 1.0)]
    assert expected(alone, [100, 50]).seconds == pytest.approx(15.0)


def test_samples_are_run_and_what_they_could_not_do_is_not_told(
    tmp_path: Path,
) -> None:
    def planned(*kinds: str) -> list[Task]:
        return [toy_task(tmp_path, 9, kind=kind, work=4.0) for kind in kinds]

    one, two = tmp_path / "one", tmp_path / "two"
    works = (1.0, 1.0, 2.0)
    slow = [
        toy_task(one, n, kind="slow", work=work, seconds=0.5 * work) for n, work in enumerate(works)
    ]
    quick = [toy_task(two, n, kind="quick", work=work) for n, work in enumerate(works)]
    bad = toy_task(two, 7, "raise", kind="bad")
    samples = [
        Sample("one", planned("slow"), slow, one),
        Sample("two", planned("quick", "bad"), [*quick, bad], two),
    ]
    found = tried(samples)
    assert set(found.seconds) == set(found.bytes) == {"slow", "quick"}
    assert 0.4 < found.seconds["slow"] < 1.0
    assert found.seconds["quick"] < 0.2
    assert found.bytes["quick"] > 0
    assert found.notes == ["the trial with two failed: ValueError: the first line"]


def test_a_trial_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "LONGEST", 6.0)
    waits = (0.0, 0.0, 600.0)
    small = [toy_task(tmp_path, n, seconds=wait) for n, wait in enumerate(waits)]
    found = tried([Sample("m", [toy_task(tmp_path, 9, work=5.0)], small, tmp_path)])
    assert found.seconds["toy"] < 1.0
    assert found.notes == ["the trial with m was ended after 6 seconds"]
    # No time at all is left for another model: nothing is said of a kind that both have.
    monkeypatch.setattr(trial, "TOGETHER", 0.0)
    none = tried([Sample("m", [toy_task(tmp_path, 9)], small, tmp_path)])
    assert (none.seconds, none.bytes) == ({}, {})
    assert none.notes == ["the trial with m was not made: those before it took 0 seconds"]


def test_what_asks_for_a_gpu_is_not_tried_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    planned = [toy_task(tmp_path, 9, resources=Resources(gpus=1.0))]
    found = tried([Sample("m", planned, [toy_task(tmp_path, 0)], tmp_path)])
    assert (found.seconds, len(found.notes)) == ({}, 1)
    assert "there is none here" in found.notes[0]


def test_modules_are_loaded_once_whatever_the_number_of_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(sample: Sample, longest: float) -> tuple[list[Timing], None]:
        took = {"small": 12.0, "large": 30.0}[sample.model]
        return [Timing("toy", 1, took + 1, first=True), Timing("toy", 1, 1.0)], None

    monkeypatch.setattr(trial, "_run", run)
    names = ("small", "large")
    samples = [Sample(name, [toy_task(tmp_path, 0)], [], tmp_path) for name in names]
    assert tried(samples).start == pytest.approx(30.0)
    assert tried(samples[:1]).start == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("counted", "seconds", "sizes", "told"),
    [
        (None, {"a": 1.0, "b": 2.0}, {"a": 10.0, "b": 1.0}, []),
        (None, {"a": 1.0}, {"a": 10.0}, ["seconds, of tasks of kind b;", "bytes on disk, of"]),
        (700, {"a": 1.0}, {}, ["seconds, of tasks of kind b;"]),
    ],
)
def test_totals_and_notes(
    tmp_path: Path, counted: Any, seconds: Any, sizes: Any, told: list[str]
) -> None:
    tasks = [toy_task(tmp_path, n, kind=kind, work=n) for n, kind in ((3, "a"), (5, "b"))]
    cost = {"bytes": counted, "notes": []}
    facts = priced(tasks, 2, cost, Tried(seconds, sizes, start=4.0, notes=["why"]))
    notes = facts["cost"]["notes"]
    assert all(note.startswith(start) for note, start in zip(notes, ["why", *told], strict=True))
    assert facts["seconds"] == (3 * 1.0 + 5 * 2.0 + 4.0 if "b" in seconds else None)
    assert facts["bytes_tried"] == (35.0 if "b" in sizes else None)
