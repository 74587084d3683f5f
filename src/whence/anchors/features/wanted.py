"""What is captured of a trace: which layers, pooled how, with which attention, stored as what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from whence.errors import BadInput

Pooling = Literal["mean", "tokens", "last"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
StorageDtype = Literal["float16", "float32"]


@dataclass(frozen=True)
class Vertical:
    """How much later tokens attend to a sentence (`whence.anchors.features.vertical`).

    mode light: queries are the last `light_last_n_tokens` tokens of the text. full: all later
    sentences, for texts up to `full_max_seq_len` tokens; longer ones fall back to light.
    depth_control: mean over eligible queries or sentences instead of their sum. per_head: keep the
    score of each head beside their mean.
    """

    mode: Literal["light", "full"]
    depth_control: bool = True
    light_last_n_tokens: int = 1
    full_max_seq_len: int = 1024
    per_head: bool = False

    def used(self, length: int) -> Literal["light", "full"]:
        """The mode that a text of `length` tokens is read in."""
        return "light" if length > self.full_max_seq_len else self.mode

    def settings(self) -> dict[str, Any]:
        """All that decides a score, as JSON values; `per_head` does not."""
        values = asdict(self)
        del values["per_head"]
        return values


@dataclass(frozen=True)
class Wanted:
    """What to capture of every trace, in one pass."""

    layers: tuple[int, ...]
    poolings: tuple[Pooling, ...]
    vertical: Vertical | None = None
    storage_dtype: StorageDtype = "float32"

    def names(self, layer: int) -> list[str]:
        """Names of the arrays of one layer."""
        names = [array_name(layer, pooling) for pooling in self.poolings]
        if self.vertical is not None:
            names.append(vertical_name(layer))
            names += [vertical_name(layer, heads=True)] * self.vertical.per_head
        return names


def array_name(layer: int, pooling: str) -> str:
    """The name under which pooled activations of a layer are stored."""
    return f"blocks.{layer}.hook_resid_post.{pooling}"


def vertical_name(layer: int, *, heads: bool = False) -> str:
    """The name under which vertical attention of a layer is stored."""
    return f"blocks.{layer}.vertical{'_heads' if heads else ''}"


def layers_of(words: Sequence[str], n_layers: int) -> tuple[int, ...]:
    """Layers by `mid`, `quartiles`, `all`, numbers and ranges as 0-5, ascending, each once.

    mid: n // 2. quartiles: n // 4, n // 2, 3n // 4 and n − 1. Raises BadInput for what is neither,
    and for a layer that the model does not have.
    """
    named = {
        "mid": (n_layers // 2,),
        "quartiles": (n_layers // 4, n_layers // 2, 3 * n_layers // 4, n_layers - 1),
        "all": tuple(range(n_layers)),
    }
    found: set[int] = set()
    for word in words:
        if word in named:
            found.update(named[word])
            continue
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(
                f"--layers {word}: expected mid, quartiles, all, or numbers as 3,5 or 0-5"
            )
        span = range(int(first), int(last if dash else first) + 1)
        if not span:
            raise BadInput(f"--layers {word}: the range ends before it begins")
        if any(layer >= n_layers for layer in span):
            raise BadInput(f"--layers {word}: the model has layers 0 to {n_layers - 1}")
        found.update(span)
    if not found:
        raise BadInput("--layers is empty: expected mid, quartiles, all, or numbers")
    return tuple(sorted(found))
