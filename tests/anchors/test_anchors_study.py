"""A study from one file: the earlier system's YAML as it stands, and what comes out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rollout_tree import MODEL, SPLIT, TEMPERATURE, random_problem

from whence.__main__ import main
from whence.anchors.make import MakeConfig, make
from whence.anchors.study import StudyConfig
from whence.runs.jsonfile import read_json

# Every key that the earlier system's files have, as its sweeps wrote them out.
EARLIER = """
dataset:
  repo_id: uzaymacar/math-rollouts
  model_dir: deepseek-r1-distill-qwen-14b
  temp_dir: temperature_0.6_top_p_0.95
  split_dir: correct_base_solution
  forced_split_dir: correct_base_solution_forced_answer
  num_problems: 9999
  seed: 0
labels:
  counterfactual_field: counterfactual_importance_accuracy
  anchor_percentile: 85.0
  drop_last_chunk: true
  target_mode: importance_abs
activations:
  model_name_or_path: deepseek-ai/DeepSeek-R1-Distill-Qwen-14B
  layer_mode: index
  layer_index: 30
  pooling: tokens
  dtype: float16
  storage_dtype: float16
  device: auto
  batch_size: 1
  vertical_attention:
    mode: 'off'
    depth_control: true
    light_last_n_tokens: 1
    full_max_seq_len: 1024
training:
  train_fraction: 0.7
  val_fraction: 0.15
  test_fraction: 0.15
  random_seed: 3
  k_values:
  - 5
  - 10
  mlp_hidden_dim: 100
  mlp_max_iter: 300
  bootstrap_iterations: 2000
  bootstrap_seed: null
  position_bins: 5
  best_of_k: 1
  residualize_against: position_plus_text
  token_probe_heads: 4
  token_probe_mlp_width: 128
  token_probe_mlp_depth: 1
  token_probe_batch_size: 32
  token_probe_max_epochs: 50
  token_probe_patience: 5
  token_probe_learning_rate: 0.001
  token_probe_weight_decay: 0.0
  token_probe_continuous_loss: huber
  token_probe_device: auto
split:
  strategy: lopo_cv
paths:
  problem_ids_json: data/problem_ids.json
  splits_json: data/splits.json
  embeddings_memmap: artifacts/sentence_embeddings.dat
  token_embeddings_memmap: artifacts/token_embeddings.dat
  embeddings_shape_json: artifacts/sentence_embeddings_shape.json
  metadata_parquet: artifacts/sentence_metadata.parquet
  metrics_json: artifacts/metrics.json
  predictions_parquet: artifacts/predictions.parquet
  report_md: artifacts/report.md
"""


def written(folder: Path, content: dict[str, object]) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_files_of_the_earlier_study_load_as_they_are(tmp_path: Path) -> None:
    config = StudyConfig(**yaml.safe_load(EARLIER), output_dir=tmp_path)
    assert config.activations.layers == "30"
    assert config.activations.prepend_bos == "never"
    assert config.training.fixed
    assert config.training.random_seed == 3
    assert config.labels.target_mode == "importance_abs"
    defaults = StudyConfig(output_dir=tmp_path)
    assert defaults.activations.layers == "mid"
    assert defaults.dataset.num_problems == 50


@pytest.mark.parametrize(
    ("section", "key", "said"),
    [
        ("labels", "anchor_percentil", "did you mean anchor_percentile"),
        ("activations", "layers", "activations"),
        ("trainings", "seed", "did you mean training"),
    ],
)
def test_keys_that_are_not_known_are_refused_by_name(
    section: str, key: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(EARLIER)
    content.setdefault(section, {})[key] = 1
    path = written(tmp_path, content)
    assert main(["anchors", "run", str(path), "--output-dir", str(tmp_path / "S")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert said in error
    assert not (tmp_path / "S").exists()


def test_a_table_becomes_a_study_and_is_done_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(MakeConfig(output_dir=tmp_path / "traces", count=12))
    path = written(
        tmp_path,
        {
            "dataset": {"metadata": str(tmp_path / "traces" / "sentence_metadata.parquet")},
            "labels": {"anchor_percentile": 70},
            "activations": {
                "model_name_or_path": "tiny",
                "dtype": "float32",
                "vertical_attention": {"mode": "light"},
            },
            "training": {
                "seeds": [0, 1],
                "probes": ["position_untrained", "linear_probe", "vertical_attention_baseline"],
            },
        },
    )
    words = ["anchors", "run", str(path), "--output-dir", str(tmp_path / "S")]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "linear_probe" in first
    for name in ("labels", "features", "probes", "results"):
        assert (tmp_path / "S" / name / "whence.json").is_file(), name
    # the split that lies beside the table is the study's, and prompts are read with their traces
    assert read_json(tmp_path / "S" / "labels" / "splits.json") == read_json(
        tmp_path / "traces" / "splits.json"
    )
    assert read_json(tmp_path / "S" / "features" / "features.json")["text_from"] != "sentences"
    assert main(words) == 0
    assert "Already done" in capsys.readouterr().out


def test_rollouts_in_a_folder_become_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1, 6):
        random_problem(tmp_path / "tree", number, chunks=6, each=5)
    path = written(
        tmp_path,
        {
            "dataset": {
                "root": str(tmp_path / "tree"),
                "model_dir": MODEL,
                "temp_dir": TEMPERATURE,
                "split_dir": SPLIT,
                "num_problems": 5,
            },
            "activations": {"model_name_or_path": "tiny", "dtype": "float32"},
            "training": {"probes": ["position_untrained", "position_baseline"]},
            "split": {"strategy": "lopo_cv"},
        },
    )
    assert main(["anchors", "run", str(path), "--output-dir", str(tmp_path / "S")]) == 0
    assert "position_baseline" in capsys.readouterr().out
    found = read_json(tmp_path / "S" / "cv" / "metrics.json")
    assert len(found["problems"]) == 5
    assert (tmp_path / "S" / "index" / "problems.jsonl").is_file()
