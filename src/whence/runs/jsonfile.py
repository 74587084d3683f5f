"""JSON on disk: written whole, in the order given, and with no number that is not a number."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from whence.errors import BadInput, WhenceError
from whence.runs.atomic import lock_beside, remove_lock, whole_file, write_text


def plain(value: Any, where: str = "") -> Any:
    """Turn `value` into what JSON holds: dict, list, str, int, float, bool, None.

    Takes dataclasses, pydantic models, paths, sets (sorted), NumPy and torch scalars and arrays.
    Raises WhenceError naming the key path (`arms.top.loss`) at a NaN or an infinity, which JSON
    cannot say, and at a type that has no meaning in JSON.
    """
    if isinstance(value, Enum):
        return plain(value.value, where)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise WhenceError(f"{where or 'the value'} is {value}: a finite number was expected")
        return float(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"), where)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: plain(item, _below(where, name)) for name, item in pairs}
    if isinstance(value, Mapping):
        return {str(key): plain(item, _below(where, key)) for key, item in value.items()}
    if isinstance(value, Set):
        return plain(sorted(value), where)
    if hasattr(value, "tolist"):  # NumPy and torch, without importing either
        return plain(value.tolist(), where)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise WhenceError(f"{where or 'the value'} is a {type(value).__name__}: JSON has no such thing")


def write_json(path: Path, value: Any) -> None:
    """Write what `plain` takes as indented JSON, keys in the order given; atomic."""
    path = Path(path)
    with _naming(path):
        text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON value. Raises BadInput naming the file, and the line where JSON ends."""
    path = Path(path)
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: not JSON at line {error.lineno}: {error.msg}") from None


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one compact JSON value a line; atomic, and lazy in `rows`."""
    path = Path(path)
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for number, row in enumerate(rows, start=1):
            with _naming(path, number):
                line = json.dumps(plain(row), ensure_ascii=False, allow_nan=False)
            file.write(line + "\n")


def read_jsonl(path: Path) -> list[Any]:
    """Read one JSON value a line, blank lines skipped. Raises BadInput naming file and line."""
    path, rows = Path(path), []
    # split on "\n" alone: str.splitlines also breaks at U+2028, which JSON allows inside strings
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise BadInput(f"{path} line {number}: not JSON: {error.msg}") from None
    return rows


def merge_json(path: Path, key: str, value: Any) -> None:
    """Set one key of the JSON object in `path`, leaving the others; made when it is not there.

    Safe against other processes that merge into the same file at the same time.
    """
    path = Path(path)
    with lock_beside(path) as lock:
        found = read_json(path) if path.exists() else {}
        if not isinstance(found, dict):
            raise BadInput(f"{path}: holds a {type(found).__name__}, an object was expected")
        write_json(path, {**found, key: value})
        remove_lock(lock)


def _below(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: is a folder, a file was expected") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text at byte {error.start}") from None


@contextmanager
def _naming(path: Path, row: int | None = None) -> Iterator[None]:
    """Put the file (and row) before the message of a WhenceError raised inside."""
    try:
        yield
    except WhenceError as error:
        place = f"{path} row {row}" if row is not None else str(path)
        raise type(error)(f"{place}: {error}") from None
