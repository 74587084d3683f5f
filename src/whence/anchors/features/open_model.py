"""The model, loaded and taken apart, with attention patterns to be had where they are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whence.anchors.features.plan import Shape
from whence.errors import BadInput

if TYPE_CHECKING:
    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded


def open_model(model: str, shape: Shape, *, patterns: bool, **load: Any) -> tuple[Loaded, Anatomy]:
    """Load `model` as `whence.models.load.load_model` does, and take it apart.

    patterns: whether attention patterns are wanted; a model that cannot be switched to eager
    attention once it is loaded (Falcon) is then loaded with it. Raises BadInput where the model is
    not of the shape that its config.json says.
    """
    from whence.models.anatomy import find_anatomy
    from whence.models.load import load_model
    from whence.models.pieces import eager

    loaded = load_model(model, **load)
    anatomy = find_anatomy(loaded.model)
    if patterns:
        try:
            with eager(anatomy):
                pass
        except BadInput:
            loaded = load_model(model, attn_implementation="eager", **load)
            anatomy = find_anatomy(loaded.model)
    if (anatomy.n_layers, anatomy.d_model) != (shape.n_layers, shape.d_model):
        raise BadInput(
            f"{model}: config.json says {shape.n_layers} layers of width {shape.d_model}, and the "
            f"model has {anatomy.n_layers} of {anatomy.d_model}; mend config.json"
        )
    return loaded, anatomy
