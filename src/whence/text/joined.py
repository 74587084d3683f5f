"""A row as one text, for methods that read words and know of no prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

JOINT = "\n\n"
"""Between prompt and completion where they are one text, as the earlier system had them."""


def joined_texts(rows: pd.DataFrame) -> list[str]:
    """Prompt, blank line, completion of each row."""
    pairs = zip(rows["prompt"], rows["completion"], strict=True)
    return [f"{prompt}{JOINT}{completion}" for prompt, completion in pairs]
