"""How long a sentence is and what it does: a baseline that a probe should not merely repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from whence.anchors.probes.columns import NO_SPANS, Matrix
from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.inner import check_labels
from whence.anchors.probes.linear import FEW, fit_columns, link
from whence.anchors.probes.probe import Fitted, Fitting, Probe, Reads, State, finite
from whence.anchors.sentences import need_columns
from whence.errors import BadInput


class LengthTagFitted(Fitted):
    """length: "token_count" or "characters". tags: those of the training rows.

    weights: of the length, then of each tag, in the units of the columns, [1 + tags].
    """

    def __init__(
        self,
        length: str,
        tags: Sequence[str],
        weights: Floats,
        intercept: float,
        logistic: bool,
        notes: Mapping[str, Any],
    ) -> None:
        self.length, self.tags, self.weights = length, list(tags), weights
        self.intercept, self.logistic, self.notes = intercept, logistic, dict(notes)

    @property
    def counts_tokens(self) -> bool:
        return self.length == "token_count"

    def score(self, data: ProbeData) -> Floats:
        values = columns(data, self.length, self.tags) @ self.weights
        return finite(link(values + self.intercept, self.logistic), LengthTag.name)

    def state(self) -> State:
        return (
            {"weights": self.weights, "intercept": np.array([self.intercept])},
            {
                "length": self.length,
                "tags": self.tags,
                "logistic": self.logistic,
                "notes": dict(self.notes),
            },
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        arrays, settings = state
        return cls(
            settings["length"],
            settings["tags"],
            arrays["weights"],
            float(arrays["intercept"][0]),
            settings["logistic"],
            settings["notes"],
        )


class LengthTag(Probe):
    """Token count (characters where the table has none) and function_tag, one column a tag."""

    name = "length_tag_baseline"
    reads: ClassVar[frozenset[Reads]] = frozenset({"text"})
    baseline = True
    fitted = LengthTagFitted

    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> LengthTagFitted:
        from sklearn.preprocessing import StandardScaler

        check_labels(labels, self.name)
        length = "token_count" if "token_count" in data.frame.columns else "characters"
        tags = sorted(set(data.frame["function_tag"].astype(str)))
        scaler = StandardScaler()
        x = scaler.fit_transform(columns(data, length, tags))
        weights, intercept, notes = fit_columns(x, labels, data.groups, fitting.fixed, FEW)
        weights = weights / scaler.scale_
        return LengthTagFitted(
            length,
            tags,
            weights,
            intercept - float(weights @ scaler.mean_),
            not labels.continuous,
            {"length": length, **notes},
        )


def columns(data: ProbeData, length: str, tags: Sequence[str]) -> Matrix:
    """Length, then 1 where the tag is that of the column, [rows, 1 + tags]. A tag that is not
    among `tags` is a row of zeros. Raises BadInput naming a sentence without a token count."""
    if length == "token_count":
        need_columns(data.frame, (length,), NO_SPANS)
        counts = data.frame[length].to_numpy(dtype=np.float64, na_value=np.nan)
        bad = np.flatnonzero(~np.isfinite(counts))
        if bad.size:
            row = data.frame.iloc[int(bad[0])]
            raise BadInput(
                f"problem {row['problem_id']}, sentence {row['chunk_idx']}: token_count is "
                f"missing; {NO_SPANS}"
            )
    else:
        counts = data.frame["chunk_text"].str.len().to_numpy(dtype=np.float64)
    own = data.frame["function_tag"].astype(str).to_numpy(dtype=object)
    return np.stack([counts, *(own == tag for tag in tags)], axis=1).astype(np.float64)
