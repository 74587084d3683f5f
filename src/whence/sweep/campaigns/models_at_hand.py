"""Whether a model can be had, asked of its config.json alone, before anything runs."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from whence.errors import BadInput

if TYPE_CHECKING:
    from whence.anchors.features.plan import Shape


def check_model(model: str, revision: str | None, dtype: str, trust_remote_code: bool) -> Shape:
    """Layers, width and heads of the model.

    Raises BadInput where there is no such folder, where a hub id is neither in the cache nor on a
    hub that answers, where config.json does not say, and for a dtype that no model is held in.
    """
    from whence.models.load import DTYPES

    known = ("auto", "stored", *DTYPES)
    if dtype not in known:
        raise BadInput(f'dtype "{dtype}" is unknown: use {", ".join(known)}')
    return _shape(model, revision, trust_remote_code)


@cache
def _shape(model: str, revision: str | None, trust_remote_code: bool) -> Shape:
    from whence.anchors.features.plan import model_shape

    return model_shape(model, revision, trust_remote_code)
