"""Subsets on disk: what was drawn, how well it matches, and the manifest to train from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.draws import Drawn, ranking_of
from whence.data.matched import MatchedDraw
from whence.data.rankings import trained_on
from whence.runs.jsonfile import write_json
from whence.runs.manifest import (
    Manifest,
    Split,
    relative_path,
    write_manifest,
    write_split,
)
from whence.runs.ranking import token_lengths

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CARRIED_SPLITS = ("attr_query", "eval")


def write_subsets(
    folder: Path,
    drawn: Mapping[str, Drawn],
    *,
    home: Path,
    parent: Manifest,
    pool: pa.Table,
    ranking: pd.DataFrame,
    pool_split: str,
    settings: Mapping[str, Any],
    rankings: Mapping[str, pd.DataFrame] | None = None,
) -> Manifest:
    """Write the arms' rows and what they are into `folder`, which is to become `home`.

    `subsets/<arm>.parquet`, `subsets/subset_manifest.json` (per arm: rows, tokens, scores, shared
    rows; strata and token budgets of matched draws), and `continuation_manifest.json`, which has
    the arms as splits beside the parent's query and eval splits. `pool` is the whole split;
    `settings` (seed, match_on, …) is recorded; `rankings` has those that arms with a `by` were
    drawn from: scores and ranks are theirs, for a matched draw those of the arm that it matches.
    Returns the continuation manifest in `folder`.
    """
    import pyarrow as pa

    frame = pool.select(["row_id", "prompt", "completion"]).to_pandas()
    if "conversation_tokens" in pool.column_names:
        frame["conversation_tokens"] = pool["conversation_tokens"].to_pandas()
    lengths, unit = token_lengths(frame, ranking)
    tokens = dict(zip(frame["row_id"], lengths, strict=True))
    place = {row_id: i for i, row_id in enumerate(frame["row_id"])}
    splits: dict[str, Split] = {}
    described: dict[str, Any] = {}
    for name, arm in drawn.items():
        path = folder / "subsets" / f"{name}.parquet"
        write_split(pool.take(pa.array([place[row_id] for row_id in arm.row_ids])), path)
        splits[name] = Split(name, path, len(arm.row_ids))
        ranked = drawn[arm.of].arm if arm.of else arm.arm
        used = ranking_of(ranked, ranking, rankings or {})
        ranks = used.set_index("row_id").loc[arm.row_ids]
        described[name] = {
            "arm": arm.arm.spec,
            "path": path.name,
            "rows": len(arm.row_ids),
            "tokens": sum(int(tokens[row_id]) for row_id in arm.row_ids),
            "score": _extent(ranks["score"]),
            "rank": _extent(ranks["rank"]),
            "shared_rows": {
                other: len(set(arm.row_ids) & set(drawn[other].row_ids))
                for other in drawn
                if other != name
            },
            "match": _describe(arm.of, arm.match) if arm.match else None,
            **({} if ranked.by is None else {"ranked_by": ranked.by}),
            **_seen(arm, used),
        }
    source = {
        "parent_manifest": relative_path(parent.path, folder, home),
        "pool_split": pool_split,
        "pool_rows": pool.num_rows,
        **settings,
    }
    write_json(
        folder / "subsets" / "subset_manifest.json",
        {**source, "token_unit": unit, "arms": described},
    )
    for name in CARRIED_SPLITS:
        if name in parent.splits:
            splits[name] = parent.splits[name]
    path = folder / "continuation_manifest.json"
    sections = {"dataset": parent.raw.get("dataset"), "selection": source}
    write_manifest(path, splits, sections, home=home)
    return Manifest(path, splits, sections)


def _seen(drawn: Drawn, used: pd.DataFrame) -> dict[str, int]:
    """`trained_on`: rows that the predictor behind a ranking was fitted on, which it ranks better
    than it would rank new ones.
    """
    if "part" not in used.columns or drawn.arm.kind in ("full", "matched_random"):
        return {}
    return {"trained_on": len(trained_on(used) & set(drawn.row_ids))}


def _extent(values: pd.Series) -> dict[str, float]:
    return {"min": values.min(), "mean": values.mean(), "max": values.max()}


def _describe(of: str | None, match: MatchedDraw) -> dict[str, Any]:
    return {
        "of": of,
        "notes": match.notes(),
        "token_budget": match.budget,
        "within_tolerance": match.budget.within,
        "borrowed": match.borrowed,
        "strata": match.strata,
    }
