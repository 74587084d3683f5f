"""How new traces are read for a saved probe: with its model, its tokenizer alone, or neither."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.features.identity import model_identity, recorded_model
from whence.anchors.features.live import live_features
from whence.anchors.features.plan import checked_spans, failures_of
from whence.anchors.probes.data import ProbeData
from whence.anchors.probes.saved import SavedProbe
from whence.anchors.spans.tokens import place
from whence.anchors.traces import Trace
from whence.errors import BadInput
from whence.runs.fingerprint import hash_path

if TYPE_CHECKING:
    import pandas as pd

    from whence.anchors.probes.predict import PredictConfig

Read = Callable[[Sequence[Trace]], ProbeData]

OF_ACTIVATIONS = frozenset({"mean", "tokens", "vertical"})


@dataclass(frozen=True)
class Reader:
    """read: traces as the probe wants them. cautions: what a reader of the scores must know.

    model: which one reads activations, as `identity.model_identity` says; None where none does.
    """

    read: Read
    cautions: tuple[str, ...]
    model: Mapping[str, Any] | None = None


def reader_for(config: PredictConfig, saved: SavedProbe) -> Reader:
    """Open what the probe needs.

    Raises BadInput where --model is needed and was not given, and where it is not the model that
    the probe was trained on, unless --allow-other-model.
    """
    cautions = []
    if saved.about["residualize"] not in (None, "none"):
        cautions.append("it predicts what the place of a sentence leaves of its importance")
    if saved.probe.name == "length_tag_baseline":
        cautions.append("new sentences have no function_tag, so their length alone decides")
    reads_model = bool(saved.probe.reads & OF_ACTIVATIONS)
    if not reads_model and not saved.fitted.counts_tokens:
        return Reader(lambda traces: ProbeData(text_frame(traces)), tuple(cautions))
    if config.model is None:
        what = "activations" if reads_model else "the tokens of sentences"
        known = (saved.about["model"] or {}).get("name")
        hint = f" (it was trained on {known})" if known else ""
        raise BadInput(f"{saved.probe.name} reads {what}: give --model{hint}")
    if not reads_model:
        read, more = _with_tokenizer(config, saved)
        return Reader(read, (*cautions, *more))
    read, more, model = _with_model(config, saved)
    return Reader(read, (*cautions, *more), model)


def _with_model(
    config: PredictConfig, saved: SavedProbe
) -> tuple[Read, list[str], Mapping[str, Any]]:
    from whence.models.anatomy import find_anatomy
    from whence.models.load import load_model

    about = saved.about
    missing = [name for name in ("model", "layer", "bos") if about[name] is None]
    if missing or ("vertical" in saved.probe.reads and not about["vertical"]):
        raise BadInput(
            f"{saved.folder}: does not say {', '.join(missing) or 'vertical'}, so new traces "
            "cannot be read as its own were; train it again from --features"
        )
    loaded = load_model(
        str(config.model),
        adapter=config.adapter,
        revision=config.revision,
        dtype=config.dtype,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    own = model_identity(loaded)
    cautions = _check_model(config, saved, own)
    if own["compute_dtype"] != about["model"].get("compute_dtype"):
        cautions.append(
            f"activations were computed in {own['compute_dtype']}, those it was trained on in "
            f"{about['model'].get('compute_dtype')}"
        )
    poolings = [about["pooling"] or "mean"] * ("mean" in saved.probe.reads)
    poolings += ["tokens"] * ("tokens" in saved.probe.reads)
    vertical = about["vertical"] if "vertical" in saved.probe.reads else None
    anatomy = find_anatomy(loaded.model)

    def read(traces: Sequence[Trace]) -> ProbeData:
        return live_features(
            traces,
            loaded=loaded,
            layer=about["layer"],
            poolings=poolings,
            vertical=vertical,
            bos=about["bos"],
            anatomy=anatomy,
        )

    return read, cautions, own


def _with_tokenizer(config: PredictConfig, saved: SavedProbe) -> tuple[Read, list[str]]:
    from whence.models.load import load_tokenizer, model_source

    source = model_source(str(config.model))
    local = Path(source).is_dir()
    known = saved.about["model"]
    same_hub = known and not local and str(known.get("content")).startswith(f"{source}@")
    own = {
        "name": source,
        "content": known["content"]
        if same_hub
        else hash_path(Path(source))
        if local
        else recorded_model(source, config.revision),
        # An adapter leaves the tokens alone.
        "adapter": (known or {}).get("adapter"),
    }
    cautions = _check_model(config, saved, own)
    tokenizer = load_tokenizer(
        source, revision=config.revision, trust_remote_code=config.trust_remote_code
    )

    def read(traces: Sequence[Trace]) -> ProbeData:
        placed = [place(tokenizer, trace, saved.about["bos"] or "default") for trace in traces]
        for each in placed:
            for failure in failures_of(each, tokenizer, limit=sys.maxsize):
                raise BadInput(f"problem {failure.problem_id}: {failure.cause}; {failure.remedy}")
        spans = [span for each in placed for span in checked_spans(each)]
        frame = text_frame(traces)
        frame["token_start"] = [span.start for span in spans]
        frame["token_end"] = [span.end for span in spans]
        frame["token_count"] = frame["token_end"] - frame["token_start"]
        return ProbeData(frame)

    return read, cautions


def _check_model(config: PredictConfig, saved: SavedProbe, own: Mapping[str, Any]) -> list[str]:
    """Cautions; raises BadInput where the model is another one and that was not allowed."""
    known = saved.about["model"]
    if known is None:
        return ["the probe does not say which tokenizer counted the tokens it was trained on"]
    differs = [key for key in ("content", "adapter") if known.get(key) != own[key]]
    if not differs:
        return []
    what = "another adapter" if differs == ["adapter"] else "another model"
    if not config.allow_other_model:
        raise BadInput(
            f"--model {config.model} is {what} than {saved.probe.name} was trained on "
            f"({known.get('name')}); give that one, or --allow-other-model"
        )
    return [f"read with {what} than it was trained on ({known.get('name')})"]


def text_frame(traces: Sequence[Trace]) -> pd.DataFrame:
    """The rows of traces that are known by their text alone."""
    import pandas as pd

    return pd.concat([_rows(trace) for trace in traces], ignore_index=True)


def _rows(trace: Trace) -> pd.DataFrame:
    import pandas as pd

    count = len(trace.sentences)
    index = np.arange(count)
    return pd.DataFrame(
        {
            "problem_id": trace.problem_id,
            "chunk_idx": index,
            "num_chunks": count,
            "chunk_text": list(trace.sentences),
            "function_tag": "unknown",
            "relative_position": index.astype(np.float32) / np.float32(max(count - 1, 1)),
        }
    )
