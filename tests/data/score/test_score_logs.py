"""Importing Bergson leaves log lines where they went."""

from __future__ import annotations

import importlib
import logging
import sys

import pytest

from whence.data.score.logs import logs_left_alone

BERGSON = "bergson.utils.logger"


def test_log_lines_go_where_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    ours = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(root, "handlers", [ours])
    monkeypatch.setattr(root, "level", logging.ERROR)
    importlib.import_module(BERGSON)
    monkeypatch.delitem(sys.modules, BERGSON)
    with logs_left_alone():
        importlib.import_module(BERGSON)
        # Or there would be nothing to guard against.
        assert root.handlers[0] is not ours
        assert root.level == logging.INFO
    assert root.handlers == [ours]
    assert root.level == logging.ERROR
