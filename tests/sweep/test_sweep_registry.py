"""The registry: what a kill leaves, and that every event counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whence.errors import BadInput, WhenceError
from whence.sweep.execute.registry import Event, Registry, now, read_registry
from whence.sweep.layout import registry_file


def test_events_add_up_to_where_a_task_stands(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        registry.append(Event("a", "started", 1, now(), log="logs/a.1.log"))
        registry.append(Event("a", "died", 1, now(), 3.0, "host pid 1", error="killed"))
        registry.append(Event("a", "started", 2, now(), log="logs/a.2.log"))
        registry.append(Event("a", "done", 2, now(), 5.0, "host pid 2", headline="found"))
        registry.append(Event("b", "blocked", 0, now(), error="needs a, which failed"))
        kept = registry.states
    states = read_registry(tmp_path)
    assert states == kept
    a = states["a"]
    assert (a.state, a.attempts, a.seconds, a.log) == ("done", 2, 5.0, "logs/a.2.log")
    assert (a.error, a.headline, a.where) == (None, "found", "host pid 2")
    assert [event.state for event in a.events] == ["started", "died", "started", "done"]
    assert (states["b"].state, states["b"].attempts) == ("blocked", 0)


def test_an_answer_from_a_whole_folder_keeps_the_seconds_of_the_work(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        registry.append(Event("a", "done", 1, now(), 50.0))
        registry.append(Event("a", "done", 2, now(), 0.01, reused=True))
    assert read_registry(tmp_path)["a"].seconds == 50.0


def test_every_cut_of_the_file_is_read_and_written_on(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        for n in range(3):
            registry.append(Event(f"t{n}", "done", 1, now(), 1.0))
    whole = registry_file(tmp_path).read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    cuts = {*range(0, len(whole), 9), *(end + near for end in ends for near in (-2, -1, 0))}
    for cut in sorted(cuts):
        registry_file(tmp_path).write_bytes(whole[:cut])
        left = sum(end <= cut for end in ends)
        # the last line without its end: a reader may take it when all of it is there
        assert len(read_registry(tmp_path)) - left in (0, int(cut + 1 in ends))
        with Registry(tmp_path) as registry:
            assert len(registry.states) == left
            registry.append(Event("new", "done", 1, now(), 1.0))
        assert len(read_registry(tmp_path)) == left + 1
        assert all(json.loads(line) for line in registry_file(tmp_path).read_text().splitlines())


def test_what_is_no_event_is_named_and_cut_off_by_the_next_driver(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        registry.append(Event("a", "done", 1, now()))
    with registry_file(tmp_path).open("ab") as file:
        file.write(b"\0\0\0\n")
    with pytest.raises(BadInput, match="line 2: not an event"):
        read_registry(tmp_path)
    with Registry(tmp_path) as registry:
        registry.append(Event("b", "done", 1, now()))
    assert list(read_registry(tmp_path)) == ["a", "b"]


def test_what_follows_a_line_that_cannot_be_read_stays(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        for name in "abc":
            registry.append(Event(name, "done", 1, now()))
    lines = registry_file(tmp_path).read_bytes().splitlines(keepends=True)
    registry_file(tmp_path).write_bytes(lines[0] + lines[1][:20] + b"\n" + lines[2])
    with Registry(tmp_path) as registry:
        assert list(registry.states) == ["a", "c"]
        registry.append(Event("b", "done", 2, now()))
    assert list(read_registry(tmp_path)) == ["a", "c", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["registry.jsonl"]


def test_a_full_disk_is_said_with_the_file(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry, Path("/dev/full").open("wb") as full:
        kept, registry._file = registry._file, full.fileno()
        with pytest.raises(WhenceError, match=r"registry.jsonl: cannot be written on \(No space"):
            registry.append(Event("a", "done", 1, now()))
        registry._file = kept


def test_no_registry_is_no_events(tmp_path: Path) -> None:
    assert read_registry(tmp_path) == {}
    registry_file(tmp_path).touch()
    assert read_registry(tmp_path) == {}
