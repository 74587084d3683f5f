"""One line of a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """What was looked at, how it stands, what was found, and what to do about it.

    "warn": Whence works, but something is missing or unusual. "fail": numbers would be wrong or a
    command would stop.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
