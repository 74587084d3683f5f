"""Layers of a model by words, as `all`; how many it has is read from its config.json, never asked.

all         every layer
quartiles   a quarter, half, three quarters of the way, and the last
mid         the middle one
every:N     layers 0, N, 2N, …
0.25,0.75   so far along, from 0 to below 1; 0.5 is the middle one
3,5  0-5    numbers and ranges
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from whence.anchors.features.plan import Shape, model_shape
from whence.anchors.features.wanted import layers_of
from whence.errors import BadInput

KEYS = ("activations.layer", "activations.layer_index")
NAMES = ("num_hidden_layers", "hidden_size", "num_attention_heads")


@cache
def shape_of(model: str) -> Shape:
    """Layers, width and heads. Raises BadInput where the model, or its config.json, is not there.

    A folder's config.json is read as it is where it has the usual names, so that planning need not
    import Transformers; other models are asked through it.
    """
    from whence.models.load import model_source

    file = Path(model_source(model)) / "config.json"
    if file.is_file():
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"{file}: not JSON ({error})") from None
        own = raw.get("text_config") or raw
        found = [own.get(name) for name in NAMES] if isinstance(own, dict) else [None]
        if all(isinstance(each, int) for each in found):
            return Shape(*found)
    return model_shape(model, None, trust_remote_code=False)


def layers_by(word: str, model: str, key: str) -> list[int]:
    """Layers that a word stands for, ascending. Raises BadInput naming the key."""
    layers = shape_of(model).n_layers
    kind, colon, step = word.partition(":")
    if colon and kind == "every" and step.isdecimal() and int(step):
        return list(range(0, layers, int(step)))
    parts = [part.strip() for part in word.split(",") if part.strip()]
    depths = [_depth(part) for part in parts]
    if parts and all(depth is not None for depth in depths):
        return sorted({at_depth(depth, model, key) for depth in depths if depth is not None})
    try:
        return list(layers_of(parts, layers))
    except BadInput as error:
        said = str(error).removeprefix("--layers ")
        raise BadInput(f"{key}: {said} (also every:N, and depths as 0.25,0.75)") from None


def at_depth(depth: float, model: str, key: str) -> int:
    """The layer so far along the model: 0.5 is the middle one, as of `--layers mid`."""
    if not 0 <= depth < 1:
        raise BadInput(f"{key}: {depth} is no depth; from 0 to below 1 was expected")
    return int(depth * shape_of(model).n_layers)


def _depth(part: str) -> float | None:
    """A number with a point in it; None for all else."""
    try:
        return float(part) if "." in part else None
    except ValueError:
        return None
