"""Other people's warnings are silent unless asked for; ours are not."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import logging, os, sys, warnings
from whence.cli.noise import speak
speak(debug="--debug" in sys.argv)
warnings.warn("loud")
logging.getLogger("bitsandbytes.cextension").error("no gemm_4bit_forward")
logging.getLogger("transformers").warning("deprecated")
logging.getLogger("transformers").error("broken")
logging.getLogger("whence.runs.store").info("already done")
from tqdm import tqdm
list(tqdm(range(3)))
if "--debug" not in sys.argv:
    from transformers.utils.logging import get_verbosity
    print(get_verbosity())
"""


def said(*words: str) -> tuple[str, str]:
    # Commands that other tests ran in this process have left their own silence in its environment.
    inherited = ("PATH", "HOME", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={name: os.environ[name] for name in inherited if name in os.environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


def test_quiet() -> None:
    verbosity, err = said()
    assert verbosity == "40"  # logging.ERROR
    assert err == "ERROR:transformers:broken\nalready done\n"


def test_debug() -> None:
    _, err = said("--debug")
    for word in ("loud", "gemm_4bit_forward", "deprecated", "already done", "3/3"):
        assert word in err
