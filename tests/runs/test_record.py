"""The record: what differs between two runs, what a run cost, what it was made with."""

from __future__ import annotations

import os
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from whence.runs.config import Config
from whence.runs.record import begin, changed_inputs, differences, end, read_record, write_record


class Inner(Config):
    rate: float = 0.1
    names: tuple[str, ...] = ("a",)


class Toy(Config):
    k: int | None = 3
    text: str = "short"
    inner: Inner = Inner()


def record(config: Toy = Toy(), seeds: tuple[int, ...] = (0,), **inputs: object):  # noqa: B008
    return begin("data toy", Path("/o"), config, inputs, seeds)


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    assert differences(record(rows=tmp_path / "a"), record(rows=tmp_path / "b")) == []


def test_every_difference_is_named(tmp_path: Path) -> None:
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(text)
    old = record(rows=[tmp_path / "a"], model="m@1")
    new = record(
        Toy(k=None, text="x" * 100, inner=Inner(rate=0.2, names=("a", "b"))),
        (0, 1),
        rows=[tmp_path / "b"],
        extra=4,
    )
    assert differences(old, new) == [
        "inner.names: ['a'] → ['a', 'b']",
        "inner.rate: 0.1 → 0.2",
        "k: 3 → none",
        f"text: short → {'x' * 57}…",
        "input extra: none → 4",
        "input model: m@1 → none",
        f"input rows: {_short_hash(tmp_path / 'a')} → {_short_hash(tmp_path / 'b')}",
        "seeds: [0] → [0, 1]",
    ]
    other = begin("data other", Path("/o"), Toy(), {}, ())
    assert differences(old, other) == ["command: data toy → data other"]


def _short_hash(path: Path) -> str:
    told = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    return f"{path} ({told[:8]})"


def test_changed_inputs_are_found(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text("1")
    made = record(many=paths[:2], one=paths[2], model="gpt2")
    assert changed_inputs(made) == []
    paths[1].write_text("2")
    paths[2].unlink()
    assert changed_inputs(made) == [
        f"input many has changed: {paths[1]}",
        f"input one is gone: {paths[2]}",
    ]


def test_a_record_comes_back_as_it_went(tmp_path: Path) -> None:
    made = end(record(model="gpt2"), "done", 1.23456)
    write_record(tmp_path, made)
    assert read_record(tmp_path) == made
    assert made.seconds == 1.235
    assert read_record(tmp_path / "nothing") is None


def test_memory_is_at_least_what_is_held_now() -> None:
    held = bytearray(os.urandom(50 * 2**20))
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = end(record(), "done", 0.0).peak_memory_bytes
    assert peak is not None
    assert peak >= resident * 0.99  # the kernel counts both in batches of pages
    assert len(held) == 50 * 2**20


def test_versions_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert record().git is None
    assert record().versions["torch"] == metadata.version("torch")

    def git(*words: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@t")
        return subprocess.run(
            ["git", *identity, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "one")
    assert record().git == {"commit": git("rev-parse", "HEAD"), "changed": False}
    (tmp_path / "a").write_text("2")
    assert record().git == {"commit": git("rev-parse", "HEAD"), "changed": True}
