"""Whether a model can be had, asked of its config.json alone, before anything runs."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whence.anchors.features.plan import Shape


@cache
def check_model(model: str, revision: str | None, trust_remote_code: bool) -> Shape:
    """Layers, width and heads of the model.

    Raises BadInput where there is no such folder, where a hub id is neither in the cache nor on a
    hub that answers, and where config.json does not say.
    """
    from whence.anchors.features.plan import model_shape

    return model_shape(model, revision, trust_remote_code)
