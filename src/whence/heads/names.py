"""How heads and layers are written, `0:2` being head 2 of layer 0, and which of them exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from whence.errors import BadInput

Head = tuple[int, int]
"""(layer, head), both from 0."""

Which = Literal["all"] | tuple[int, ...]
"""All layers (or heads of a layer), or those listed."""


def parse_head(text: str) -> Head:
    """Read `"0:2"` as (0, 2). Raises BadInput that quotes the text."""
    found = re.fullmatch(r"\s*(\d+)\s*[:.]\s*(\d+)\s*", str(text))
    if not found:
        raise BadInput(f"head {text!r}: LAYER:HEAD was expected, as 0:2")
    return int(found[1]), int(found[2])


def spell_head(head: Sequence[int]) -> str:
    """`"0:2"` for (0, 2)."""
    return f"{head[0]}:{head[1]}"


def spell_heads(heads: Iterable[Sequence[int]], between: str = " ") -> str:
    """`"0:2 0:4"`: a set of heads in the one order that tables know it by."""
    return between.join(spell_head(head) for head in sorted({(h[0], h[1]) for h in heads}))


def resolve_layers(layers: Which | Sequence[int], n_layers: int) -> list[int]:
    """The layers meant, in order, each once. Raises BadInput naming one that does not exist."""
    if layers == "all":
        return list(range(n_layers))
    return sorted({_within("layer", int(layer), n_layers, "the model") for layer in layers})


def resolve_heads(heads: Which | Sequence[int], n_heads: int) -> list[int]:
    """The heads of a layer that are meant, in order, each once. Raises BadInput as above."""
    if heads == "all":
        return list(range(n_heads))
    return sorted({_within("head", int(head), n_heads, "a layer") for head in heads})


def check_heads(heads: Iterable[Head], n_layers: int, n_heads: int) -> list[Head]:
    """`heads` as given. Raises BadInput naming the first that the model does not have."""
    found = list(heads)
    for layer, head in found:
        where = f"head {layer}:{head}"
        _within(f"{where}: layer", layer, n_layers, "the model")
        _within(f"{where}: head", head, n_heads, "a layer")
    return found


def _within(what: str, number: int, count: int, holder: str) -> int:
    if not 0 <= number < count:
        noun = what.split()[-1] + ("s" if count != 1 else "")
        raise BadInput(
            f"{what} {number} is out of range: {holder} has {count} {noun}, 0 to {count - 1}"
        )
    return number
