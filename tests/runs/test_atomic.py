"""Files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from whence.runs.atomic import remove_temporaries, whole_file, write_text


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_text_is_written_byte_for_byte(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\n\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\n\r\n".encode()


def test_temporaries_are_found_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / ".tmp-77-x.json").write_text("{")
    (tmp_path / "a" / "kept.json").write_text("{}")
    remove_temporaries(tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["kept.json"]
