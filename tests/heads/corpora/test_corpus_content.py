"""The normalised hash is of the rows, not of how the file happens to end its lines."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from whence.errors import BadInput
from whence.heads.corpora.content import accepted_hashes, content_hash, read_content

UNIX = b'{"a": 1}\n{"b": "\xc3\xa9"}\n'


@pytest.mark.parametrize(
    "content",
    [
        UNIX,
        UNIX.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + UNIX,
        UNIX.rstrip(b"\n"),
        UNIX + b"\n \r\n\n",
    ],
    ids=["lf", "crlf", "bom", "no last newline", "blank lines at the end"],
)
def test_the_same_rows_have_one_hash(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(content)
    assert content_hash(path) == hashlib.sha256(UNIX).hexdigest()
    # whatever an earlier tool hashed: the bytes as they lie, or with either line end
    unix = content.replace(b"\r\n", b"\n")
    for form in (content, unix, unix.replace(b"\n", b"\r\n"), UNIX, UNIX.replace(b"\n", b"\r\n")):
        assert hashlib.sha256(form).hexdigest() in accepted_hashes(path)


def test_other_rows_have_another_hash(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(UNIX)
    # a blank line between rows and a space inside a row are content
    other.write_bytes(UNIX.replace(b"\n{", b"\n\n{"))
    assert content_hash(one) != content_hash(other)
    assert content_hash(one) not in accepted_hashes(other)


def test_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "\xe9"}\n')
    with pytest.raises(BadInput, match=r"c\.jsonl line 2: not UTF-8"):
        read_content(path)


def test_absent_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_content(tmp_path / "none.jsonl")
    with pytest.raises(BadInput, match="is a folder"):
        read_content(tmp_path)
