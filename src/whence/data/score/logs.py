"""Bergson's import sends every library's log lines to stdout, which is for the finding alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logs_left_alone() -> Iterator[None]:
    """Whatever is imported meanwhile, log lines go where they went before, from the same level."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Replacing what is configured closes it; it is put back, so it must not be found.
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
