"""`whence data build` on 50,000 rows of SmolTalk's schema: time, memory, and twice the same bytes.

    uv run python benchmarks/smoltalk_build.py --rows 50000 --output-dir /tmp/smoltalk

Writes a saved Hugging Face data set with the columns of HuggingFaceTB/smoltalk, smol-magpie-ultra:
chats of 2 to 6 turns, some with a system turn, gaps in the metadata, text beyond ASCII, 1 to 2
thousand tokens a row. Then runs the real command on it, as a process of its own, twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CATEGORIES = (
    "math", "coding", "reasoning", "data-analysis", "information-seeking", "advice-seeking",
    "editing", "creative-writing", "role-playing", "planning", "brainstorming",
)  # fmt: skip
DIFFICULTIES = ("very easy", "easy", "medium", "hard", "very hard")
QUALITIES = ("very poor", "poor", "average", "good", "excellent")
TEST_SHARE = 0.05
BEYOND_ASCII = ("naïve", "Größe", "数学", "✨", "Ωmega", "façade", "שלום", "🦊")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rows", type=int, default=50_000)
    asked.add_argument("--output-dir", type=Path, required=True)
    given = asked.parse_args()
    folder = given.output_dir / "smoltalk"
    if not folder.is_dir():
        write_smoltalk(folder, given.rows)
    hashes = []
    for number in (1, 2):
        run = given.output_dir / f"run-{number}"
        command = [
            sys.executable, "-m", "whence", "data", "build", "--dataset-name", str(folder),
            "--dataset-config", "smol-magpie-ultra", "--run-dir", str(run), "--overwrite",
        ]  # fmt: skip
        subprocess.run(command, check=True)
        record = json.loads((run / "whence.json").read_text(encoding="utf-8"))
        hashes.append(content(run))
        print(
            f"run {number}: {record['seconds']:.1f} s, "
            f"{record['peak_memory_bytes'] / 2**30:.2f} GiB at most"
        )
    print("equal bytes" if hashes[0] == hashes[1] else "NOT equal bytes")


def write_smoltalk(folder: Path, rows: int, seed: int = 0) -> None:
    """Save `rows` training rows, and a twentieth as many to test on, as `datasets` does."""
    from datasets import Dataset, DatasetDict

    DatasetDict(
        {
            split: Dataset.from_generator(
                smoltalk_rows,
                gen_kwargs={"rows": size, "seed": seed + at},
                cache_dir=str(folder.with_name(f"{folder.name}.cache")),
            )
            for at, (split, size) in enumerate(
                {"train": rows, "test": max(1, int(rows * TEST_SHARE))}.items()
            )
        }
    ).save_to_disk(folder)


def smoltalk_rows(
    rows: int, seed: int, words: tuple[int, int] = (250, 600)
) -> Iterator[dict[str, Any]]:
    """Rows of the schema; words: least and most of each turn."""
    rng = random.Random(seed)
    vocabulary = [*(f"{a}{b}" for a in SYLLABLES for b in SYLLABLES), *BEYOND_ASCII]
    weights = [1 / (rank + 3) for rank in range(len(vocabulary))]
    text = rng.choices(vocabulary, weights, k=400_000)
    for number in range(rows):
        turns = rng.choice((2, 4, 4, 6, 6, 6))
        messages = [{"role": "system", "content": "You are helpful."}] if number % 6 == 0 else []
        total = 0
        for turn in range(turns):
            size = rng.randint(*words) if turn % 2 else rng.randint(10, 80)
            start = rng.randrange(len(text) - size)
            total += size
            role = "assistant" if turn % 2 else "user"
            content = f"{' '.join(text[start : start + size])} {number}"
            messages.append({"role": role, "content": content})
        gap = rng.random() < 0.03
        yield {
            "messages": messages,
            "category": None
            if rng.random() < 0.02
            else rng.choices(CATEGORIES, range(11, 0, -1))[0],
            "difficulty": None if gap else rng.choice(DIFFICULTIES),
            "quality": None if gap else rng.choice(QUALITIES),
            "reward_model_score": None if rng.random() < 0.05 else rng.gauss(0.15, 0.03),
            "conversation_tokens": None if rng.random() < 0.01 else int(total * 1.3),
        }


SYLLABLES = tuple(a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "on", "ur"))


def content(folder: Path) -> dict[str, str]:
    """File → hash, of all that a build writes but its record."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "whence.json"
    }


if __name__ == "__main__":
    main()
