"""A model, an adapter with weights of its own, and rows of games."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pandas as pd

    from whence.models.load import Loaded

WORDS = ["red", "river", "fox", "bird", "lives", "by", "it", "is", "no", "yes", "a", "the"]


@pytest.fixture(scope="session")
def adapter(random_gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of `random_gemma`, rank 4 on every linear layer, B not zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    from whence.models.load import load_model

    torch.manual_seed(1)
    model = get_peft_model(
        load_model(str(random_gemma), device="cpu").model,
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    folder = tmp_path_factory.mktemp("adapters") / "lora"
    model.peft_config["default"].base_model_name_or_path = str(random_gemma)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., pd.DataFrame]:
    """Rows of unequal length, some of them longer than 64 tokens."""

    def make(count: int, seed: int) -> pd.DataFrame:
        import pandas as pd

        rng = random.Random(seed)
        rows: list[dict[str, Any]] = []
        for i in range(count):
            clue = " ".join(rng.choices(WORDS, k=rng.randint(2, 14)))
            rows.append(
                {
                    "row_id": f"s{seed}-{i}",
                    "prompt": f"USER: CLUE: {clue}",
                    "completion": "GUESS: " + " ".join(rng.choices(WORDS, k=rng.randint(1, 5))),
                    "kind": rng.choice(["useful", "other"]),
                    "turns": i % 3,
                    "reward": None if i % 7 == 0 else rng.random(),
                }
            )
        return pd.DataFrame(rows)

    return make


@pytest.fixture(scope="module")
def loaded(random_gemma: Path, adapter: Path) -> Loaded:
    """The model with its adapter attached."""
    from whence.models.load import load_model

    return load_model(str(random_gemma), adapter=adapter, device="cpu")


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory, make_rows: Any) -> Path:
    """A manifest with a pool of 48, 9 queries and 5 rows to evaluate on."""
    from whence.runs.manifest import Split, write_manifest, write_split

    home = tmp_path_factory.mktemp("run")
    splits = {}
    for seed, (name, count) in enumerate([("score_pool", 48), ("attr_query", 9), ("eval", 5)]):
        path = home / "data" / f"{name}.parquet"
        splits[name] = Split(name, path, write_split(make_rows(count, seed), path))
    write_manifest(home / "manifest.json", splits, {"split_policy": {"stratify_by": ["kind"]}})
    return home / "manifest.json"
