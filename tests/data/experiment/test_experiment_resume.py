"""An experiment that is cut off, started again, asked for twice, or changed."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.__main__ import main
from whence.data.experiment import ExperimentConfig, experiment
from whence.runs.jsonfile import read_json

OUTCOME = ("verdict.json", "items.parquet", "scores.parquet")
FATAL = {
    "scores.parquet",
    "arms/base/once/items.parquet",
    "arms/top_12/seed-0/items.parquet",
    "arms/oracle/seed-1/items.parquet",
    "items.parquet",
}
"""Files in the midst of whose first writing the process dies."""


class Killed(BaseException):
    """Stands for the end of the process: nothing in Whence catches it."""


@pytest.fixture(scope="module")
def config(study: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(read_json(study.folder / "config.json"))


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_cut_off_at_every_kind_of_step_it_ends_the_same(
    study: Any, config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.data.experiment import cells, rank, run

    partial = study.home / "cut.partial"
    to_die = set(FATAL)

    def dying(write: Callable[..., None]) -> Callable[..., None]:
        def write_half(table: Any, path: Path) -> None:
            write(table, path)
            final = path.with_name(re.sub(r"^\.tmp-\w+-", "", path.name))
            name = str(final.relative_to(partial))
            if name in to_die:
                to_die.remove(name)
                path.write_bytes(path.read_bytes()[:100])
                raise Killed

        return write_half

    trained: Counter[str] = Counter()

    def counting(train: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, label: str, **named: Any) -> Any:
            trained[label] += 1
            return train(*arguments, label=label, **named)

        return counted

    for module in (rank, cells, run):
        monkeypatch.setattr(module, "write_parquet", dying(module.write_parquet))
    for module in (rank, cells):
        monkeypatch.setattr(module, "train_adapter", counting(module.train_adapter))
    again = config.model_copy(update={"output_dir": study.home / "cut"})
    written: dict[Path, int] = {}
    for _ in FATAL:
        with pytest.raises(Killed):
            experiment(again)
        assert not again.output_dir.exists()
        for file in partial.rglob("adapter_model.safetensors"):
            if (file.parent.parent / "cell.json").exists() or file.parent.name != "adapter":
                relative = file.relative_to(partial)
                assert written.setdefault(relative, file.stat().st_mtime_ns) == (
                    file.stat().st_mtime_ns
                ), f"{relative} was finished, and was written again"
    assert not to_die
    assert not experiment(again).done_before
    assert all(
        (again.output_dir / name).stat().st_mtime_ns == moment for name, moment in written.items()
    )
    assert len(written) == 7  # six cells with an adapter, and the one that scores
    # A cell that died while it was judged is trained again; nothing else is.
    assert {label for label, times in trained.items() if times > 1} == {
        "top_12, seed 0",
        "oracle, seed 1",
    }
    assert files_below(again.output_dir) == files_below(study.folder)
    for name in OUTCOME:
        ours, theirs = (folder / name for folder in (again.output_dir, study.folder))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_asked_again_it_is_already_done(
    study: Any, config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whence.models.load.load_model", None)
    before = {p: p.stat().st_mtime_ns for p in study.home.rglob("*")}
    started = time.process_time()
    again = experiment(config)
    assert time.process_time() - started < 2
    assert again.done_before
    assert again.finding().headline.startswith("Already done: ")
    assert {p: p.stat().st_mtime_ns for p in study.home.rglob("*") if p != study.home} == {
        path: moment for path, moment in before.items() if path != study.home
    }


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--learning-rate", "1e-3"], "optim.learning_rate: 0.008 → 0.001"),
        (["--seeds", "0"], "seeds: [0, 1] → [0]"),
        (["--arms", "top:6", "matched_random"], "arms: "),
        (["--oracle", "6"], "planted.oracle: 12 → 6"),
    ],
)
def test_other_settings_are_refused_by_name(
    study: Any, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    folder = study.folder
    assert main(["data", "experiment", str(folder / "config.json"), *flags]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "holds another run" in line
    assert told in line
    assert "--overwrite" in line
