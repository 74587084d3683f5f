"""What the tests of heads share: random models on disk, and a small corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_rows import SMALL_CORPUS


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten rows, nine distinct clean prompts of several lengths, answers of one token in the zoo."""
    path = tmp_path_factory.mktemp("corpora") / "small.jsonl"
    keys = ("clean", "corrupt", "target", "foil")
    rows = [dict(zip(keys, row, strict=True)) for row in SMALL_CORPUS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def probe_gpt2(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of 14 blocks × 8 heads, as many as the earlier lab's configs name.

    Every target and foil of the real corpora is one token of its tokenizer; prompts are not.
    """
    import transformers
    import zoo

    answers = {
        row[key]
        for path in sorted((shared_data / "probes" / "corpora").glob("*.jsonl"))
        for row in map(json.loads, path.read_text().splitlines())
        for key in ("target", "foil")
    }
    tokenizer = zoo.make_tokenizer(sorted(answers), None, bos=False)
    config: Any = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=64, n_layer=14, n_head=8, n_positions=256,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "probe-gpt2"
    zoo.randomised(config, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
