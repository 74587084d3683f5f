"""A process that dies at any moment loses nothing that it had finished."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whence.runs.config import OutputConfig
from whence.runs.jsonfile import write_json
from whence.runs.store import open_run

CUTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")


class Settings(OutputConfig):
    k: int = 1


def write_shards(config: Settings) -> None:
    with open_run(
        config.output_dir, command="shards", config=config, overwrite=config.overwrite
    ) as run:
        if run.done:
            return
        for n in range(2):
            shard = run.scratch / f"{n}.json"
            if not shard.exists():
                write_json(shard, {"shard": n * config.k})
        shards = [json.loads((run.scratch / f"{n}.json").read_text()) for n in range(2)]
        write_json(run.folder / "all.json", shards)
        write_json(run.folder / "sub" / f"extra-{config.k}.json", config.k)


def die_at(cut: int, config: Settings) -> bool:
    """Run in a forked process that ends, as by a power cut, at its `cut`-th change of the disk.

    Returns whether it came that far. Python's audit events come before the operation itself.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event != "open" or (isinstance(arguments[1], str) and arguments[1][0] in "wax")
        if event in CUTS and writes:
            seen += 1
            if seen == cut:
                os._exit(9)

    sys.addaudithook(hook)
    try:
        write_shards(config)
    finally:
        os._exit(0)


def contents(folder: Path) -> dict[str, str]:
    """Every file below `folder`, the parts of records that are times aside."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_text()
    for name in found:
        if name.endswith("whence.json"):
            record = json.loads(found[name])
            found[name] = json.dumps([record["status"], record["config"], record["outputs"]])
    return found


@pytest.mark.parametrize("earlier", [False, True], ids=["fresh", "over an earlier run"])
def test_death_at_every_change_of_the_disk(
    tmp_path: Path, earlier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)  # outside a repository, where asking git takes no time
    # the process dies here, not the machine, and hundreds of flushes would take a minute
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    place = tmp_path / "o"
    config = Settings(output_dir=place, k=3, overwrite=earlier)

    def prepare() -> None:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        if earlier:
            write_shards(Settings(output_dir=place, k=2))
            (place / "notes.md").write_text("mine")

    prepare()
    write_shards(config)
    expected = contents(tmp_path)
    cut = 0
    while True:
        cut += 1
        prepare()
        if not die_at(cut, config):
            break
        record = place / "whence.json"
        if record.exists() and json.loads(record.read_text())["config"]["k"] == 3:
            # it says that it is whole, so it must be
            assert {n: t for n, t in contents(tmp_path).items() if n.startswith("o/")} == expected
        write_shards(config)
        assert contents(tmp_path) == expected, f"cut {cut}"
    assert cut > 20
    assert contents(tmp_path) == expected


WRITER = """
import sys, time
from pathlib import Path
from whence.runs.config import OutputConfig
from whence.runs.jsonfile import write_json, read_json
from whence.runs.store import open_run
config = OutputConfig(output_dir=Path(sys.argv[1]))
log = open(sys.argv[2], "a")
with open_run(config.output_dir, command="shards", config=config) as run:
    for n in range(12):
        shard = run.scratch / f"{n:02}.json"
        if not run.done and not shard.exists():
            time.sleep(0.03)
            write_json(shard, {"square": n * n})
            print(n, file=log, flush=True)
    if not run.done:
        write_json(run.folder / "all.json", [read_json(p) for p in sorted(run.scratch.iterdir())])
"""


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    log, rng = tmp_path / "log", random.Random(0)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "o"), str(log)]
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(command)
        if kills < 6:
            deadline = time.monotonic() + rng.uniform(0.15, 0.6)
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
        if process.poll() is None and kills < 6:
            process.send_signal(signal.SIGKILL)
            kills += 1
        if process.wait(timeout=60) == 0:
            break
    assert kills
    squares = [{"square": n * n} for n in range(12)]
    assert json.loads((tmp_path / "o" / "all.json").read_text()) == squares
    computed = [int(line) for line in log.read_text().split()]
    assert computed == sorted(set(computed)), "a finished shard was computed again"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "o"]
