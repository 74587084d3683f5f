"""A folder of extracted activations, and how the rest of `anchors` reads it.

    E/features.json          what was extracted, from which model, under which fingerprint
    E/failures.json          traces left out, and why
    E/sentences.parquet      problem_id, chunk_idx, token_start, token_end, token_count, row,
                             token_row, chunk_text
    E/problem_<id>.safetensors   per problem, sites by name:
        blocks.L.hook_resid_post.mean     [sentences, d_model]
        blocks.L.hook_resid_post.last     [sentences, d_model]
        blocks.L.hook_resid_post.tokens   [tokens of all its sentences, d_model]
        blocks.L.vertical                 [sentences]
        blocks.L.vertical_heads           [sentences, head]   where heads were kept apart

`load(folder)` opens one; `Features.data(frame, …)` puts activations beside the rows of a table of
sentences, by problem and place, whatever labels that table has.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from whence.anchors.features.wanted import Vertical, Wanted, array_name, vertical_name
from whence.anchors.probes.data import ProbeData, Ragged
from whence.anchors.sentences import ids_for_disk, problems_of
from whence.anchors.spans.tokens import Placed
from whence.errors import BadInput
from whence.runs.atomic import whole_file
from whence.runs.fingerprint import fingerprint
from whence.runs.jsonfile import read_json
from whence.runs.tables import read_table, write_parquet

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

FORMAT = 1
_SPAN = ("token_start", "token_end", "token_count")


@dataclass(frozen=True)
class Features:
    """An extraction. facts: features.json. failures: problem → why it was left out."""

    folder: Path
    facts: Mapping[str, Any]
    sentences: pd.DataFrame
    failures: Mapping[str, str]

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that were captured, ascending."""
        return tuple(self.facts["layers"])

    @property
    def poolings(self) -> tuple[str, ...]:
        """Some of mean, tokens, last."""
        return tuple(self.facts["poolings"])

    @property
    def d_model(self) -> int:
        return int(self.facts["model"]["d_model"])

    @property
    def model(self) -> Mapping[str, Any]:
        """name, content (hash, or hub id and commit), adapter, compute_dtype, revision, n_layers,
        d_model, n_heads."""
        model: Mapping[str, Any] = self.facts["model"]
        return model

    @property
    def vertical(self) -> Mapping[str, Any] | None:
        """Settings of vertical attention, or None where it was not captured."""
        settings: Mapping[str, Any] | None = self.facts["vertical"]
        return settings

    @property
    def has_vertical(self) -> bool:
        return self.vertical is not None

    @property
    def fingerprint(self) -> str:
        return str(self.facts["fingerprint"])

    @property
    def texts(self) -> Mapping[str, str]:
        """Problem → hash of its text and sentences."""
        texts: Mapping[str, str] = self.facts["texts"]
        return texts

    def array_names(self) -> list[str]:
        """Names of the arrays that every problem's file holds."""
        mode = None
        if self.vertical is not None:
            mode = Vertical(**self.vertical, per_head=self.facts["per_head"])
        wanted = Wanted(self.layers, self.facts["poolings"], mode)
        return [name for layer in self.layers for name in wanted.names(layer)]

    def layer(self, layer: int | None) -> int:
        """`layer`, or of those there are the nearest to the middle of the model.

        Raises BadInput for one that was not captured.
        """
        if layer is None:
            middle = int(self.facts["model"]["n_layers"]) // 2
            return min(self.layers, key=lambda each: abs(each - middle))
        if layer not in self.layers:
            raise BadInput(
                f"{self.folder}: no layer {layer}; it has {', '.join(map(str, self.layers))}"
            )
        return layer

    def data(
        self,
        frame: pd.DataFrame,
        *,
        layer: int | None = None,
        pooling: Literal["mean", "last"] | None = "mean",
        tokens: bool = False,
        vertical: bool = False,
    ) -> ProbeData:
        """Rows of `frame` that were extracted, with what one layer says of them.

        layer: None takes the only one, or the middle one. pooling: None for none. Only what is
        asked for is read. Rows of problems that the extraction left out (failures.json) are left
        out, with a warning: go on with the frame that is returned. It has token_start, token_end
        and token_count of the extraction where `frame` has none.

        Raises BadInput for what was not extracted, for rows that the extraction does not know, and
        where a sentence is another text there.
        """
        chosen = self.layer(layer)
        self._need(pooling, tokens, vertical)
        frame, index = self._matched(frame)
        names = [] if pooling is None else [array_name(chosen, pooling)]
        names += [vertical_name(chosen)] if vertical else []
        rows = self._rows(names, index)
        return ProbeData(
            frame=frame,
            mean=None if pooling is None else rows[array_name(chosen, pooling)],
            tokens=self._tokens(array_name(chosen, "tokens"), index) if tokens else None,
            vertical=rows[vertical_name(chosen)][:, None] if vertical else None,
        )

    def _need(self, pooling: str | None, tokens: bool, vertical: bool) -> None:
        wanted = [*([pooling] if pooling else []), *(["tokens"] if tokens else [])]
        missing = [name for name in wanted if name not in self.poolings]
        if missing:
            raise BadInput(
                f"{self.folder}: was extracted with --pooling {','.join(self.poolings)}, without "
                f"{','.join(missing)}; extract again with --reuse, and {','.join(missing)} too"
            )
        if vertical and not self.has_vertical:
            raise BadInput(
                f"{self.folder}: has no vertical attention; extract with --vertical light or full"
            )

    def _matched(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows of `frame` that were extracted, and their rows of the index, side by side."""
        left_out = [each for each in problems_of(frame) if each in self.failures]
        if left_out:
            logger.warning(
                "%s: %d problems were not extracted and are left out (first: %s: %s)",
                self.folder, len(left_out), left_out[0], self.failures[left_out[0]],
            )  # fmt: skip
            frame = frame[~frame["problem_id"].isin(left_out)]
        if frame.empty:
            raise BadInput(f"{self.folder}: none of these sentences were extracted (failures.json)")
        frame = frame.reset_index(drop=True)
        index = frame[["problem_id", "chunk_idx"]].merge(
            self.sentences, on=["problem_id", "chunk_idx"], how="left"
        )
        unknown = np.flatnonzero(index["row"].isna())
        if unknown.size:
            row = frame.iloc[int(unknown[0])]
            raise BadInput(
                f"{self.folder}: no sentence {row['chunk_idx']} of problem {row['problem_id']} "
                f"({unknown.size} rows are not there); extract from this table of sentences"
            )
        other = np.flatnonzero(index["chunk_text"].to_numpy() != frame["chunk_text"].to_numpy())
        if other.size:
            row = frame.iloc[int(other[0])]
            raise BadInput(
                f"{self.folder}: sentence {row['chunk_idx']} of problem {row['problem_id']} is "
                "another text there; extract from this table of sentences"
            )
        missing = [name for name in _SPAN if name not in frame.columns]
        return frame.assign(**{name: index[name].to_numpy() for name in missing}), index

    def _rows(self, names: Sequence[str], index: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
        """One row a sentence of each array, in float32."""
        found: dict[str, NDArray[np.float32]] = {}
        for problem, own in index.groupby("problem_id", sort=False):
            at, rows = own.index.to_numpy(), own["row"].to_numpy(dtype=np.int64)
            for name, array in self._read(str(problem), names).items():
                if name not in found:
                    found[name] = np.empty((len(index), *array.shape[1:]), dtype=np.float32)
                found[name][at] = array[rows]
        return found

    def _tokens(self, name: str, index: pd.DataFrame) -> Ragged:
        """All tokens of the rows' problems, in the storage type; a problem is read whole."""
        length = index["token_count"].to_numpy(dtype=np.int64)
        start = index["token_row"].to_numpy(dtype=np.int64)
        problems = problems_of(index)
        sizes = self.sentences.groupby("problem_id")["token_count"].sum()
        total = int(sum(sizes[problem] for problem in problems))
        values = np.empty((total, self.d_model), dtype=self.facts["dtype"])
        before, at = {}, 0
        for problem in problems:
            before[problem] = at
            array = self._read(problem, [name])[name]
            values[at : at + len(array)] = array
            at += len(array)
        offset = index["problem_id"].map(before).to_numpy(dtype=np.int64)
        return Ragged(values=values, start=start + offset, length=length)

    def _read(self, problem: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        from safetensors import SafetensorError, safe_open

        path = self.folder / problem_file(problem)
        try:
            with safe_open(path, "numpy") as file:
                return {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{path}: cannot be read ({error}); extract again") from None


def load(folder: Path) -> Features:
    """Open a folder of features. Raises BadInput where it is none, or of another format."""
    facts = folder / "features.json"
    if not facts.is_file():
        raise BadInput(
            f"{folder}: no features.json, so no folder of features; `whence anchors extract` makes "
            "one"
        )
    read = read_json(facts)
    if read.get("format") != FORMAT:
        raise BadInput(
            f"{facts}: format {read.get('format')}, {FORMAT} was expected; extract again"
        )
    sentences = read_table(folder / "sentences.parquet").to_pandas()
    sentences["problem_id"] = sentences["problem_id"].astype(str).astype(object)
    failures = {each["problem_id"]: each["cause"] for each in read_json(folder / "failures.json")}
    return Features(folder, read, sentences, failures)


LONGEST_NAME = 120
"""Characters of an id, percent-encoded, that go into its file's name; disks end at 255 bytes."""


def problem_file(problem: str) -> str:
    """The file of a problem; an id may hold what a file name cannot, and more of it."""
    name = quote(problem, safe=" ")
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{fingerprint(problem)[:16]}"
    return f"problem_{name}.safetensors"


def write_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write arrays, whole or not at all; equal arrays give equal bytes."""
    from safetensors.numpy import save_file

    with whole_file(path) as temporary:
        save_file({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}, temporary)


def write_index(placed: Sequence[Placed], path: Path) -> None:
    """Write sentences.parquet: where each sentence is in its text, and in its problem's file."""
    import pyarrow as pa

    from whence.anchors.features.plan import checked_spans

    columns: dict[str, list[Any]] = {
        name: [] for name in ("problem_id", "chunk_idx", *_SPAN, "row", "token_row", "chunk_text")
    }
    for each in placed:
        before = 0
        for index, span in enumerate(checked_spans(each)):
            count = span.end - span.start
            values = (each.trace.problem_id, index, *span, count, index, before)
            for name, value in zip(columns, (*values, each.trace.sentences[index]), strict=True):
                columns[name].append(value)
            before += count
    columns["problem_id"] = list(ids_for_disk(columns["problem_id"]))
    with whole_file(path) as temporary:
        write_parquet(pa.table(columns), temporary)
