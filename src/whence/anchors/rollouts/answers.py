"""When two answers are the same answer.

The published analysis strips LaTeX dressing by a long list of rules; these are the ones that matter
for short mathematical answers. KL over answers therefore may differ from a published value where an
answer is dressed in another way; accuracies do not depend on it.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WRAPPED = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox|boxed)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\[,;:! ]|\\q?quad\b|~|\s+")
_THOUSANDS = re.compile(r"(?<=\d),(?:\\!)?(?=\d{3}(?:\D|$))")
_DECIMAL = re.compile(r"(-?\d+)\.(\d*?)0*")


@lru_cache(maxsize=100_000)
def normalise_answer(answer: str) -> str:
    r"""`answer` without what only dresses it: spaces, `$`, `\text{}`, `\left`, 1,000, `3.0`, `5.`.

    An answer that is nothing but dressing becomes "".
    """
    text = answer.strip().replace("$", "")
    text = text.replace("\\left", "").replace("\\right", "")
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\^\{?\\circ\}?|\\%|%", "", text)
    while (unwrapped := _WRAPPED.sub(r"\1", text)) != text:
        text = unwrapped
    text = _THOUSANDS.sub("", text)
    text = _SPACING.sub("", text).rstrip(".")
    if match := _DECIMAL.fullmatch(text):
        text = f"{match[1]}.{match[2]}".rstrip(".")
    return text
