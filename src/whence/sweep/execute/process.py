"""A worker process of the local executor: takes tasks from a pipe, one after the other.

    python -m whence.sweep.execute.process DESCRIPTOR DRIVER

It is a program of its own rather than a `multiprocessing` child, so that the driver's main module
is not run again in it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from whence.sweep.execute.worker import run_task

WATCH_SECONDS = 0.25


def main(descriptor: int, driver: int) -> None:
    """Serve tasks until the driver closes the pipe, or is gone."""
    os.set_inheritable(descriptor, False)
    threading.Thread(target=end_with, args=(driver,), daemon=True).start()
    pipe = Connection(descriptor)
    while True:
        try:
            task, home, attempt = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            outcome = run_task(task, Path(home), attempt)
        except KeyboardInterrupt:
            sys.exit(130)
        pipe.send(outcome)


def end_with(driver: int) -> None:
    """Kill this process and what it started when its parent is gone: nobody waits for it, and the
    next driver wants its folder."""
    while os.getppid() == driver:
        time.sleep(WATCH_SECONDS)
    if os.getpgid(0) == os.getpid():  # a group of our own, as the driver made it
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
