"""A small laboratory: corpora with splits, and configuration files in the earlier lab's form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from small_rows import SMALL_CORPUS

from whence.heads.run import RunConfig

KEYS = ("clean", "corrupt", "target", "foil")
SUBSET = {"type": "heads_subset_zero", "groups": [{"heads": ["0:1", "2:0"], "label": "two"}]}


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def corpus(home: Path, name: str, rows: Sequence[int]) -> Path:
    """`home/corpora/<name>.jsonl` of some rows of the small corpus; all but the last are train."""
    path = home / "corpora" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = [dict(zip(KEYS, SMALL_CORPUS[row], strict=True)) for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen))
    numbers = list(range(len(rows)))
    parts = {"train": numbers[:-1], "val": [], "test": numbers[-1:]}
    put(home / "splits" / f"{name}.split.json", {"seed": 0, **parts})
    return path


def cross(folder: Path, battery: Mapping[str, Any] = SUBSET, **shared: Any) -> dict[str, Any]:
    """A plan of two conditions, `facts` and `neg`."""
    return {
        "run_name": "lab",
        "battery": dict(battery),
        "shared": {
            "seeds": [0, 1, 2],
            "device": "cpu",
            "model": {"family": "gpt2", "name": str(folder), "dtype": "float32"},
            "dataset": {"id": "facts", "split": "train"},
            "metrics": ["logit_diff", "kl_div"],
            **shared,
        },
        "conditions": [{"tag": "facts"}, {"tag": "neg", "dataset": {"id": "negation"}}],
    }


def single(folder: Path, battery: Mapping[str, Any] = SUBSET, **more: Any) -> dict[str, Any]:
    """A plan of one run."""
    shared = cross(folder, battery, **more)["shared"]
    return {"run_name": "one", "battery": dict(battery), **shared}


def config(home: Path, plan: Mapping[str, Any], **more: Any) -> RunConfig:
    """The command's settings for a plan, written to `home/configs/run.json`."""
    path = put(home / "configs" / "run.json", plan)
    return RunConfig(**{"plan": path, "output_dir": home / "out", **more})
