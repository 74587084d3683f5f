"""A record is enough to run it again."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from whence.commands import COMMANDS, Command
from whence.errors import BadInput
from whence.runs.config import Config, OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import merge_json, write_json
from whence.runs.replay import ReplayConfig, replay
from whence.runs.store import open_run

CALLS = itertools.count(1)


class Noise(Config):
    scale: float = 0.0


class ToyConfig(OutputConfig):
    not_identity: ClassVar[frozenset[str]] = frozenset({"side_json"})
    read_by_content: ClassVar[frozenset[str]] = frozenset({"numbers"})
    numbers: Path
    side_json: Path = Path("side.json")
    seed: int = 0
    noise: Noise = Noise()


@dataclass(frozen=True)
class Toy:
    folder: Path

    def finding(self) -> Finding:
        return Finding("done")


def toy(config: ToyConfig) -> Toy:
    """Sums the numbers in a file; with noise, each time to something else."""
    with open_run(
        config.output_dir, command="toy", config=config, inputs={"numbers": config.numbers}
    ) as run:
        if not run.done:
            total = sum(map(float, config.numbers.read_text().split()))
            calls = next(CALLS)  # what no seed explains
            total += config.noise.scale * calls
            write_json(run.folder / "total.json", {"total": total, "seconds": calls})
            (run.folder / "where.md").write_text(f"written to {config.output_dir}\n")
    merge_json(
        config.side_json, "total", json.loads((config.output_dir / "total.json").read_text())
    )
    return Toy(config.output_dir)


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run made from `tmp_path`, with relative paths, and then looked at from elsewhere."""
    monkeypatch.setitem(
        COMMANDS, "toy", Command(f"{__name__}:ToyConfig", f"{__name__}:toy", "", "")
    )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "numbers").write_text("1 2 3.5")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "toy"


def test_the_same_again(finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy(ToyConfig(output_dir=Path("runs/toy"), numbers=Path("numbers")))
    side = (tmp_path / "side.json").read_bytes()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = replay(ReplayConfig(folder=finished))
    assert {f.name: f.verdict for f in result.files} == {
        "total.json": "within tolerance",  # its seconds differ, and do not count
        "where.md": "identical",  # it names its own folder
    }
    finding = result.finding()
    assert not finding.failed
    assert "2 of 2 files are the same again" in finding.headline
    assert sorted(p.name for p in finished.parent.iterdir()) == ["toy"]
    assert (tmp_path / "side.json").read_bytes() == side
    assert Path.cwd() == tmp_path / "elsewhere"


def test_a_result_that_does_not_repeat_is_shown(finished: Path) -> None:
    config = ToyConfig(
        output_dir=Path("runs/toy"), numbers=Path("numbers"), noise=Noise(scale=1e-3)
    )
    toy(config)
    result = replay(ReplayConfig(folder=finished))
    assert result.finding().failed
    [different] = [f for f in result.files if not f.same]
    assert different.name == "total.json"
    assert different.largest is not None
    assert different.largest == pytest.approx(1e-3 / 6.5, rel=0.1)
    assert result.kept == finished.with_name("toy.replay")
    with pytest.raises(BadInput, match="left from an earlier replay"):
        replay(ReplayConfig(folder=finished))
    assert replay(
        ReplayConfig(folder=finished.rename(finished.with_name("moved")), tolerance=1e-2)
    ).same


def test_what_cannot_be_replayed_says_why(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no whence\.json"):
        replay(ReplayConfig(folder=tmp_path))
    toy(ToyConfig(output_dir=Path("runs/toy"), numbers=Path("numbers")))
    (tmp_path / "numbers").write_text("1 2")
    with pytest.raises(BadInput, match="input numbers has changed"):
        replay(ReplayConfig(folder=finished))
    (tmp_path / "numbers").unlink()
    with pytest.raises(BadInput, match="input numbers is gone"):
        replay(ReplayConfig(folder=finished))


def test_records_of_another_version(finished: Path, tmp_path: Path) -> None:
    toy(ToyConfig(output_dir=Path("runs/toy"), numbers=Path("numbers")))
    record = json.loads((finished / "whence.json").read_text())
    unknown = {**record, "command": "gone"}
    (finished / "whence.json").write_text(json.dumps(unknown))
    with pytest.raises(BadInput, match="has no command `gone`"):
        replay(ReplayConfig(folder=finished))
    old = {**record, "config": {**record["config"], "retired": 1}}
    (finished / "whence.json").write_text(json.dumps(old))
    with pytest.raises(BadInput, match=r"does not take \(retired"):
        replay(ReplayConfig(folder=finished))
    assert not finished.with_name("toy.replay").exists()
