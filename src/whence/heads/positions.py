"""Which tokens of a prompt an intervention touches, written as one short text.

all           every token                first   the first token (BOS, where there is one)
last_token    the last real token        final_3 the last three, or all of a shorter prompt
0,2,-1        a list: from 0 at the start, from -1 at the end
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from whence.errors import BadInput

FORMS = "all, last_token, first, final_K or a list of positions"


class Positions(str):
    """Token positions in the one spelling of this module, whatever they were written as.

    It is that text, so tables, JSON and records hold it as it stands. Takes the text, a list of
    positions, one position, or `{"final_k": 3}`. Raises ValueError, which pydantic words.
    """

    __slots__ = ()

    def __new__(cls, value: object = "all") -> Positions:
        return super().__new__(cls, _spelled(value))

    def indices(self, length: int) -> list[int]:
        """Positions in a prompt of `length` tokens, in order, each once, from 0.

        Raises BadInput when a listed position lies outside of it.
        """
        if self == "all":
            return list(range(length))
        if self == "last_token":
            return [length - 1]
        if self == "first":
            return [0]
        if self.startswith("final_"):
            return list(range(max(0, length - int(self[6:])), length))
        listed = [int(word) for word in self.split(",")]
        for position in listed:
            if not -length <= position < length:
                raise BadInput(
                    f"positions {self}: position {position} lies outside a prompt of {length} "
                    f"tokens (0 to {length - 1}, or -{length} to -1 from the end)"
                )
        return sorted({position % length for position in listed})

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls, serialization=core_schema.to_string_ser_schema()
        )


def _spelled(value: object) -> str:
    if isinstance(value, str):
        return _word(value.strip())
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Mapping):
        if list(value) != ["final_k"]:
            raise ValueError(f'{FORMS} was expected, or {{"final_k": 3}}, got {dict(value)}')
        return _word(f"final_{value['final_k']}")
    if isinstance(value, Iterable):
        return _list(list(value))
    raise ValueError(f"{FORMS} was expected, got {value!r}")


def _word(text: str) -> str:
    text = {"last": "last_token", "first_token": "first"}.get(text, text)
    if text in ("all", "last_token", "first"):
        return text
    if found := re.fullmatch(r"final_(\d+)", text):
        if int(found[1]) == 0:
            raise ValueError("final_K counts from 1")
        return f"final_{int(found[1])}"
    if re.fullmatch(r"-?\d+(\s*,\s*-?\d+)*", text):
        return _list([int(part) for part in text.split(",")])
    raise ValueError(f"{FORMS} was expected, got {text!r}")


def _list(positions: list[object]) -> str:
    if not positions:
        raise ValueError("the list is empty: give at least one position")
    for position in positions:
        if not isinstance(position, int) or isinstance(position, bool):
            raise ValueError(f"a list of whole numbers was expected, got {position!r} in it")
    return ",".join(map(str, dict.fromkeys(positions)))
