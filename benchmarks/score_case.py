"""The case that the scoring benchmarks share: the tiny model, an adapter, games, timed commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """manifest, adapter: what `whence data score` takes. pool, query: the same rows, pretokenised,
    as saved data sets for Bergson's own commands. base: folder of the model.
    """

    manifest: Path
    adapter: Path
    base: str
    pool: Path
    query: Path


@dataclass(frozen=True)
class Timed:
    """One process, from a cold start to its end. seconds: wall. cpu: user + system, all threads.
    peak: largest resident size in bytes.
    """

    seconds: float
    cpu: float
    peak: int


GAMES = 900
"""Distinct games; a larger pool repeats them, which changes neither cost nor memory."""


def make_case(home: Path, rows: int, queries: int, max_length: int) -> Case:
    """Taboo games of the tiny world, and a rank-16 adapter on every linear layer of its model.

    The adapter's B matrices are random rather than trained: cost and numbers do not care.
    """
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model

    from whence.data.build import BuildConfig, build
    from whence.models.adapters import save_adapter
    from whence.models.alignment import align_rows
    from whence.models.load import load_model
    from whence.runs.manifest import Split, load_manifest, read_split, write_manifest, write_split
    from whence.tiny.make import MakeConfig, make

    make(MakeConfig(kind="games", out=home / "games", count=GAMES, query=queries, evaluation=10))
    build(
        BuildConfig(
            run_dir=home / "built",
            train_file=home / "games" / "pool.jsonl",
            test_file=home / "games" / "test.jsonl",
            train_size=GAMES,
            query_size=queries,
            eval_size=10,
            stratify_by=(),
        )
    )
    built = load_manifest(home / "built" / "manifest.json")
    base = load_model("tiny", device="cpu")
    splits = {}
    for name, count in (("score_pool", rows), ("attr_query", queries)):
        games = read_split(built, name)
        games = games.iloc[[i % len(games) for i in range(count)]].reset_index(drop=True)
        games["row_id"] = [f"{name}-{i}" for i in range(count)]
        path = home / "data" / f"{name}.parquet"
        splits[name] = Split(name, path, write_split(games, path))
        aligned = align_rows(games, base.tokenizer, max_length)
        Dataset.from_dict(
            {
                "input_ids": [row.input_ids for row in aligned],
                "labels": [row.labels for row in aligned],
            }
        ).save_to_disk(str(home / name))
    write_manifest(home / "manifest.json", splits, {})

    torch.manual_seed(0)
    model = get_peft_model(base.model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    save_adapter(model, base, home / "adapter")
    return Case(
        manifest=home / "manifest.json",
        adapter=home / "adapter",
        base=base.source,
        pool=home / "score_pool",
        query=home / "attr_query",
    )


def whence_score(case: Case, output: Path, token_batch_size: int) -> list[str]:
    """The command line of `whence data score` on a case."""
    return [
        sys.executable, "-m", "whence", "data", "score",
        "--manifest", str(case.manifest),
        "--adapter-path", str(case.adapter),
        "--output-dir", str(output),
        "--token-batch-size", str(token_batch_size),
        "--device", "cpu",
        "--overwrite",
    ]  # fmt: skip


def timed(command: list[str], log: Path) -> Timed:
    """Run a command to its end, its output into `log`. Raises RuntimeError when it fails."""
    started = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    # Linux counts ru_maxrss in kilobytes, macOS in bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Timed(seconds, usage.ru_utime + usage.ru_stime, peak)
