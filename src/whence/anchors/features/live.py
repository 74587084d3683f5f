"""Features of traces as they are read, without a folder between: what a saved probe scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.features.capture_trace import Arrays, capture_trace
from whence.anchors.features.plan import checked_spans, failures_of, longest_allowed
from whence.anchors.features.wanted import POOLINGS, Vertical, Wanted, array_name, vertical_name
from whence.anchors.probes.data import ProbeData, Ragged
from whence.anchors.spans.tokens import Placed, PrependBos, place
from whence.anchors.traces import Trace
from whence.errors import BadInput
from whence.runs.progress import track

if TYPE_CHECKING:
    import pandas as pd

    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded


def live_features(
    traces: Sequence[Trace],
    *,
    loaded: Loaded,
    layer: int,
    poolings: Collection[str],
    vertical: Mapping[str, Any] | None,
    bos: PrependBos,
    max_tokens: int | None = None,
    anatomy: Anatomy | None = None,
) -> ProbeData:
    """Rows of all sentences of `traces`, in order, with what one layer says of them.

    poolings: any of "mean" or "last" (which `ProbeData.mean` then holds; not both) and "tokens".
    vertical: settings of `Vertical`, or None. Without poolings and vertical the model is only asked
    for tokens. anatomy: that of `loaded.model`, from callers that come more than once; without it
    every call finds it anew. The frame has problem_id, chunk_idx, num_chunks, chunk_text,
    function_tag "unknown", relative_position, token_start, token_end and token_count.

    Raises BadInput naming the trace where a sentence is not in its text, where it is too long, and
    where vertical attention is wanted of a model that gives no patterns.
    """
    from whence.models.anatomy import find_anatomy

    unknown = sorted(set(poolings) - set(POOLINGS))
    if unknown or {"mean", "last"} <= set(poolings):
        raise BadInput(f"poolings {', '.join(sorted(poolings))}: mean or last, and tokens")
    placed = [place(loaded.tokenizer, trace, bos) for trace in traces]
    limit = longest_allowed(loaded.tokenizer, max_tokens)
    for each in placed:
        for failure in failures_of(each, loaded.tokenizer, limit):
            raise BadInput(f"problem {failure.problem_id}: {failure.cause}")
    wanted = Wanted(
        layers=(layer,),
        poolings=tuple(pooling for pooling in POOLINGS if pooling in poolings),
        vertical=None if vertical is None else Vertical(**vertical),
    )
    captured: list[Arrays] = []
    if wanted.poolings or wanted.vertical:
        anatomy = anatomy or find_anatomy(loaded.model)
        if not 0 <= layer < anatomy.n_layers:
            raise BadInput(f"layer {layer}: the model has layers 0 to {anatomy.n_layers - 1}")
        captured = [
            capture_trace(
                anatomy, each.ids, checked_spans(each), wanted, f"problem {each.trace.problem_id}"
            )
            for each in track(placed, label="reading traces", unit="traces")
        ]

    def rows_of(name: str) -> Any:
        return np.concatenate([arrays[name] for arrays in captured])

    frame = _frame(placed)
    pooled = next((p for p in ("mean", "last") if p in poolings), None)
    length = frame["token_count"].to_numpy(dtype=np.int64)
    tokens = None
    if "tokens" in poolings:
        tokens = Ragged(rows_of(array_name(layer, "tokens")), np.cumsum(length) - length, length)
    return ProbeData(
        frame=frame,
        mean=None if pooled is None else rows_of(array_name(layer, pooled)),
        tokens=tokens,
        vertical=None if vertical is None else rows_of(vertical_name(layer))[:, None],
    )


def _frame(placed: Sequence[Placed]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (each.trace.problem_id, index, len(each.trace.sentences), sentence, *span)
        for each in placed
        for index, (sentence, span) in enumerate(
            zip(each.trace.sentences, checked_spans(each), strict=True)
        )
    ]
    columns = ["problem_id", "chunk_idx", "num_chunks", "chunk_text", "token_start", "token_end"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["token_count"] = frame["token_end"] - frame["token_start"]
    frame["function_tag"] = "unknown"
    span = np.maximum(frame["num_chunks"].to_numpy(dtype=np.float32) - 1, 1)
    frame["relative_position"] = frame["chunk_idx"].to_numpy(dtype=np.float32) / span
    return frame
