"""Small corpora on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


@pytest.fixture
def corpus(tmp_path: Path) -> Write:
    """Write rows, or lines as they are, to `<tmp>/data/corpora/<name>.jsonl`."""

    def write(rows: Sequence[Mapping[str, Any] | str], name: str = "probe") -> Path:
        path = tmp_path / "data" / "corpora" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        return path

    return write
