"""One small experiment on the tiny model, run as a person would: a YAML file and some flags."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from whence.__main__ import main

GAMES = ("tiny", "make", "--kind", "games", "--count", "60", "--query", "12", "--evaluation", "16")

YAML = """
question: Does attribution find the games that teach the tested words?
build:
  run_dir: data
  train_file: games/pool.jsonl
  test_file: games/test.jsonl
  train_size: 60
  query_size: 12
  eval_size: 16
  stratify_by: []
  withhold: [kind]
base_model: tiny
device: cpu
arms: [top:12, "matched_random:of=top"]
seeds: [7]
judges: [words, loss]
max_length: 128
lora: {lora_r: 8, lora_alpha: 128}
optim:
  learning_rate: 1.0
  num_train_epochs: 4
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 1
planted:
  file: data/withheld.parquet
  oracle: 12
output_dir: run
"""

FLAGS = ("--seeds", "0", "1", "--learning-rate", "8e-3")
"""They win over the file: with its learning rate of 1 nothing would be learned."""


@dataclass
class Seen:
    """What reached the methods, noted on its way. trained: label → token ids of the rows."""

    scored_columns: list[list[str]] = field(default_factory=list)
    trained: dict[str, list[list[int]]] = field(default_factory=dict)
    base_weights: set[str] = field(default_factory=set)


@dataclass
class Study:
    """home: the folder worked in. folder: the experiment's. printed: what the command said."""

    home: Path
    folder: Path
    seen: Seen
    printed: str


def weights_of(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def shipped_weights() -> str:
    """Digest of the tiny model as it is on disk."""
    from whence.models.load import load_model

    return weights_of(load_model("tiny", device="cpu").model)


@pytest.fixture(scope="session")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `games/` and an experiment's YAML file; tests work in copies or siblings."""
    home = tmp_path_factory.mktemp("experiment")
    assert main([*GAMES, "--out", str(home / "games")]) == 0
    (home / "experiment.yaml").write_text(YAML)
    return home


@pytest.fixture(scope="session")
def study(games: Path) -> Iterator[Study]:
    """The small experiment, run in its folder with relative paths."""
    import contextlib
    import io

    from whence.data.experiment import cells, rank

    seen = Seen()
    score_rows, train_adapter = rank.score_rows, cells.train_adapter

    def watched_score(base: Any, adapter: Any, pool: Any, query: Any, *rest: Any) -> Any:
        seen.scored_columns += [list(pool.columns), list(query.columns)]
        return score_rows(base, adapter, pool, query, *rest)

    def watched_train(base: Any, rows: Any, *rest: Any, label: str, **named: Any) -> Any:
        seen.base_weights.add(weights_of(base.model))
        seen.trained[label] = [row.input_ids for row in rows]
        done = train_adapter(base, rows, *rest, label=label, **named)
        seen.base_weights.add(weights_of(base.model))
        return done

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(rank, "score_rows", watched_score)
        patch.setattr(cells, "train_adapter", watched_train)
        patch.chdir(games)
        assert main(["data", "experiment", "experiment.yaml", *FLAGS]) == 0
    return Study(games, games / "run", seen, printed.getvalue())
