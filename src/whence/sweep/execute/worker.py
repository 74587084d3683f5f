"""Run one task in this process: the same function whoever executes, here or on a cluster."""

from __future__ import annotations

import importlib
import os
import socket
import time
import traceback
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from whence.errors import BadInput, Busy, WhenceError
from whence.runs.validation import explained
from whence.sweep.execute.isolation import (
    clean_up,
    forget_peak_memory,
    output_in,
    state_of_its_own,
    task_peak_memory,
)
from whence.sweep.execute.outcome import Failure, Outcome
from whence.sweep.execute.registry import now
from whence.sweep.execute.resources import threads_of
from whence.sweep.layout import log_file
from whence.sweep.tasks import Task

BUSY_SECONDS = 60.0
"""How long to wait for a folder that another process holds: a worker of a killed driver or of a
dead node may live a moment longer."""
BUSY_POLL = 0.25
BEGAN = "# began on "
"""Begins the first line of an attempt in its log; the driver reads it when the worker is gone."""


def run_task(task: Task, home: Path, attempt: int, place: str | None = None) -> Outcome:
    """Call the task's function on its settings, everything it prints in the attempt's log.

    place: where this is, for the registry; default: host and process. Never raises but for
    KeyboardInterrupt: what goes wrong is the outcome's `failure`.
    """
    place = place or here()
    if not home.is_dir():  # and nothing may make it: it would be another node's own folder
        return Outcome(0.0, place, "error", f"{home} is not there on {socket.gethostname()}")
    with output_in(log_file(home, task.id, attempt)):
        print(f"{BEGAN}{place} at {now()}: {task.label}", flush=True)
        forget_peak_memory()
        started = time.monotonic()
        failure: Failure | None = None
        error = headline = None
        reused = False
        try:
            with state_of_its_own(threads_of(task.resources)):
                result = _call(task)
            reused = getattr(result, "done", False) is True
            headline = _headline(result)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            raise
        except BaseException as caught:  # SystemExit too: a task may not end its worker
            traceback.print_exc()
            failure, error = _kind(caught), _sentence(caught)
            del caught
        result = None
        seconds = time.monotonic() - started
        clean_up(seconds)
        return Outcome(
            seconds=round(seconds, 4),
            where=place,
            failure=failure,
            error=error,
            headline=headline,
            reused=reused,
            peak_memory_bytes=task_peak_memory(),
        )


def began(home: Path, task: str, attempt: int) -> str | None:
    """Where an attempt began, by its log; None where it never did."""
    try:
        with log_file(home, task, attempt).open(encoding="utf-8", errors="replace") as log:
            first = log.readline()
    except OSError:
        return None
    if not first.startswith(BEGAN):
        return None
    return first.removeprefix(BEGAN).partition(" at ")[0]


def here() -> str:
    """Host and process."""
    return f"{socket.gethostname()} pid {os.getpid()}"


def _call(task: Task) -> Any:
    """Import, validate, call; wait where another process holds the folder."""
    shape, function = _load(task.config), _load(task.function)
    try:
        config = shape.model_validate(task.settings)
    except ValidationError as error:
        raise BadInput(explained(error, shape)) from None
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return function(config)
        except Busy as busy:
            if time.monotonic() > end:
                raise
            print(f"waiting: {busy}", flush=True)
            time.sleep(BUSY_POLL)


def _load(place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def _headline(result: Any) -> str | None:
    finding = getattr(result, "finding", None)
    return str(finding().headline) if callable(finding) else None


def _kind(error: BaseException) -> Failure:
    if isinstance(error, Busy):
        return "busy"
    return "bad_input" if isinstance(error, BadInput) else "error"


def _sentence(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, WhenceError):
        return said
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
