"""`whence data build`: read, filter, split, check and write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.data.build.assemble import Built, make_splits
from whence.data.build.read import inputs_of, read_parts
from whence.data.build.recipe import Recipe
from whence.data.build.settings import BuildConfig
from whence.models.load import load_tokenizer
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import Manifest, Split, load_manifest, write_manifest, write_split
from whence.runs.store import open_run

NEAR_REPORT = "near_duplicates.json"
NEAR_PAIRS = "near_duplicates.parquet"


@dataclass(frozen=True)
class BuildResult:
    """manifest: the written manifest. done_before: nothing had to be done."""

    manifest: Manifest
    done_before: bool

    def finding(self) -> Finding:
        """The splits with their sizes, what the filters left out, what was cut, what leaks."""
        kept = self.manifest.raw["filter_stats"]
        read = sum(stats["rows_read"] for stats in kept.values())
        usable = sum(stats["kept"] for stats in kept.values())
        folder = self.manifest.path.parent
        near = folder / NEAR_REPORT
        said = [
            f"{'Already built' if self.done_before else 'Built'}: "
            f"{usable:,} of {read:,} rows could be drawn.",
            *_cuts(kept),
            *_apart(self.manifest.raw["split_policy"]),
            *(_leaks(read_json(near)) if near.is_file() else ()),
            *_same_prompts(self.manifest.raw),
        ]
        others = {
            "withheld columns": folder / "withheld.parquet",
            "near-duplicates": near,
        }
        return Finding(
            headline=" ".join(said),
            columns=("split", "rows", "file"),
            rows=[
                (split.name, f"{split.rows:,}", self.manifest.raw["splits"][split.name]["path"])
                for split in self.manifest.splits.values()
            ],
            files={
                "manifest": self.manifest.path,
                **{what: path for what, path in others.items() if path.is_file()},
            },
        )


def build(config: BuildConfig) -> BuildResult:
    """Read, filter, split, check and write.

    Writes `manifest.json`, `data/<split>.parquet`, the near-duplicates and, for withheld columns,
    `withheld.parquet` into `config.run_dir`. Raises BadInput, leaving nothing behind, for data that
    cannot be read, lack a column, or have too few rows for the sizes asked for.
    """
    with open_run(
        config.run_dir,
        command="data build",
        config=config,
        inputs=inputs_of(config),
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            parts, origin = read_parts(config)
            _write(run.folder, make_splits(parts, _recipe(config)), origin)
    return BuildResult(load_manifest(config.run_dir / "manifest.json"), run.done)


def _recipe(config: BuildConfig) -> Recipe:
    return Recipe(
        train=config.train_size,
        query=config.query_size,
        evaluation=config.eval_size,
        pool=config.pool_size,
        seed=config.seed,
        stratify_by=config.stratify_by,
        max_tokens=config.max_conversation_tokens,
        min_reward=config.min_reward_model_score,
        tokenizer=load_tokenizer(config.base_model) if config.base_model else None,
        cut_to=config.max_tokens_per_row,
        withhold=config.withhold,
        query_fraction=config.query_fraction,
        disjoint_by=config.apart,
        near_threshold=config.near_duplicate_threshold if config.near_duplicates else None,
        drop_near=config.drop_near_duplicates,
    )


def _write(folder: Path, built: Built, origin: Mapping[str, Any]) -> None:
    splits = {}
    for name, table in built.splits.items():
        shared = name == "score_pool" and built.sections["split_policy"]["score_pool_is_train_base"]
        path = folder / "data" / f"{'train_base' if shared else name}.parquet"
        rows = table.num_rows if shared else write_split(table, path)
        splits[name] = Split(name, path, rows)
    if built.withheld is not None:
        write_split(built.withheld, folder / "withheld.parquet")
    if built.near is not None:
        write_json(folder / NEAR_REPORT, built.near.report)
        write_split(built.near.pairs, folder / NEAR_PAIRS)
    write_manifest(folder / "manifest.json", splits, {"dataset": origin, **built.sections})


def _cuts(stats: Mapping[str, Mapping[str, int]]) -> list[str]:
    names = ("cut_to_max_tokens_per_row", "tokens_cut", "completion_over_max_tokens_per_row")
    rows, tokens, over = (sum(one.get(name, 0) for one in stats.values()) for name in names)
    if not rows and not over:
        return []
    left = f", {over:,} left out because the completion alone is as long" if over else ""
    return [f"{rows:,} rows were cut by {tokens:,} tokens or words{left}."]


def _apart(policy: Mapping[str, Any]) -> list[str]:
    found = policy.get("disjoint") or {}
    if "disjoint_by" not in found:
        return []
    return [
        f"{found['training_rows_with_a_value_of_eval']:,} rows may not train because eval has "
        f"their {found['disjoint_by']}, {found['training_rows_without_value']:,} because they have "
        "none."
    ]


def _same_prompts(manifest: Mapping[str, Any]) -> list[str]:
    """Exact prompts on both sides, which near-duplicates are not where completions differ."""
    said = []
    for pair, prompts in manifest["checks"].get("shared_prompts", {}).items():
        one, _, other = pair.partition("&")
        alias = one == "score_pool" and manifest["split_policy"]["score_pool_is_train_base"]
        if prompts and not alias:
            said.append(f"{prompts:,} prompts of {other} are in {one} too, answered otherwise.")
    return said


def _leaks(report: Mapping[str, Any]) -> list[str]:
    said = []
    if dropped := report.get("dropped_from_training"):
        said.append(f"{dropped:,} near-duplicates of query and eval rows may not train.")
    for pair, found in report["compared"].items():
        one, _, other = pair.partition("&")
        if found["pairs"]:
            side = found[other]
            said.append(
                f"{side['with_near_duplicate']:,} of {side['rows']:,} {other} rows have a "
                f"near-duplicate in {one}."
            )
    return said
