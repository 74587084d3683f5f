"""Rankings side by side: read, checked to be of the same rows, and what they differ in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.runs.fingerprint import RECORD_NAME
from whence.runs.folder_names import told_apart
from whence.runs.jsonfile import read_json
from whence.runs.labels import group_keys
from whence.runs.manifest import load_manifest, read_split
from whence.runs.ranking import TEXTS, check_covers, read_ranking, scores_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LENGTH = "length_tokens"


@dataclass(frozen=True)
class SideBySide:
    """Rankings of the same rows, all in the first one's order of rows.

    names: one per ranking, told apart. scores: name → float64 [rows]. settings: name → how it was
    made, as far as its folder says. row_ids: [rows]. lengths: tokens, [rows], where one of the
    tables has them. clusters: what is resampled, a label per row, or None for rows. unit: its name.
    """

    names: Sequence[str]
    scores: Mapping[str, np.ndarray]
    settings: Mapping[str, Mapping[str, Any]]
    row_ids: Sequence[str]
    lengths: np.ndarray | None
    clusters: Sequence[str] | None
    unit: str

    @property
    def differing(self) -> dict[str, list[Any]]:
        """Settings that all folders tell and not all alike: name → value of each ranking."""
        told = [self.settings[name] for name in self.names]
        keys = [key for key in told[0] if all(key in found for found in told)]
        values = {key: [found[key] for found in told] for key in keys}
        return {key: each for key, each in values.items() if any(v != each[0] for v in each)}


def side_by_side(paths: Sequence[Path], manifest: Path | None, pool_split: str) -> SideBySide:
    """Read rankings and put them side by side.

    Raises BadInput for one given twice, for rankings of other rows or other texts, for one with
    the same score in every row, and where the manifest's pool is not what was ranked.
    """
    files = [scores_file(path) for path in paths]
    for at, file in enumerate(files):
        if file.resolve() in [other.resolve() for other in files[:at]]:
            raise BadInput(f"--scores {paths[at]}: given twice; a ranking agrees with itself")
    names = told_apart(paths)
    tables = [read_ranking(file) for file in files]
    first = tables[0].set_index("row_id")
    scores: dict[str, np.ndarray] = {}
    for name, file, table in zip(names, files, tables, strict=True):
        _check_same_rows(table, tables[0], file, files[0])
        if table["score"].nunique() < 2:
            raise BadInput(
                f"{file}: the score is the same in all {len(table)} rows: it ranks nothing"
            )
        scores[name] = table.set_index("row_id")["score"].reindex(first.index).to_numpy()
    clusters = None
    if manifest is not None:
        known = load_manifest(manifest)
        pool = read_split(known, pool_split)
        check_covers(tables[0], pool, files[0], known.split(pool_split))
        groups = dict(zip(pool["row_id"], group_keys(pool, ()), strict=True))
        clusters = [groups[row_id] for row_id in first.index]
    lengths = next((t.set_index("row_id")[LENGTH] for t in tables if LENGTH in t.columns), None)
    return SideBySide(
        names=names,
        scores=scores,
        settings={name: _settings(file) for name, file in zip(names, files, strict=True)},
        row_ids=first.index.tolist(),
        lengths=None if lengths is None else lengths.reindex(first.index).to_numpy(),
        clusters=clusters,
        unit="row" if clusters is None else "group",
    )


def depths(asked: Sequence[int], rows: int) -> tuple[int, ...]:
    """The k of the overlaps. Raises BadInput for one that takes all rows, or a pool too small."""
    if rows < 2:
        raise BadInput(f"the rankings have {rows} row: there is no order to agree on")
    for k in asked:
        if k >= rows:
            raise BadInput(
                f"--k {k}: the rankings have {rows} rows, and all of them overlap by themselves; "
                f"choose 1 to {rows - 1}"
            )
    usual = tuple(k for k in (50, 100, 200) if 2 * k <= rows)
    return tuple(asked) or usual or (max(1, rows // 4),)


def _check_same_rows(table: pd.DataFrame, first: pd.DataFrame, file: Path, of: Path) -> None:
    here, there = set(table["row_id"]), set(first["row_id"])
    if here != there:
        strange = min(here ^ there)
        raise BadInput(
            f'{file} and {of} rank other rows: "{strange}" is in one only ({len(here & there)} '
            f"of {len(here | there)} are in both); give rankings of one pool"
        )
    if TEXTS in table.columns and TEXTS in first.columns:
        known = dict(zip(first["row_id"], first[TEXTS], strict=True))
        for row_id, digest in zip(table["row_id"], table[TEXTS], strict=True):
            if digest != known[row_id] and None not in (digest, known[row_id]):
                raise BadInput(
                    f'{file} and {of}: row_id "{row_id}" had another text in each; give rankings '
                    "of one pool"
                )


def _settings(file: Path) -> dict[str, Any]:
    """How a ranking was made: settings in the summary beside it, and its record's inputs."""
    found: dict[str, Any] = {}
    for name in ("summary.json", RECORD_NAME):
        beside = file.parent / name
        if not beside.is_file():
            continue
        content = read_json(beside)
        if not isinstance(content, dict):
            continue
        if name == "summary.json":
            found |= {key: content[key] for key in ("rows", "queries") if key in content}
            settings = content.get("settings")
            found |= settings if isinstance(settings, dict) else {}
            model = content.get("model")
            found |= {"dtype": model.get("dtype")} if isinstance(model, dict) else {}
        else:
            inputs = content.get("inputs")
            for key in ("adapter", "query", "base_model"):
                given = inputs.get(key) if isinstance(inputs, dict) else None
                if isinstance(given, dict):
                    found[key] = (given.get("sha256") or str(given.get("value")))[:12]
    return found
