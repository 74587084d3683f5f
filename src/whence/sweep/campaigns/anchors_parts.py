"""The data of studies as a plan knows them: labelled once, told apart by content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.splits import read_splits
from whence.anchors.study_steps import (
    SPLITS,
    TABLE,
    given_splits,
    label,
    on_rollouts,
    texts,
)
from whence.errors import BadInput, Busy
from whence.runs.fingerprint import fingerprint, hash_path

if TYPE_CHECKING:
    import pandas as pd

    from whence.anchors.spans.source import Source
    from whence.anchors.study import StudyConfig


@dataclass(frozen=True)
class Table:
    """A labelled table of sentences. content: its hash."""

    path: Path
    content: str

    @cached_property
    def frame(self) -> pd.DataFrame:
        from whence.anchors.sentences import read_sentences

        return read_sentences(self.path)

    @cached_property
    def problems(self) -> list[str]:
        from whence.anchors.sentences import problems_of

        return problems_of(self.frame)

    @cached_property
    def labelled(self) -> set[str]:
        """Problems with a label."""
        known = self.frame["importance_signed"].notna() if self.has_labels else None
        return set() if known is None else set(self.frame.loc[known, "problem_id"])

    @property
    def has_labels(self) -> bool:
        return "importance_signed" in self.frame.columns


@dataclass(frozen=True)
class Texts:
    """What a model reads. content: hash of texts and sentences. path: traces.jsonl."""

    source: Source
    metadata: Path
    path: Path
    content: str

    @cached_property
    def characters(self) -> int:
        return sum(len(trace.text) for trace in self.source.traces)

    @cached_property
    def sentences(self) -> int:
        return sum(len(trace.sentences) for trace in self.source.traces)

    def longer_than(self, tokens: int) -> bool:
        """Whether some text may have more tokens; no token of ASCII text is less than a character,
        but for a few in front."""
        return any(
            not trace.text.isascii() or len(trace.text) + 8 > tokens for trace in self.source.traces
        )


@dataclass(frozen=True)
class Part:
    """One data part of the sweep, in a folder that `label` filled.

    split: part → problems, None where no split was made. given: whether the split was given, not
    drawn. split_content: equal for equal splits, whatever seed drew them.
    """

    labels: Path
    table: Table
    texts: Texts
    split: Mapping[str, list[str]] | None
    given: bool

    @cached_property
    def train_rows(self) -> NDArray[np.bool_]:
        """Rows of the table that train, [rows]."""
        train = set(self.split["train"]) if self.split else set()
        return np.asarray(self.table.frame["problem_id"].isin(train).to_numpy())

    @cached_property
    def split_content(self) -> str | None:
        if self.split is None:
            return None
        return fingerprint({name: sorted(ids) for name, ids in self.split.items()})


class Parts:
    """The data parts of all configurations, each labelled and read once."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}
        self._faults: dict[str, BadInput] = {}
        self._parts: dict[str, Part] = {}
        self._tables: dict[str, Table] = {}
        self._texts: dict[tuple[str, str], Texts] = {}

    def prepare(self, config: StudyConfig, home: Path, overwrite: bool) -> None:
        """Label what `config` works on, unless that was done. What is wrong is said by `of`, which
        the plan asks for each configuration."""
        key = part_key(config)
        if key in self._folders or key in self._faults:
            return
        try:
            folder = home / "shared" / f"labels-{self._name(config)}"
            index = folder.with_name(f"index-{folder.name}")
            label(config.model_copy(update={"overwrite": overwrite}), index, folder)
        except Busy:  # no fault of the configuration
            raise
        except BadInput as error:
            self._faults[key] = error
            return
        self._folders[key] = folder

    def of(self, config: StudyConfig) -> Part:
        """The part of a prepared configuration. Raises BadInput where it cannot be read."""
        key = part_key(config)
        if key in self._faults:
            raise BadInput(str(self._faults[key]))
        if key not in self._parts:
            self._parts[key] = self._read(config, self._folders[key])
        return self._parts[key]

    def _name(self, config: StudyConfig) -> str:
        """Names a part by its settings and by what its files hold."""
        data = config.dataset
        files = [data.metadata, data.traces, given_splits(config)]
        if data.metadata is not None and data.traces is None:
            beside = data.metadata.with_name("traces.jsonl")
            files.append(beside if beside.is_file() else None)
        content = [None if file is None else hash_path(file) for file in files]
        return fingerprint([part_key(config), content])[:16]

    def _read(self, config: StudyConfig, labels: Path) -> Part:
        path = labels / TABLE
        content = hash_path(path)
        table = self._tables.setdefault(content, Table(path, content))
        traces = texts(config, labels)
        read = (content, hash_path(traces))
        if read not in self._texts:
            self._texts[read] = _texts(path, traces)
        split = None
        if (labels / SPLITS).is_file():
            split = read_splits(labels / SPLITS, table.problems)
        given = given_splits(config) is not None
        return Part(labels, table, self._texts[read], split, given)


def part_key(config: StudyConfig) -> str:
    """Equal for configurations whose labels and split are the same by their settings."""
    data, training = config.dataset, config.training
    chosen: dict[str, Any] = {
        "metadata": str(data.metadata),
        "traces": str(data.traces),
        "splits": str(given_splits(config)),
        "importance": config.labels.counterfactual_field,
    }
    if on_rollouts(config):
        chosen["drop_last_chunk"] = config.labels.drop_last_chunk
        chosen["tree"] = data.model_dump(mode="json")
        chosen["fractions"] = [training.val_fraction, training.test_fraction]
    elif given_splits(config) is None:
        chosen["seed"] = data.seed
    return fingerprint(chosen)


def _texts(metadata: Path, traces: Path) -> Texts:
    from whence.anchors.spans.source import read_source

    source = read_source(metadata, traces)
    return Texts(source, metadata, traces, source.identity()["sha256"])
