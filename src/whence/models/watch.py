"""What every training through Transformers' trainer is watched for: progress, no number, a kill.

Transformers resumes from a cut-off checkpoint as if it were whole, and would put the running mean
in a NaN's place. Here a checkpoint is whole when it has a file that is made last.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from whence.errors import WhenceError
from whence.runs.progress import Progress

WHOLE = "whole"
"""A file that a checkpoint gets last: the ones without it were cut off while being written."""


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`, if any; cut-off ones are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / WHOLE).exists():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class Watch(TrainerCallback):  # type: ignore[misc]
    """Shows progress, stops at a loss that is no number, and asks for checkpoints by the clock.

    checkpoints: where the trainer saves them, or None for none. every: seconds between two.
    advice: what to do about a loss that is not finite.
    """

    def __init__(self, checkpoints: Path | None, every: float, label: str, advice: str) -> None:
        self.checkpoints, self.every = checkpoints, every
        self.label, self.advice = label, advice
        self.progress: Progress | None = None
        self.saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress = Progress(self.label, state.max_steps, "steps", done=state.global_step)
        self.progress.__enter__()
        self.saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.advance()
        due = time.monotonic() - self.saved >= self.every
        control.should_save = bool(self.checkpoints) and due and state.global_step < state.max_steps

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise WhenceError(
                f"the training loss is {loss} at step {state.global_step}: {self.advice}"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.checkpoints is None:
            return
        newest = self.checkpoints / f"checkpoint-{state.global_step}"
        (newest / WHOLE).touch()
        for older in self.checkpoints.glob("checkpoint-*"):
            if older != newest:
                shutil.rmtree(older)
        self.saved = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.__exit__(None, None, None)
