"""Games at once: `whence games generate` with 16 at a time against one after the other.

    python benchmarks/games.py                       # about 3 minutes
    python benchmarks/games.py --games 64 --latency 0.2 --concurrency 16 --rounds 3

The endpoint is the test server of `tests/data/games`, in a process of its own, which answers every
request after `--latency` seconds. Both sides play the same games on the real instances file (or on
`--instances`), whole processes with all that belongs to a run: every finished game flushed to the
disk, summary, rows. Games of the slow side are a part of those of the fast side (`--games` divided
by the concurrency), because one at a time they would take most of an hour; compared are requests
answered in a second of play. Rounds alternate. Fails where the ratio is below `--least`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "data" / "games"))

from fault_server import Endpoint

from whence.data.games.generate import GenerateConfig, generate

INSTANCES = Path(__file__).parents[1] / ".." / "shared" / "data" / "taboo" / "instances.json"


def requests_a_second(
    endpoint: Endpoint, instances: Path, games: int, concurrency: int, latency: float
) -> tuple[float, int, float]:
    """Throughput, requests and seconds of one run."""
    endpoint.set(latency=latency, skill={"guesser": 0.3})
    with tempfile.TemporaryDirectory() as folder:
        config = GenerateConfig(
            base_url=endpoint.url,
            instances=str(instances),
            describer_model="describer",
            guesser_models=("guesser",),
            games_per_guesser=games,
            concurrency=concurrency,
            output_dir=Path(folder) / "G",
        )
        began = time.perf_counter()
        summary = generate(config).summary
        seconds = time.perf_counter() - began
    assert summary["requests"] == endpoint.stats()["requests"]
    assert summary["retries"] == summary["outcome_counts"]["error"] == 0
    return summary["requests"] / seconds, summary["requests"], seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=320)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--least", type=float, default=12.0)
    parser.add_argument("--instances", type=Path, default=INSTANCES)
    asked = parser.parse_args()
    endpoint = Endpoint()
    one_each = max(1, asked.games // asked.concurrency)
    ratios = []
    try:
        # Once for nothing: imports and first connections are not what is measured.
        requests_a_second(endpoint, asked.instances, 2, 2, 0.0)
        print("| round | 1 at a time, requests/s (s) | 16 at a time (s) | ratio |".replace(
            "16", str(asked.concurrency)))  # fmt: skip
        print("| --- | --- | --- | --- |")
        for round_ in range(1, asked.rounds + 1):
            slow, slow_n, slow_s = requests_a_second(
                endpoint, asked.instances, one_each, 1, asked.latency
            )
            fast, fast_n, fast_s = requests_a_second(
                endpoint, asked.instances, asked.games, asked.concurrency, asked.latency
            )
            ratios.append(fast / slow)
            print(
                f"| {round_} | {slow:.2f} ({slow_n} in {slow_s:.1f}) | "
                f"{fast:.1f} ({fast_n} in {fast_s:.1f}) | {fast / slow:.2f} |",
                flush=True,
            )
    finally:
        endpoint.process.kill()
    median = statistics.median(ratios)
    print(f"median ratio {median:.2f}; at least {asked.least:g} was asked for")
    return 0 if median >= asked.least else 1


if __name__ == "__main__":
    sys.exit(main())
