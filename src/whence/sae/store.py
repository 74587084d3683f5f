"""A folder of `whence sae extract`, and how the rest of `sae` reads it.

    X/summary.json     what was extracted: model, text, tokens, and per layer hook, L0, fit
    X/examples.jsonl   a row per extracted row, in the arrays' order: `row_id` and its metadata
    X/<sae_id>.npz     per layer (names made safe for disks by `layer_file`):
        feature_presence         bool    [rows, d_sae]   active at any counted token
        feature_activation_mean  float32 [rows, d_sae]   mean over counted tokens, inactive as 0
        sample_stats             float32 [rows, 10]      see `whence.sae.sample_stats`
        seq_lens                 int32   [rows]          counted tokens
        stat_feature_names       text    [10]
    X/<sae_id>.parquet above a size limit, the same without its zeros: `row_id, seq_len`, a column a
        statistic, and per row the lists `feature_ids` (int32, ascending: the features present) and
        `feature_activation_means` (float32, one each)

Nothing in it needs pickle. Folders of the earlier system (NPZ and examples.jsonl) are read as well.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.runs.tables import read_table
from whence.sae.sample_stats import SAMPLE_STATS

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

ARRAYS = ("feature_presence", "sample_stats", "seq_lens", "stat_feature_names")


@dataclass(frozen=True)
class Layer:
    """One SAE's arrays. facts: its entry in summary.json, empty where there is no summary.

    presence: bool [rows, d_sae]; activation_mean: float32 [rows, d_sae], or None in folders of the
    earlier system; both sparse. sample_stats: float32 [rows, 10]. seq_lens: int32 [rows].
    """

    sae_id: str
    file: Path
    facts: Mapping[str, Any]
    presence: csr_array
    activation_mean: csr_array | None
    sample_stats: NDArray[np.float32]
    seq_lens: NDArray[np.int32]
    stat_names: tuple[str, ...]

    @property
    def d_sae(self) -> int:
        return int(self.presence.shape[1])


@dataclass(frozen=True)
class Extraction:
    """A folder of extracted features. files: sae_id → its file, in the order of the summary."""

    folder: Path
    summary: Mapping[str, Any]
    examples: pd.DataFrame
    files: Mapping[str, Path]

    @property
    def row_ids(self) -> list[str]:
        """Row ids in the order of the arrays' rows."""
        return list(self.examples["row_id"])

    def layer(self, sae_id: str) -> Layer:
        """Read one SAE's arrays. Raises BadInput where it is not there or does not fit the rows."""
        if sae_id not in self.files:
            raise BadInput(f'{self.folder}: no SAE "{sae_id}"; it has {", ".join(self.files)}')
        file = self.files[sae_id]
        facts: Mapping[str, Any] = next(
            (each for each in self.summary.get("layers", ()) if each["sae_id"] == sae_id), {}
        )
        read = _read_parquet if file.suffix == ".parquet" else _read_npz
        layer = read(sae_id, file, facts)
        if len(layer.sample_stats) != len(self.examples):
            raise BadInput(
                f"{file}: {len(layer.sample_stats)} rows, and {self.folder / 'examples.jsonl'} "
                f"has {len(self.examples)}: they are not of one extraction; extract again"
            )
        return layer


def layer_file(sae_id: str) -> str:
    """The name of a layer's file without its ending: every character that disks dislike is `_`."""
    return re.sub(r"[^a-zA-Z0-9_.-]+", "_", sae_id)


def open_extraction(folder: Path, sae_ids: Sequence[str] = ()) -> Extraction:
    """Open an extraction. sae_ids: the SAEs wanted, in this order; none means all.

    Raises BadInput, naming what is missing, for a folder that is no extraction, an SAE that it does
    not have, and examples without row ids or with one twice.
    """
    listing = folder / "examples.jsonl"
    if not listing.is_file():
        raise BadInput(f"{folder}: no examples.jsonl; expected a folder of `whence sae extract`")
    examples = read_table(listing).to_pandas()
    if "row_id" not in examples.columns:
        raise BadInput(f"{listing}: no row_id in its rows")
    examples["row_id"] = examples["row_id"].astype(str)
    for number in np.flatnonzero(examples["row_id"].duplicated())[:1]:
        raise BadInput(
            f'{listing}, line {number + 1}: row_id "{examples["row_id"][number]}" is doubled'
        )
    record = folder / "summary.json"
    summary = read_json(record) if record.is_file() else {}
    files = {each["sae_id"]: folder / each["file"] for each in summary.get("layers", ())}
    if not files:
        files = {path.stem: path for path in sorted(folder.glob("*.npz"))}
    if not files:
        raise BadInput(f"{folder}: no features of any SAE (.npz); run `whence sae extract`")
    # The earlier system's folders know an SAE by its file name alone.
    by_name = {**{layer_file(sae_id): sae_id for sae_id in files}, **{each: each for each in files}}
    for sae_id in sae_ids:
        if sae_id not in by_name:
            raise BadInput(f'{folder}: no SAE "{sae_id}"; it has {", ".join(files)}')
    chosen = [by_name[sae_id] for sae_id in sae_ids] or list(files)
    return Extraction(folder, summary, examples, {sae_id: files[sae_id] for sae_id in chosen})


def _read_npz(sae_id: str, file: Path, facts: Mapping[str, Any]) -> Layer:
    from scipy.sparse import csr_array

    if not file.is_file():
        raise BadInput(f"{file}: no such file, although summary.json names it; extract again")
    try:
        with np.load(file, allow_pickle=False) as stored:
            missing = [name for name in ARRAYS if name not in stored.files]
            if missing:
                raise BadInput(f"{file}: no array {', '.join(missing)}; extract again")
            means = stored.get("feature_activation_mean")
            return Layer(
                sae_id=sae_id,
                file=file,
                facts=facts,
                presence=csr_array(stored["feature_presence"].astype(bool)),
                activation_mean=None if means is None else csr_array(means.astype(np.float32)),
                sample_stats=stored["sample_stats"].astype(np.float32),
                seq_lens=stored["seq_lens"].astype(np.int32),
                stat_names=tuple(str(name) for name in stored["stat_feature_names"]),
            )
    except (ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{file}: not readable arrays ({line[:120]}); extract again") from error


def _read_parquet(sae_id: str, file: Path, facts: Mapping[str, Any]) -> Layer:
    from scipy.sparse import csr_array

    table = read_table(file)
    lists = {
        name: table[name].combine_chunks() for name in ("feature_ids", "feature_activation_means")
    }
    starts = np.concatenate(
        [[0], np.cumsum([len(each) for each in lists["feature_ids"]], dtype=np.int64)]
    )
    ids = lists["feature_ids"].flatten().to_numpy()
    means = lists["feature_activation_means"].flatten().to_numpy()
    shape = (table.num_rows, int(facts["d_sae"]))
    return Layer(
        sae_id=sae_id,
        file=file,
        facts=facts,
        presence=csr_array((np.ones(len(ids), dtype=bool), ids, starts), shape=shape),
        activation_mean=csr_array((means, ids, starts), shape=shape),
        sample_stats=np.stack(
            [table[name].to_numpy().astype(np.float32) for name in SAMPLE_STATS], axis=1
        ),
        seq_lens=table["seq_len"].to_numpy().astype(np.int32),
        stat_names=SAMPLE_STATS,
    )
