"""Peak memory of `whence data score` for pools of different sizes.

    uv run python benchmarks/score_memory.py --rows 1000 10000

Each size is one process from a cold start; the peak is the largest resident size that the kernel
saw. Gradients of pool rows exist one batch at a time, so what grows with the pool is its text, its
token ids (12 bytes a token) and a few numbers a row. One pool's per-row gradients would take
`gradients` in the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from score_case import make_case, timed, whence_score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--token-batch-size", type=int, default=2048)
    options = parser.parse_args()
    print("| pool rows | peak RSS | gradients of the pool | seconds |")
    print("| --- | --- | --- | --- |")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            case = make_case(home / "case", rows, options.queries, max_length=512)
            output = home / "scored"
            took = timed(whence_score(case, output, options.token_batch_size), home / "log")
            summary = json.loads((output / "summary.json").read_text())
            gradients = 4 * rows * summary["gradient"]["dimensions"]
            print(
                f"| {rows:,} | {took.peak / 1e6:,.0f} MB | {gradients / 1e9:.1f} GB "
                f"| {took.seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
