"""The model that a worker loaded last, kept for its next task.

Tasks of one model follow each other in a worker. Whoever uses the model gives it back as it was
(trainings and interventions of this house do, and tests hold them to it); after a failure it is
dropped, since nobody knows then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.runs.fingerprint import fingerprint

if TYPE_CHECKING:
    from whence.models.load import Loaded

_kept: dict[str, Loaded] = {}


@contextmanager
def kept_model(source: str, load: Callable[[], Loaded], **how: Any) -> Iterator[Loaded]:
    """The model, loaded now or by an earlier task of this process.

    source: what `model_source` gives. how: all that `load` takes beside, as JSON values. At most
    one model is kept; another one takes its place before it is loaded.
    """
    name = fingerprint({"source": source, "files": _files(source), **how})
    if name not in _kept:
        forget_model()
        _kept[name] = load()
    try:
        yield _kept[name]
    except BaseException:
        forget_model()
        raise


def forget_model() -> None:
    """Let go of what is kept."""
    _kept.clear()


def _files(source: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a folder's files: what is kept must be what is there."""
    folder = Path(source)
    if not folder.is_dir():
        return []
    files = ((path, path.stat()) for path in sorted(folder.iterdir()) if path.is_file())
    return [(path.name, status.st_size, status.st_mtime_ns) for path, status in files]
