"""Whether two files hold the same result: byte for byte, or number by number within a tolerance."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

TEXT_SUFFIXES = {".csv", ".html", ".jinja", ".json", ".jsonl", ".md", ".svg", ".txt", ".yaml"}

MEASURED = re.compile(
    r"(^|_)(seconds|runtime|time|started|finished|memory|per_second|flos|bytes_peak)($|_)"
)
"""Keys whose values measure the machine and the hour, not the result."""

NUMPY_KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?", "U8": "u1", "I8": "i1",
    "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
}  # fmt: skip
"""safetensors' names of number formats in NumPy's spelling."""

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Comparison:
    """One file in two runs.

    largest: the largest relative difference between two numbers, |a − b| / max(|a|, |b|, 1); None
    where the files were equal as bytes or differ in something other than numbers.
    """

    name: str
    verdict: Literal["identical", "within tolerance", "different", "missing", "new"]
    largest: float | None = None
    why: str = ""

    @property
    def same(self) -> bool:
        return self.verdict in ("identical", "within tolerance")


def compare_files(
    name: str, old: Path, new: Path, tolerance: float, spellings: Sequence[tuple[str, str]]
) -> Comparison:
    """Compare `new` with `old`.

    spellings: (written, meant) pairs, replaced in turn in both where they are text: some outputs
    name their own place, which is another one in the second run.
    """
    if not new.is_file():
        return Comparison(name, "missing", why="the replay did not write it")
    if not old.is_file():
        return Comparison(name, "new", why="only the replay wrote it")
    first, second = old.read_bytes(), new.read_bytes()
    if old.suffix in TEXT_SUFFIXES:
        for written, meant in spellings:
            first = first.replace(written.encode(), meant.encode())
            second = second.replace(written.encode(), meant.encode())
    if first == second:
        return Comparison(name, "identical")
    read = _readers().get(old.suffix)
    if read is None:
        return Comparison(name, "different", why="other bytes")
    largest = 0.0
    for a, b, where in _pairs(read(old, first), read(new, second), ""):
        difference = _relative(a, b)
        if difference is None:
            return Comparison(
                name, "different", why=f"{where or 'content'}: {_show(a)} → {_show(b)}"
            )
        largest = max(largest, difference)
    if largest > tolerance:
        return Comparison(name, "different", largest, "numbers beyond the tolerance")
    return Comparison(name, "within tolerance", largest)


def _readers() -> Mapping[str, Callable[[Path, bytes], Any]]:
    """Suffix → how to read a file as nested lists, dicts and arrays."""
    return {
        ".json": lambda path, data: json.loads(data),
        ".jsonl": lambda path, data: [json.loads(line) for line in data.splitlines() if line],
        ".parquet": lambda path, data: _parquet(path),
        ".safetensors": lambda path, data: _safetensors(data),
        ".npy": lambda path, data: _npy(path),
        ".csv": _text, ".html": _text, ".md": _text, ".svg": _text, ".txt": _text, ".yaml": _text,
    }  # fmt: skip


def _text(path: Path, data: bytes) -> list[Any]:
    """The numbers in a text and the text between them, alternately."""
    text = data.decode("utf-8", errors="replace")
    between = NUMBER.split(text)
    return [*between, *(float(number) for number in NUMBER.findall(text))]


def _parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    return columns


def _safetensors(data: bytes) -> dict[str, np.ndarray]:
    import numpy as np
    from safetensors import deserialize

    tensors = {}
    for name, tensor in deserialize(data):  # type: ignore[no-untyped-call]
        kind = tensor["dtype"]
        if kind == "BF16":  # the upper half of a float32, which NumPy has no name for
            values = (np.frombuffer(tensor["data"], "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(tensor["data"], NUMPY_KINDS[kind])
        tensors[name] = values.reshape(tensor["shape"])
    return tensors


def _npy(path: Path) -> np.ndarray:
    import numpy as np

    array: np.ndarray = np.load(path, allow_pickle=False)
    return array


def _pairs(a: Any, b: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
    """Leaves of two nested values side by side; where their shapes differ, the branches."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = {key for key in (*a, *b) if not MEASURED.search(str(key))}
        for key in sorted(keys):
            place = f"{where}.{key}" if where else str(key)
            if key in a and key in b:
                yield from _pairs(a[key], b[key], place)
            else:
                yield a.get(key, "(absent)"), b.get(key, "(absent)"), place
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _pairs(left, right, f"{where}[{index}]")
    else:
        yield a, b, where


def _relative(a: Any, b: Any) -> float | None:
    """Largest relative difference of two numbers or arrays; None when they are not comparable.

    A NaN agrees with a NaN in the same place and with nothing else.
    """
    import numpy as np

    if not (_is_numeric(a) and _is_numeric(b)):
        return 0.0 if type(a) is type(b) and np.array_equal(a, b) else None
    left, right = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if left.shape != right.shape or not np.array_equal(np.isfinite(left), np.isfinite(right)):
        return None
    finite = np.isfinite(left)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
        return None
    left, right = left[finite], right[finite]
    scale = np.maximum(np.maximum(abs(left), abs(right)), 1.0)
    return float(np.max(abs(left - right) / scale, initial=0.0))


def _is_numeric(value: Any) -> bool:
    """Whether `value` is a number, not a truth value, or an array of numbers."""
    if hasattr(value, "dtype"):
        return bool(value.dtype.kind in "fiu")
    return isinstance(value, int | float) and not isinstance(value, bool)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
