"""A block of a Markdown file between two marker lines, replaced and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from whence.errors import BadInput
from whence.runs.atomic import whole_file


def check_markers(path: Path, start: str, end: str) -> None:
    """Raise BadInput where `path` has not exactly one block from `start` to `end`."""
    _cut(path, start, end)


def replace_block(path: Path, start: str, end: str, text: str) -> bool:
    """Put `text` between the markers, which stay; whether the file changed.

    Every byte outside is kept, and lines end as the file's own do. Written whole or not at all;
    not written where nothing changes.
    """
    before, old, after = _cut(path, start, end)
    newline = b"\r\n" if b"\r\n" in before + old + after else b"\n"
    body = b"\n" + text.strip("\n").encode() + b"\n"
    block = body.replace(b"\n", newline)
    if block == old:
        return False
    path = path.resolve()  # a link stays a link
    with whole_file(path) as temporary:
        temporary.write_bytes(before + block + after)
        shutil.copymode(path, temporary)
    return True


def block_of(path: Path, start: str, end: str) -> str:
    """What stands between the markers, without the lines' ends at both sides."""
    return _cut(path, start, end)[1].decode().replace("\r\n", "\n").strip("\n")


def _cut(path: Path, start: str, end: str) -> tuple[bytes, bytes, bytes]:
    """The file up to and with the start marker, the block, and the rest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    first, last = start.encode(), end.encode()
    for marker, word in ((first, start), (last, end)):
        count = content.count(marker)
        if count != 1:
            said = "not in it" if count == 0 else f"in it {count} times"
            raise BadInput(
                f"{path}: the marker {word} is {said}; the block to replace stands between one "
                f"{start} and one {end}"
            )
    head, _, rest = content.partition(first)
    old, found, tail = rest.partition(last)
    if not found:
        raise BadInput(f"{path}: {end} stands before {start}; the block starts with {start}")
    return head + first, old, last + tail
