"""One task after the other in one process, each as in one of its own: output, state, threads."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from whence.runs.record import peak_memory

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
"""Read by numeric libraries when they are loaded."""
TORCH_SEED = 67280421310721
"""The seed that torch itself begins a process with."""
COLLECT_SECONDS = 1.0
"""A task this long is worth a full garbage collection, which takes a tenth of a second."""


@contextlib.contextmanager
def output_in(path: Path) -> Iterator[None]:
    """Send everything written to stdout and stderr, by C libraries too, to the end of `path`.

    The file descriptors 1 and 2 themselves are pointed there, and given back after.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = [os.dup(1), os.dup(2)]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    # Objects of our own: sys.stdout may be one that does not write to descriptor 1.
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    err = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    finally:
        _flush()
        for file in (out, err):
            with contextlib.suppress(OSError, ValueError):
                file.close()
        for stream, before in zip((1, 2), kept, strict=True):
            os.dup2(before, stream)
            os.close(before)


@contextlib.contextmanager
def state_of_its_own(threads: int) -> Iterator[None]:
    """Begin as a fresh process would, and give back what a task may have changed.

    Given back: working folder, environment, logging, filters of warnings. Set at the beginning,
    where torch or NumPy are loaded: number format, threads, gradients, and the global random
    streams, so that what draws from them does not depend on what ran before it here.
    threads: how many the numeric libraries may use.
    """
    folder, environment = Path.cwd(), dict(os.environ)
    loggers = [(each, _of(each)) for each in (logging.getLogger(), logging.getLogger("whence"))]
    disabled = logging.root.manager.disable
    try:
        with warnings.catch_warnings(), _threads(threads):
            _speak_to_the_log()
            _as_fresh(threads)
            yield
    finally:
        os.chdir(folder)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        for logger, before in loggers:
            logger.handlers[:], logger.level, logger.propagate, logger.disabled = before
        logging.disable(disabled)


def clean_up(seconds: float) -> None:
    """Let go of the memory of a task that took so long."""
    if seconds < COLLECT_SECONDS:
        return
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def forget_peak_memory() -> None:
    """Let the largest resident size be counted from now on, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def task_peak_memory() -> int:
    """Largest resident size since then, in bytes."""
    return peak_memory()


def _of(logger: logging.Logger) -> tuple[list[logging.Handler], int, bool, bool]:
    return list(logger.handlers), logger.level, logger.propagate, logger.disabled


def _speak_to_the_log() -> None:
    """As the command line does: whence says what it does, everybody else what went wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root, ours = logging.getLogger(), logging.getLogger("whence")
    root.handlers[:], root.level = [handler], logging.WARNING
    ours.handlers[:], ours.level, ours.propagate = [], logging.INFO, True


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Limit libraries that are loaded by asking them, and those to come by the environment."""
    known = all(os.environ.get(name) == str(count) for name in THREAD_VARIABLES)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    if known:  # so they were when this process began, and nothing was loaded otherwise
        yield
        return
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=count):
        yield


def _as_fresh(threads: int) -> None:
    random.seed(0)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(0)
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "set_num_threads"):
        return
    torch.set_num_threads(threads)
    if torch.get_default_dtype() != torch.float32:
        torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(TORCH_SEED)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # C libraries have a buffer of their own, which would otherwise end up in another task's log.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
