r"""Probes in leave-one-problem-out cross-validation: how long all fits take.

    OMP_NUM_THREADS=2 uv run python benchmarks/anchors_probes.py

5 probes × 20 folds × 5 seeds on 4,000 sentences × 4,096 activations in float32, regularisation
chosen by inner cross-validation over problems in every fold: the fits that `whence anchors cv
--folds problems --seeds 0 1 2 3 4` makes, through the same probes. A probe that no seed changes is
fitted once a fold, because its other four fits would be the same. Activations are of no model: 60
directions of unequal strength and noise, and a label that follows five of them. Prints seconds a
probe and average precision over problems, and fails above --limit seconds in all.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from whence.anchors.probes.data import Labels, ProbeData
from whence.anchors.probes.probe import Fitting
from whence.anchors.probes.registry import probe_named
from whence.runs.progress import Progress

PROBES = (
    "position_untrained",
    "position_baseline",
    "linear_probe",
    "activations_plus_position",
    "mlp_probe",
)


def make_case(problems: int, each: int, width: int) -> tuple[ProbeData, Labels]:
    """Sentences, their activations, and which are anchors (one in ten)."""
    rng = np.random.default_rng(0)
    rows = problems * each
    hidden = rng.standard_normal((rows, 60), dtype=np.float32)
    strength = np.linspace(1, 0.1, 60, dtype=np.float32)[:, None]
    mean = hidden @ (rng.standard_normal((60, width), dtype=np.float32) * strength)
    mean += rng.standard_normal((rows, width), dtype=np.float32)
    place = np.tile(np.arange(each), problems)
    frame = pd.DataFrame(
        {
            "problem_id": np.repeat([str(number) for number in range(problems)], each),
            "chunk_idx": place,
            "num_chunks": each,
            "relative_position": (place / (each - 1)).astype(np.float32),
            "token_count": rng.integers(3, 40, rows),
            "chunk_text": "",
        }
    )
    signal = hidden[:, :5].sum(axis=1) + 2 * rng.standard_normal(rows) - 2 * place / each
    return ProbeData(frame, mean=mean), Labels((signal > np.quantile(signal, 0.9)) * 1.0, False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--sentences", type=int, default=200, help="sentences of each problem")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=300, help="most seconds in all")
    asked = parser.parse_args()

    data, labels = make_case(asked.problems, asked.sentences, asked.width)
    seconds = dict.fromkeys(PROBES, 0.0)
    fits = dict.fromkeys(PROBES, 0)
    goods: dict[str, list[float]] = {name: [] for name in PROBES}
    processor = time.process_time()
    with Progress("fitting", asked.problems * len(PROBES), "probes of folds") as progress:
        for fold in range(asked.problems):
            held = data.groups == fold
            train, own = data.take(~held), labels.take(~held)
            test, truth = data.take(held), labels.take(held)
            for name in PROBES:
                probe = probe_named(name)
                started = time.perf_counter()
                for seed in range(asked.seeds if probe.seeded else 1):
                    scores = probe.fit(train, own, Fitting(seed=seed)).score(test)
                    fits[name] += 1
                    goods[name].append(float(average_precision_score(truth.y, scores)))
                seconds[name] += time.perf_counter() - started
                progress.advance()
    total = sum(seconds.values())
    print(f"{len(data):,} × {asked.width:,} float32, {asked.problems} folds, {asked.seeds} seeds,")
    print(f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads of {os.cpu_count()} processors\n")
    print(f"{'probe':<28}{'fits':>6}{'seconds':>10}{'average precision':>20}")
    for name in PROBES:
        print(f"{name:<28}{fits[name]:>6}{seconds[name]:>10.1f}{np.mean(goods[name]):>20.3f}")
    spent = time.process_time() - processor
    print(
        f"{'in all':<28}{sum(fits.values()):>6}{total:>10.1f}   ({spent:.0f} s of processor time)"
    )
    if total > asked.limit:
        raise SystemExit(f"more than {asked.limit:.0f} s")


if __name__ == "__main__":
    main()
