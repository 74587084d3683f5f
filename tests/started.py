"""Whence in processes of their own that need not import first, to be killed: `import started`.

A server (`multiprocessing`'s) imports what the commands import, once; every process is a fork of
it, with a pid, an environment and a working folder of its own, and SIGKILL is SIGKILL.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "torch", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.linear_model",
        "transformers.models.auto.modeling_auto", "transformers.generation", "whence.__main__",
    ]
)  # fmt: skip


class Started:
    """A process that runs; what it prints goes into a file, out of the test's sight."""

    def __init__(self, words: tuple[str, ...], code: str | None) -> None:
        handle, name = tempfile.mkstemp(suffix=".log")
        os.close(handle)
        self._log = Path(name)
        weakref.finalize(self, os.unlink, name)
        self._process = _SERVER.Process(
            target=_run, args=(words, code, name, dict(os.environ)), daemon=True
        )
        self._process.start()

    def poll(self) -> int | None:
        """Its exit code, −9 after SIGKILL; None while it runs."""
        return self._process.exitcode

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> int:
        """SIGKILL; the exit code, which is another if it had ended by itself."""
        self._process.kill()
        return self.wait()

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end; its exit code."""
        self._process.join(seconds)
        code = self._process.exitcode
        assert code is not None, f"still running after {seconds} seconds\n{self.said()}"
        return code

    def kill_when(self, ready: Callable[[], object], *, seconds: float = 120) -> int:
        """SIGKILL as soon as `ready()` is true; it must not have ended before."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert self.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.001)
        return self.kill()


def whence(*words: object) -> Started:
    """`whence` with these words."""
    return Started(tuple(map(str, words)), None)


def python(code: str, *words: object) -> Started:
    """`python -c code` with these words in `sys.argv[1:]`."""
    return Started(tuple(map(str, words)), code)


def _run(words: tuple[str, ...], code: str | None, log: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    written = os.open(log, os.O_WRONLY)
    os.dup2(written, 1)
    os.dup2(written, 2)
    if code is None:
        from whence.__main__ import main

        sys.exit(main(list(words)))
    sys.argv = ["-c", *words]
    exec(compile(code, "<the test>", "exec"), {"__name__": "__main__"})
