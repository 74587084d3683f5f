"""Several settings of `anchors run` on the very same problems, split the same way.

Two models do not reason about the same problems rightly and wrongly. What one setting scores on its
own problems says as much of them as of the setting; so settings are brought onto the problems that
all have, drawn and split once, before anything is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from whence.anchors.rollouts.index import IndexConfig, choose, index
from whence.anchors.sentences import as_id, ids_for_disk, in_order
from whence.anchors.splits import make_splits
from whence.anchors.study import StudyConfig
from whence.errors import BadInput
from whence.runs.config import OutputConfig
from whence.runs.fingerprint import fingerprint, hash_path
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

FEWEST = 3
"""Train, val and test need a problem each."""


class SharedConfig(OutputConfig):
    """A table of sentences and its texts, cut down to some problems, with a split of them."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"metadata", "traces"})

    metadata: Path | None = Field(default=None, description="Table to cut down.")
    traces: Path | None = Field(default=None, description="Its texts.")
    problems: tuple[str, ...] = Field(description="Problems to keep.")
    seed: int = Field(description="Of the split.")
    val_fraction: float = Field(description="Share of val problems.")
    test_fraction: float = Field(description="Share of test problems.")


def share_problems(
    configs: Sequence[StudyConfig], home: Path, overwrite: bool
) -> tuple[list[StudyConfig], dict[str, Any]]:
    """Each configuration on the problems that all have, with the split of those that its own
    `dataset.seed` and fractions give; and how many problems there are, in common and in each part.

    Raises BadInput, naming settings and their numbers of problems, where fewer than three are
    common.
    """
    own: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for config in configs:
        key = _dataset(config)
        if key not in own:
            own[key], names[key] = _problems(config, home, overwrite)
    common = in_order(set.intersection(*map(set, own.values())))
    if len(common) < FEWEST:
        told = ", ".join(f"{names[key]} has {len(ids)}" for key, ids in own.items())
        raise BadInput(f"share: {len(common)} problems are in every setting ({told}); 3 are needed")
    cut: set[Path] = set()
    placed = [_on(config, common, home, overwrite, cut) for config in configs]
    parts = read_json(Path(str(placed[0].paths.splits_json)))
    sizes = {part: len(ids) for part, ids in parts.items()}
    return placed, {"in_common": len(common), "problems": sum(sizes.values()), "parts": sizes}


def _dataset(config: StudyConfig) -> str:
    """Which problems a configuration could draw from."""
    data = config.dataset
    return fingerprint(
        {
            "table": data.metadata and str(data.metadata),
            "traces": data.traces and str(data.traces),
            "tree": [data.repo_id, str(data.root), data.model_dir, data.temp_dir, data.split_dir],
            "named": list(data.problem_ids),
        }
    )[:16]


def _problems(config: StudyConfig, home: Path, overwrite: bool) -> tuple[list[str], str]:
    """Problems with labels that a configuration could draw from, and what to call them."""
    data = config.dataset
    if data.metadata is not None:
        from whence.anchors.sentences import problems_of, read_sentences

        frame = read_sentences(data.metadata)
        if "importance_signed" in frame.columns:
            frame = frame[frame["importance_signed"].notna()]
        return problems_of(frame), str(data.metadata)
    if data.traces is not None:
        from whence.anchors.traces import read_traces

        return [trace.problem_id for trace in read_traces(data.traces)], str(data.traces)
    found = index(
        IndexConfig(
            root=data.root,
            repo_id=data.repo_id,
            model_dir=data.model_dir,
            temp_dir=data.temp_dir,
            split_dir=data.split_dir,
            forced_split_dir=data.forced_split_dir,
            problem_ids=data.problem_ids,
            output_dir=home / "shared" / f"index-{_dataset(config)}",
            overwrite=overwrite,
        )
    )
    labelled = [as_id(row["problem_id"]) for row in found.problems if row["labelled"]]
    return labelled, f"{data.model_dir}/{data.split_dir}"


def _on(
    config: StudyConfig, common: Sequence[str], home: Path, overwrite: bool, cut: set[Path]
) -> StudyConfig:
    """cut: folders that this plan has made already."""
    data, training = config.dataset, config.training
    chosen = choose(list(common), (), data.num_problems, data.seed)
    settings: dict[str, Any] = {
        "metadata": data.metadata,
        "traces": data.traces,
        "problems": tuple(chosen),
        "seed": data.seed,
        "val_fraction": training.val_fraction,
        "test_fraction": training.test_fraction,
    }
    content = [hash_path(path) for path in (data.metadata, data.traces) if path is not None]
    name = fingerprint([{k: str(v) for k, v in settings.items()}, content])[:16]
    folder = home / "shared" / f"problems-{name}"
    if folder not in cut:
        cut.add(folder)
        _cut(SharedConfig(**settings, output_dir=folder, overwrite=overwrite))
    changed: dict[str, Any] = {"problem_ids": tuple(chosen)}
    if data.metadata is not None:
        changed = {"metadata": folder / "sentence_metadata.parquet", "traces": None}
    elif data.traces is not None:
        changed = {"traces": folder / "traces.jsonl"}
    paths = config.paths.model_copy(update={"splits_json": str(folder / "splits.json")})
    return config.model_copy(update={"dataset": data.model_copy(update=changed), "paths": paths})


def _cut(config: SharedConfig) -> None:
    """Write splits.json, and what is kept of table and texts."""
    inputs = {"metadata": config.metadata, "traces": config.traces}
    with open_run(
        config.output_dir,
        command="sweep share",
        config=config,
        inputs=inputs,
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if run.done:
            return
        kept = set(config.problems)
        if config.metadata is not None:
            from whence.anchors.sentences import read_sentences, write_sentences

            frame = read_sentences(config.metadata)
            frame = frame[frame["problem_id"].isin(kept)].reset_index(drop=True)
            write_sentences(frame, run.folder / "sentence_metadata.parquet")
        texts = config.traces
        if texts is None and config.metadata is not None:
            beside = config.metadata.with_name("traces.jsonl")
            texts = beside if beside.is_file() else None
        if texts is not None:
            _cut_texts(texts, kept, run.folder / "traces.jsonl")
        parts = make_splits(
            list(config.problems), config.seed, config.val_fraction, config.test_fraction
        )
        splits = {part: ids_for_disk(ids) for part, ids in parts.items()}
        write_json(run.folder / "splits.json", splits)


def _cut_texts(texts: Path, kept: set[str], into: Path) -> None:
    """Lines of traces.jsonl as they are, labels included."""
    from whence.runs.jsonfile import read_jsonl, write_jsonl

    lines = [line for line in read_jsonl(texts) if as_id(line["problem_id"]) in kept]
    write_jsonl(into, lines)
