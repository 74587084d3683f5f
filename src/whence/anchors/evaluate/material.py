"""What an evaluation works on: the table, features beside it, its labels, and the probes to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.evaluate.judge import Bench, bench_of, residual_bench
from whence.anchors.evaluate.settings import ProbingConfig
from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.probe import Probe, Reads
from whence.anchors.sentences import POSITION, read_sentences
from whence.anchors.targets import anchors_of, is_continuous, labelled, target_of
from whence.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from whence.anchors.features.store import Features

Rows = NDArray[np.int64]

FEATURE_FACTS = ("layer", "pooling", "model", "vertical", "features_fingerprint")
"""What metrics.json keeps of the features."""


@dataclass(frozen=True)
class Material:
    """data: all rows of the table and their features. y: the target [rows], NaN without a label.

    features: what was extracted, for saved probes (model, layer, …), and left_out: problems that
    were not; empty without features.
    """

    config: ProbingConfig
    data: ProbeData
    y: Floats
    probes: tuple[Probe, ...]
    features: Mapping[str, Any]

    @property
    def frame(self) -> pd.DataFrame:
        return self.data.frame

    @property
    def continuous(self) -> bool:
        return is_continuous(self.config.target)

    def gaps(self) -> dict[str, str]:
        """What the table has and this evaluation does without, for `reasons`."""
        found = {}
        left_out = self.features.get("left_out")
        if left_out:
            found["features"] = f"{len(left_out)} problems were not extracted and are left out"
        unlabelled = int((~self.has_label).sum())
        if unlabelled:
            found["labels"] = f"{unlabelled} sentences have no label: scored, but not judged"
        return found

    @property
    def has_label(self) -> NDArray[np.bool_]:
        """Which rows have a label, [rows]."""
        return np.isfinite(self.y)

    def rows_of(self, problems: Sequence[str], *, with_label: bool) -> Rows:
        """Rows of these problems in the table's order."""
        inside = self.frame["problem_id"].isin(set(problems)).to_numpy()
        return np.flatnonzero(inside & self.has_label if with_label else inside)

    def labels(self, y: Floats, rows: Rows) -> Labels:
        return Labels(y[rows], self.continuous)

    def bench(self, rows: Rows) -> Bench:
        """Labelled rows to judge on."""
        return bench_of(self.frame.iloc[rows], self.config.target, self.config.anchor_percentile)

    def residual(self, train: Rows) -> Floats:
        """What position (and text) leave of the importance, fitted on `train`; [rows], NaN gaps.

        Of |importance| for anchor_binary, else of the target itself.
        """
        from whence.anchors.probes.residual import Residual

        kind = self.config.residualize
        if kind == "none":
            raise ValueError("nothing is to be taken out")
        values = self.y
        if not self.continuous:
            values = target_of(self.frame, "importance_abs")
        fitted = Residual(kind, fixed=self.config.fixed).fit(self.data.take(train), values[train])
        left = np.full(len(self.data), np.nan)
        known = np.flatnonzero(self.has_label)
        left[known] = fitted.residual(self.data.take(known), values[known])
        return left

    def residual_y(self, residual: Floats) -> Floats:
        """The target made of a residual: itself, or its anchors."""
        if self.continuous:
            return residual
        problems = self.frame["problem_id"].to_numpy(dtype=object)
        return anchors_of(residual, problems, self.config.anchor_percentile)

    def residual_bench(self, rows: Rows, residual: Floats) -> Bench:
        return residual_bench(self.bench(rows), residual[rows], self.config.anchor_percentile)

    def probability(self, probe: Probe) -> bool:
        """Whether its scores are meant as probabilities of an anchor."""
        return probe.trained and not self.continuous

    def with_labels(self, frame: pd.DataFrame) -> Material:
        """The same rows and features under other labels; `frame`: the table with those."""
        from dataclasses import replace

        data = replace(self.data, frame=frame)
        y = target_of(frame, self.config.target, self.config.anchor_percentile)
        return replace(self, data=data, y=y)


def load_material(config: ProbingConfig) -> Material:
    """Read table and features. Raises BadInput naming the file, and for no label at all."""
    frame = read_sentences(config.metadata)
    try:
        known = labelled(frame)
    except BadInput as error:
        raise BadInput(f"{config.metadata}: {error}") from None
    if not known.any():
        raise BadInput(
            f"{config.metadata}: importance_signed is missing in every row, so there is nothing to "
            "learn; `whence anchors labels` writes it"
        )
    features = _features(config)
    probes = _probes(config, frame, features)
    _check_reads(probes, frame, features)
    if any("tokens" in probe.reads for probe in probes):
        from whence.models.load import device_named

        device_named(config.device)  # one that is not here is said before anything is trained
    data, about = ProbeData(frame), {}
    if features is not None:
        reads = {each for probe in probes for each in probe.reads}
        layer = features.layer(config.layer)
        data = features.data(
            frame,
            layer=layer,
            pooling=config.pooling if "mean" in reads else None,
            tokens="tokens" in reads,
            vertical="vertical" in reads,
        )
        about = {
            "layer": layer,
            "pooling": config.pooling,
            "model": features.model,
            "bos": features.facts.get("prepend_bos"),
            "vertical": features.vertical,
            "features_fingerprint": features.fingerprint,
            "left_out": dict(features.failures),
        }
    y = target_of(data.frame, config.target, config.anchor_percentile)
    return Material(config, data, y, probes, about)


def _features(config: ProbingConfig) -> Features | None:
    if config.features is None:
        return None
    from whence.anchors.features.store import load

    return load(config.features)


def _check_reads(probes: Sequence[Probe], frame: pd.DataFrame, features: Features | None) -> None:
    """Refuse, before anything is trained, what cannot be: features of another folder are refused
    by the folder itself."""
    for probe in probes:
        activations = sorted(probe.reads & {"mean", "tokens", "vertical"})
        if activations and features is None:
            raise BadInput(
                f"{probe.name} reads activations ({', '.join(activations)}): give --features, a "
                "folder of `whence anchors extract`"
            )
        missing = [name for name in POSITION if name not in frame.columns]
        if "position" in probe.reads and probe.trained and missing and features is None:
            raise BadInput(
                f"{probe.name} reads {', '.join(missing)}, which the table of sentences has not; "
                "`whence anchors spans` writes it, and --features have it"
            )


def _probes(
    config: ProbingConfig, frame: pd.DataFrame, features: Features | None
) -> tuple[Probe, ...]:
    """Those asked for, baselines first; or all whose features are there."""
    from whence.anchors.probes.registry import PROBES, probe_named

    if config.probes:
        return tuple(probe_named(name) for name in dict.fromkeys(config.probes))
    there: set[Reads] = {"text"}
    if features is not None or set(POSITION) <= set(frame.columns):
        there.add("position")
    if features is not None:
        there |= {"mean"} if config.pooling in features.poolings else set()
        there |= {"tokens"} if "tokens" in features.poolings else set()
        there |= {"vertical"} if features.has_vertical else set()
    return tuple(probe for probe in PROBES.values() if probe.reads <= there or not probe.trained)
