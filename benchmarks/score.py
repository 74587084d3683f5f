"""`whence data score` against Bergson's own commands, whole processes, in turns.

    uv run python benchmarks/score.py --rounds 5

Both score the same pool against the same queries with the same model, adapter and token ids (mean
mode, unit norm, exact gradients): Whence in one process; Bergson with `reduce` for the query and
`score` for the pool. Whence also writes diagnostics and subsets in its time. Who goes first changes
from round to round. Prints a table, the median of the ratios, and how far the scores differ; fails
where that is more than 1e-5 of the largest score.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from score_case import Case, Timed, make_case, timed, whence_score

TOLERANCE = 1e-5


def bergson_commands(case: Case, home: Path, token_batch_size: int) -> list[list[str]]:
    """`bergson reduce` and `bergson score`, writing into `home`."""
    common = [
        "--model", str(case.adapter),
        "--tokenizer", case.base,
        "--token_batch_size", str(token_batch_size),
        "--unit_normalize",
    ]  # fmt: skip
    asked, scores = str(home / "asked"), str(home / "scores")
    steps = [
        ["reduce", asked, "--dataset", str(case.query), "--aggregation", "mean"],
        ["score", scores, "--dataset", str(case.pool), "--query_path", asked],
    ]
    return [[sys.executable, "-m", "bergson", *step, *common] for step in steps]


def run_bergson(case: Case, home: Path, token_batch_size: int) -> Timed:
    """Both commands one after the other; times add up, the larger peak counts."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    parts = [
        timed(command, home / f"{command[3]}.log")
        for command in bergson_commands(case, home, token_batch_size)
    ]
    return Timed(
        sum(part.seconds for part in parts),
        sum(part.cpu for part in parts),
        max(part.peak for part in parts),
    )


def run_whence(case: Case, home: Path, token_batch_size: int) -> Timed:
    shutil.rmtree(home, ignore_errors=True)
    return timed(whence_score(case, home, token_batch_size), home.with_suffix(".log"))


def largest_difference(whence: Path, bergson: Path) -> float:
    """Largest |difference| of a score, as a share of the largest |score|."""
    import numpy as np
    import pandas as pd
    from bergson.data import load_scores

    ours = pd.read_parquet(whence / "scores.parquet")["score"].to_numpy()
    theirs = np.asarray(load_scores(bergson / "scores")[:])[:, 0]
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=900, help="rows of the pool")
    parser.add_argument("--queries", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--token-batch-size",
        type=int,
        default=512,
        help="for both; Bergson allows no more than the model's context, 512 for the tiny model",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        case = make_case(home / "case", options.rows, options.queries, max_length=512)
        runs = {"whence": run_whence, "bergson": run_bergson}
        rounds: list[dict[str, Timed]] = []
        print("| round | Bergson s (CPU s) | Whence s (CPU s) | ratio | CPU ratio |")
        print("| --- | --- | --- | --- | --- |")
        for number in range(1, options.rounds + 1):
            order = list(runs) if number % 2 else list(reversed(runs))
            took = {name: runs[name](case, home / name, options.token_batch_size) for name in order}
            rounds.append(took)
            theirs, ours = took["bergson"], took["whence"]
            print(
                f"| {number} | {theirs.seconds:.1f} ({theirs.cpu:.1f}) "
                f"| {ours.seconds:.1f} ({ours.cpu:.1f}) | {theirs.seconds / ours.seconds:.2f} "
                f"| {theirs.cpu / ours.cpu:.2f} |",
                flush=True,
            )
        ratios = [took["bergson"].seconds / took["whence"].seconds for took in rounds]
        cpu_ratios = [took["bergson"].cpu / took["whence"].cpu for took in rounds]
        peaks = {name: max(took[name].peak for took in rounds) / 1e9 for name in runs}
        print(f"\nmedian ratio: {statistics.median(ratios):.2f} (wall)", end=", ")
        print(f"{statistics.median(cpu_ratios):.2f} (CPU)")
        print(f"peak memory: Bergson {peaks['bergson']:.2f} GB, Whence {peaks['whence']:.2f} GB")
        difference = largest_difference(home / "whence", home / "bergson")
        print(f"largest difference of a score: {difference:.1e} of the largest score")
        if difference > TOLERANCE:
            raise SystemExit(f"the scores differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
