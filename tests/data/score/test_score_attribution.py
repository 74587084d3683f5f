"""Scores against gradients taken one row at a time, and against Bergson's own commands."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from whence.data.score.attribution import attribute
from whence.data.score.settings import ScoreSettings
from whence.data.score.tokens import TokenRows, tokenize_rows
from whence.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.load import Loaded

MAX_LENGTH = 64


@pytest.fixture(scope="module")
def rows(loaded: Loaded, make_rows: Any) -> dict[str, TokenRows]:
    return {
        name: tokenize_rows(
            make_rows(count, seed), loaded.tokenizer, mode="finetune_raw", max_length=MAX_LENGTH
        )
        for name, count, seed in (("pool", 30, 10), ("query", 8, 11))
    }


@pytest.fixture(scope="module")
def gradients(loaded: Loaded, rows: dict[str, TokenRows]) -> dict[str, list[dict[str, Tensor]]]:
    """Per row and LoRA weight: gradient of the row's summed loss, by plain autograd in float64."""
    import copy

    import torch

    model: Any = copy.deepcopy(loaded.model).double()
    weights = {n: w for n, w in model.named_parameters() if ".lora_" in n}
    for weight in weights.values():
        weight.requires_grad_(True)
    found: dict[str, list[dict[str, Tensor]]] = {}
    for name, split in rows.items():
        found[name] = []
        for i in range(len(split)):
            span = slice(split.starts[i], split.starts[i + 1])
            ids = torch.from_numpy(split.ids[span]).long()[None]
            labels = torch.from_numpy(split.labels[span]).long()
            logits = model(input_ids=ids).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, labels[1:], reduction="sum")
            grads = torch.autograd.grad(loss, list(weights.values()))
            found[name].append(
                {n: g.flatten() for n, g in zip(weights, grads, strict=True)}
                | {"loss": loss.detach()}
            )
    return found


def flat(row: dict[str, Tensor]) -> np.ndarray:
    return np.concatenate([g.numpy() for n, g in row.items() if n != "loss"])


def stacked(found: list[dict[str, Tensor]]) -> np.ndarray:
    return np.stack([flat(row) for row in found])


def unit(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def assert_close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-4) -> None:
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def run(loaded: Loaded, rows: dict[str, TokenRows], work: Path, **settings: Any) -> Any:
    return attribute(
        loaded,
        rows["pool"],
        rows["query"],
        ScoreSettings(max_length=MAX_LENGTH, **{"token_batch_size": 256, **settings}),
        work,
    )


def test_mean_is_the_cosine_with_the_mean_query_direction(
    loaded: Loaded, rows: Any, gradients: Any, tmp_path: Path
) -> None:
    found = run(loaded, rows, tmp_path)
    pool, query = unit(stacked(gradients["pool"])), unit(stacked(gradients["query"]))
    assert_close(found.scores, pool @ query.mean(axis=0))
    per_token = [
        row["loss"].item() / n
        for row, n in zip(gradients["pool"], rows["pool"].supervised, strict=True)
    ]
    assert_close(found.losses, np.array(per_token))
    assert found.attributed_weights == found.adapter_weights == found.dimensions == pool.shape[1]


def test_nearest_is_the_largest_cosine(
    loaded: Loaded, rows: Any, gradients: Any, tmp_path: Path
) -> None:
    found = run(loaded, rows, tmp_path, score_mode="nearest")
    pool, query = unit(stacked(gradients["pool"])), unit(stacked(gradients["query"]))
    assert_close(found.scores, (pool @ query.T).max(axis=1))
    assert found.query_bytes == 4 * query.size


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_without_unit_norm_the_loss_reduction_counts(
    loaded: Loaded, rows: Any, gradients: Any, tmp_path: Path, reduction: str
) -> None:
    found = run(loaded, rows, tmp_path, unit_normalize=False, loss_reduction=reduction)
    pool, query = stacked(gradients["pool"]), stacked(gradients["query"])
    if reduction == "mean":
        pool = pool / rows["pool"].supervised[:, None]
        query = query / rows["query"].supervised[:, None]
    assert_close(found.scores, pool @ query.mean(axis=0))


@pytest.mark.parametrize("unit_normalize", [True, False])
def test_query_preconditioner_is_the_damped_inverse_of_the_second_moment(
    loaded: Loaded, rows: Any, gradients: Any, tmp_path: Path, unit_normalize: bool
) -> None:
    found = run(
        loaded,
        rows,
        tmp_path,
        preconditioning_mode="query",
        projection_dim=0,
        unit_normalize=unit_normalize,
        loss_reduction="sum",
    )
    power = -0.5 if unit_normalize else -1.0
    sides: dict[str, list[np.ndarray]] = {"pool": [], "query": []}
    for name in gradients["query"][0]:
        if name == "loss":
            continue
        parts = {s: np.stack([row[name].numpy() for row in gradients[s]]) for s in sides}
        values, vectors = np.linalg.eigh(parts["query"].T @ parts["query"] / len(parts["query"]))
        values = values.clip(min=0)
        inverse = vectors * (values + 0.1 * values.mean()) ** power @ vectors.T
        sides["query"].append(parts["query"] @ inverse)
        sides["pool"].append(parts["pool"] @ inverse if unit_normalize else parts["pool"])
    pool, query = (np.concatenate(sides[name], axis=1) for name in ("pool", "query"))
    if unit_normalize:
        pool, query = unit(pool), unit(query)
    assert_close(found.scores, pool @ query.mean(axis=0), tolerance=1e-3)


def bergson_scores(adapter: Path, rows: dict[str, TokenRows], home: Path, mode: str) -> np.ndarray:
    """What Bergson's command classes say, each loading model and data anew."""
    from bergson import DataConfig, IndexConfig, PreprocessConfig, ScoreConfig
    from bergson.cli.commands import Build, Hessian, Mix, Reduce, Score
    from bergson.config.config import DistributedConfig, HessianConfig
    from bergson.data import load_scores
    from datasets import Dataset

    for name, split in rows.items():
        spans = [slice(a, b) for a, b in zip(split.starts[:-1], split.starts[1:], strict=True)]
        Dataset.from_dict(
            {
                "input_ids": [split.ids[span].tolist() for span in spans],
                "labels": [split.labels[span].tolist() for span in spans],
            }
        ).save_to_disk(str(home / name))

    def index(step: str, data: str) -> Any:
        return IndexConfig(
            run_path=str(home / step),
            model=str(adapter),
            tokenizer=str(adapter.parent / "tokenizer"),
            data=DataConfig(dataset=str(home / data)),
            projection_dim=0 if mode in ("none", "nearest") else 6,
            token_batch_size=256,
            distributed=DistributedConfig(nproc_per_node=1),
        )

    hessian = None
    if mode in ("query", "mixed"):
        hessian = str(home / "hessian-query")
        Hessian(HessianConfig(method="autocorrelation"), index("hessian-query", "query")).execute()
    if mode == "mixed":
        Hessian(HessianConfig(method="autocorrelation"), index("hessian-pool", "pool")).execute()
        hessian = str(home / "mix")
        Mix(
            query_path=str(home / "hessian-query"),
            index_path=str(home / "hessian-pool"),
            output_path=hessian,
        ).execute()
    step = Build if mode == "nearest" else Reduce
    aggregation = "none" if mode == "nearest" else "mean"
    step(
        index("asked", "query"),
        PreprocessConfig(unit_normalize=True, aggregation=aggregation, hessian_path=hessian),
    ).execute()
    Score(
        ScoreConfig(
            query_path=str(home / "asked"), score="nearest" if mode == "nearest" else "individual"
        ),
        index("scores", "pool"),
        PreprocessConfig(unit_normalize=True, hessian_path=hessian),
    ).execute()
    return np.asarray(load_scores(home / "scores")[:])[:, 0]


@pytest.mark.parametrize("mode", ["none", "nearest", "query", "mixed"])
def test_scores_are_those_of_bergsons_commands(
    loaded: Loaded, adapter: Path, rows: Any, tmp_path: Path, mode: str
) -> None:
    loaded.tokenizer.save_pretrained(adapter.parent / "tokenizer")
    settings: dict[str, Any] = {"nearest": {"score_mode": "nearest"}, "none": {}}.get(
        mode, {"preconditioning_mode": mode, "projection_dim": 6}
    )
    # "sum" is Bergson's default, and it shapes the second moments even under unit norm.
    found = run(loaded, rows, tmp_path / "ours", loss_reduction="sum", **settings)
    theirs = bergson_scores(adapter, rows, tmp_path, mode)
    assert_close(found.scores, theirs, tolerance=1e-5 if mode in ("none", "nearest") else 1e-4)


def test_a_mixing_coefficient_of_one_is_the_query_alone(
    loaded: Loaded, rows: Any, tmp_path: Path
) -> None:
    common = {"projection_dim": 6}
    query = run(loaded, rows, tmp_path / "q", preconditioning_mode="query", **common)
    mixed = {
        weight: run(
            loaded,
            rows,
            tmp_path / f"m{weight}",
            preconditioning_mode="mixed",
            mixing_coefficient=weight,
            **common,
        )
        for weight in (1.0, 0.2)
    }
    assert_close(mixed[1.0].scores, query.scores, 1e-6)
    assert mixed[0.2].mixing_coefficient == 0.2
    assert np.abs(mixed[0.2].scores - query.scores).max() > 1e-3 * np.abs(query.scores).max()


def test_finished_steps_are_taken_up_and_only_for_the_same_question(
    loaded: Loaded, rows: Any, tmp_path: Path
) -> None:
    settings = {"preconditioning_mode": "query", "projection_dim": 6, "token_batch_size": 64}
    whole = run(loaded, rows, tmp_path / "work", **settings)
    files = sorted((tmp_path / "work").rglob("*.*"))
    shards = [f for f in files if f.suffix == ".npz"]
    assert len(shards) > 1
    # As after a kill: one shard was not written, and another can be told from what is computed.
    shards[-1].unlink()
    kept = dict(np.load(shards[0]))
    np.savez(shards[0], scores=kept["scores"] + 100, losses=kept["losses"])
    stamps = {f: f.stat().st_mtime_ns for f in files if f.exists()}
    again = run(loaded, rows, tmp_path / "work", **settings)
    assert {f: f.stat().st_mtime_ns for f in stamps} == stamps
    marked = again.scores > 50
    assert marked.sum() == len(kept["scores"])
    assert np.array_equal(again.scores[~marked], whole.scores[~marked])
    assert np.array_equal(again.losses, whole.losses)

    other = run(loaded, rows, tmp_path / "work", score_mode="nearest", **settings)
    shutil.rmtree(tmp_path / "work")
    fresh = run(loaded, rows, tmp_path / "work", score_mode="nearest", **settings)
    assert np.array_equal(other.scores, fresh.scores)


def test_the_model_is_left_as_it_was(loaded: Loaded, rows: Any, tmp_path: Path) -> None:
    model: Any = loaded.model

    def state() -> tuple[Any, ...]:
        return (
            {n: w.requires_grad for n, w in model.named_parameters()},
            {n: w.double().sum().item() for n, w in model.named_parameters()},
            sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()),
            [n for n, w in model.named_parameters() if w.grad is not None],
            model.training,
        )

    before = state()
    run(loaded, rows, tmp_path)
    assert state() == before


def test_a_smaller_batch_changes_no_score(loaded: Loaded, rows: Any, tmp_path: Path) -> None:
    pool, query = rows["pool"], rows["query"]
    wide = attribute(loaded, pool, query, ScoreSettings(token_batch_size=4096), tmp_path / "wide")
    narrow = attribute(loaded, pool, query, ScoreSettings(token_batch_size=70), tmp_path / "narrow")
    assert_close(narrow.scores, wide.scores, 1e-5)


def test_gradients_too_large_for_memory_are_refused_before_any_are_made(
    loaded: Loaded, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100_000})()
    )
    with pytest.raises(BadInput, match=r"nearest with 8 queries needs .* GB"):
        run(loaded, rows, tmp_path / "a", score_mode="nearest")
    with pytest.raises(BadInput, match="give a --projection-dim"):
        run(loaded, rows, tmp_path / "b", preconditioning_mode="query", projection_dim=0)


def test_a_layer_that_sees_no_rows_is_refused_in_one_line(rows: Any, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import OPTConfig, OPTForCausalLM

    from whence.models.load import Loaded

    config = OPTConfig(
        vocab_size=400,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
    )
    for modules, fits in (("all-linear", False), (["q_proj", "v_proj"], True)):
        model = get_peft_model(
            OPTForCausalLM(config), LoraConfig(r=2, target_modules=modules, task_type="CAUSAL_LM")
        )
        opt = Loaded(model, None, torch.device("cpu"), torch.float32, "opt")  # type: ignore[arg-type]
        if fits:
            assert np.isfinite(run(opt, rows, tmp_path / "fits").scores).all()
            continue
        with pytest.raises(BadInput, match="train the adapter on other target modules"):
            run(opt, rows, tmp_path / "not")
