"""Content hashes: of content, of nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from whence.errors import BadInput
from whence.runs import fingerprint as module
from whence.runs.fingerprint import fingerprint, hash_path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "whence" / "hashes"


def test_a_value_is_hashed_as_canonical_json() -> None:
    expected = hashlib.sha256('{"a":[1,"é"],"b":null}'.encode()).hexdigest()
    assert fingerprint({"b": None, "a": (1, "é")}) == expected


def test_a_file_is_hashed_as_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert hash_path(path) == hashlib.sha256(b"abc").hexdigest()


def test_a_folder_is_its_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "sub").mkdir(parents=True)
    (one / "a.json").write_text("1")
    (one / "sub" / "b.json").write_text("2")
    shutil.copytree(one, two)
    os.utime(two / "a.json", (0, 0))
    (two / "whence.json").write_text('{"started": "yesterday"}')
    (two / "sub" / "whence.json").write_text("{}")
    (two / ".tmp-1-c.json").write_text("half")
    assert hash_path(one) == hash_path(two)
    (two / "a.json").rename(two / "c.json")
    assert hash_path(one) != hash_path(two)


def test_nothing_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"weights: no such file or folder"):
        hash_path(tmp_path / "weights")


def test_big_files_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(module, "REMEMBERED_FROM", 100)
    path = tmp_path / "weights"
    path.write_bytes(b"x" * 200)
    first = hash_path(path)
    path.chmod(0o000)
    moved = path.rename(tmp_path / "renamed")
    if os.geteuid() != 0:
        assert hash_path(moved) == first  # not readable: it can only have been remembered
    [remembered] = cache.iterdir()
    remembered.write_text("0" * 64)
    assert hash_path(moved) == "0" * 64
    moved.chmod(0o600)
    moved.write_bytes(b"y" * 200)
    os.utime(moved, ns=(1, 1))
    assert hash_path(moved) == hashlib.sha256(b"y" * 200).hexdigest()


def test_a_torn_memory_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(module, "REMEMBERED_FROM", 0)
    path = tmp_path / "weights"
    path.write_bytes(b"x")
    first = hash_path(path)
    [remembered] = cache.iterdir()
    remembered.write_text(first[:10])
    assert hash_path(path) == first


def test_a_home_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED_FROM", 0)
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert hash_path(blocked) == hashlib.sha256(b"").hexdigest()
