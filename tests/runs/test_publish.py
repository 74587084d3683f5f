"""Publishing where one rename is not enough."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from whence.runs.config import OutputConfig
from whence.runs.store import open_run


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than `tmp_path`, onto which no file can be renamed."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    folder = Path(tempfile.mkdtemp(dir=shm))
    yield folder
    shutil.rmtree(folder)


def test_an_output_folder_on_another_disk_is_filled_by_copying(
    tmp_path: Path, other_disk: Path
) -> None:
    out = tmp_path / "o"
    out.symlink_to(other_disk)
    (other_disk / "mine").write_text("stays")
    config = OutputConfig(output_dir=out)
    with open_run(out, command="toy", config=config) as run:
        (run.folder / "sub").mkdir()
        (run.folder / "sub" / "a").write_text("1")
    found = sorted(p.relative_to(other_disk).as_posix() for p in other_disk.rglob("*"))
    assert found == ["mine", "sub", "sub/a", "whence.json"]
    assert os.listdir(tmp_path) == ["o"]
    with open_run(out, command="toy", config=config) as run:
        assert run.done


def test_a_folder_in_the_place_of_a_file_and_the_reverse(tmp_path: Path) -> None:
    out = tmp_path / "o"
    for overwrite, names in ((False, ["a", "b/c"]), (True, ["a/x", "b"])):
        config = OutputConfig(output_dir=out, overwrite=overwrite)
        with open_run(out, command=f"toy {names}", config=config, overwrite=overwrite) as run:
            for name in names:
                (run.folder / name).parent.mkdir(exist_ok=True)
                (run.folder / name).write_text(name)
    found = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert found == ["a/x", "b", "whence.json"]
