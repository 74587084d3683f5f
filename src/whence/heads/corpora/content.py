"""A corpus file's text, and hashes of it that do not depend on how its lines end.

A checkout on Windows turns LF into CRLF, an editor adds a byte order mark or a blank last line: the
rows are the same, and so is the *normalised* hash. What is hashed is the UTF-8 text without byte
order mark, with LF line ends, without blank lines at its end, closed by one LF.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from whence.errors import BadInput

HASH_OF = "normalised text"
"""What `data_hash` in a split file that Whence wrote is a hash of."""

_MARK = b"\xef\xbb\xbf"


def read_content(path: Path) -> str:
    """The file's normalised text; "" for a file of blank lines only.

    Raises BadInput when there is no such file, or it is not UTF-8.
    """
    content = _bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path} line {line}: not UTF-8 text; save the file as UTF-8") from None
    return _normalised(text)


def text_hash(text: str) -> str:
    """SHA-256 of the normalised form of `text`, as 64 hex digits."""
    return hashlib.sha256(_normalised(text).encode()).hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of a file's normalised text. Raises BadInput as `read_content`."""
    return text_hash(read_content(path))


def accepted_hashes(path: Path) -> frozenset[str]:
    """Every hash by which a split file may know this corpus.

    The normalised text, and the bytes as they lie here, each with LF and with CRLF line ends: the
    earlier lab hashed the bytes of the file, which on its machines ended in LF for some corpora and
    in CRLF for others. Raises BadInput as `read_content`.
    """
    raw = _bytes(path)
    unix = raw.replace(b"\r\n", b"\n")
    texts = [unix, unix.removeprefix(_MARK), read_content(path).encode()]
    forms = {raw, *texts, *(text.replace(b"\n", b"\r\n") for text in texts)}
    return frozenset(hashlib.sha256(form).hexdigest() for form in forms)


def _normalised(text: str) -> str:
    text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return "".join(f"{line}\n" for line in lines)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: is a folder, a corpus file (.jsonl) was expected") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
