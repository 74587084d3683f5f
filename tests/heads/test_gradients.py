"""Slopes of gates against finite differences of the plain model, one head and prompt at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from heads_by_hand import measured

from whence.errors import BadInput
from whence.heads.battery import Positions
from whence.heads.corpora import read_corpus
from whence.heads.gradients import Against, Gates, Point
from whence.heads.prompts import Example, prepare
from whence.models.anatomy import find_anatomy
from whence.models.load import Loaded, load_model
from whence.models.replay import Replay
from whence.models.sites import Site


def examples_of(loaded: Loaded, corpus: Path) -> tuple[Example, ...]:
    return prepare(read_corpus(corpus), loaded.tokenizer, multi_token="first").rows


def in_double(folder: Path) -> Loaded:
    """The model in float64, so that a finite difference has digits to spare.

    But a mixture of experts: its matrices multiply by group, and that takes no float64.
    """
    loaded = load_model(str(folder))
    if loaded.model.config.model_type != "mixtral":
        loaded.model.double()
    return loaded


def gates_of(
    loaded: Loaded,
    examples: tuple[Example, ...],
    against: Against = "zero",
    positions: str = "all",
    **settings: Any,
) -> Gates:
    return Gates(
        Replay(find_anatomy(loaded.model)),
        examples,
        against,
        Positions(positions),
        **{"batch_size": 4, "memory_gb": 2.0, **settings},
    )


def answer(loaded: Loaded, row: Example, edits: Mapping[int, Any] | None = None) -> float:
    """Logit difference of the plain model, edits on what output projections read, by layer."""
    handles = []
    for layer, edit in (edits or {}).items():

        def hook(_module: Any, args: Any, edit: Any = edit) -> Any:
            return (edit(args[0].clone()), *args[1:])

        projection = zoo.output_projections(loaded.model)[layer]
        handles.append(projection.register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            a = loaded.model(torch.tensor([row.clean])).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    return float(a[row.target[0]] - a[row.foil[0]])


def scaled(head: int, factor: float, where: list[int] | slice = slice(None)) -> Any:
    def edit(z: torch.Tensor) -> torch.Tensor:
        z.unflatten(-1, (zoo.HEADS, -1))[:, where, head] *= factor
        return z

    return edit


@pytest.mark.parametrize(
    "name", ["gpt2", "llama", "gemma2", "olmo2", "gpt_neox", "falcon", "opt", "mixtral", "bloom"]
)
def test_slopes_are_finite_differences_of_scaling_one_head(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    loaded = in_double(zoo_folder(name))
    examples = examples_of(loaded, small_corpus)[3:7]
    slopes = gates_of(loaded, examples).heads()
    assert slopes.shape == (zoo.LAYERS, zoo.HEADS, len(examples))
    step = 1e-3  # some norms compute in float32 whatever the dtype: a smaller one measures noise
    up, down = np.empty_like(slopes), np.empty_like(slopes)
    for layer, head, at in np.ndindex(*slopes.shape):
        here, more, less = (
            answer(loaded, examples[at], {layer: scaled(head, 1 + by)}) for by in (0, step, -step)
        )
        up[layer, head, at], down[layer, head, at] = (more - here) / step, (here - less) / step
    size = np.abs(up).max()
    assert size > 0.1
    # ReLU and the routing to experts have kinks: where a step crosses one, up is not down.
    smooth = np.abs(up - down) < 0.01 * size
    assert smooth.mean() > 0.8
    np.testing.assert_allclose(slopes[smooth], (up + down)[smooth] / 2, atol=0.006 * size)


@pytest.mark.parametrize("positions", ["all", "last_token", "first", "final_2", "0,-1"])
def test_gates_hold_at_the_chosen_positions_and_at_any_point(
    positions: str, zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    loaded = in_double(zoo_folder("gpt2"))
    examples = examples_of(loaded, small_corpus)[:2]
    where: Any = {
        "all": slice(None), "last_token": [-1], "first": [0], "final_2": [-2, -1], "0,-1": [0, -1],
    }[positions]  # fmt: skip
    point = Point(0.4, part=1, parts=3, held=(1, 2), gate=0.0)
    slopes = gates_of(loaded, examples, positions=positions).heads(point)

    def with_gates(row: Example, moved: tuple[int, int], by: float) -> float:
        def edit_of(layer: int) -> Any:
            def edit(z: torch.Tensor) -> torch.Tensor:
                apart = z.unflatten(-1, (zoo.HEADS, -1))
                for head in range(zoo.HEADS):
                    gate = 0.4 if (layer * zoo.HEADS + head) % 3 == 1 else 1.0
                    gate = 0.0 if (layer, head) == (1, 2) else gate
                    apart[:, where, head] *= gate + by * ((layer, head) == moved)
                return z

            return edit

        return answer(loaded, row, {layer: edit_of(layer) for layer in range(zoo.LAYERS)})

    for layer, head, at in np.ndindex(*slopes.shape):
        row = examples[at]
        up, down = (with_gates(row, (layer, head), by) for by in (1e-4, -1e-4))
        assert slopes[layer, head, at] == pytest.approx((up - down) / 2e-4, abs=2e-4)


def test_fills_are_those_of_the_engine(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    """A gate's value at 0 is the engine's own mean-ablation or patch: seen in the last block, where
    all that follows is the norm, by the slope integrated down to 0."""
    loaded = load_model(str(zoo_folder("qwen3")))
    layer = zoo.LAYERS - 1
    for battery, against, positions in (
        ({"type": "heads_mean", "layers": [layer]}, "mean", "all"),
        (
            {"type": "activation_patch", "granularity": "head_out", "layers": [layer]},
            "corrupt",
            "last_token",
        ),
    ):
        result, prepared = measured(loaded, small_corpus, battery, tmp_path / against)
        table = result.per_example.to_pandas()
        gates = gates_of(loaded, prepared.rows, against, positions)
        levels, weights = np.polynomial.legendre.leggauss(12)
        for head in range(zoo.HEADS):
            estimate = -sum(
                w / 2 * gates.heads(Point(held=(layer, head), gate=(1 + x) / 2))[layer, head]
                for x, w in zip(levels, weights, strict=True)
            )
            rows = table[(table["head"] == head)].sort_values("example")
            exact = (rows["logit_diff"] - rows["clean_logit_diff"]).to_numpy()
            np.testing.assert_allclose(estimate, exact, atol=1e-3)
            assert np.abs(exact).max() > 0.1


@pytest.mark.parametrize("name", ["llama", "gemma3", "falcon", "mixtral"])
def test_slopes_of_nodes_add_up(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    """A gate on all that attention adds is, where no norm or bias comes after the heads, a gate on
    every head of the layer at once; and no node is left out."""
    loaded = load_model(str(zoo_folder(name)))
    gates = gates_of(loaded, examples_of(loaded, small_corpus))
    nodes, heads = gates.of_nodes(), gates.heads()
    assert sorted((site.kind, site.layer) for site in nodes) == [
        (kind, layer) for kind in ("attn_out", "mlp_out") for layer in range(zoo.LAYERS)
    ]
    attention = np.stack([nodes[Site("attn_out", layer)] for layer in range(zoo.LAYERS)])
    if name in ("llama", "mixtral"):
        np.testing.assert_allclose(attention, heads.sum(1), rtol=1e-3, atol=1e-3)
    assert all(np.abs(slope).max() > 1e-3 for slope in nodes.values())


def test_neither_batch_nor_memory_change_a_slope_and_weights_keep_their_flags(
    zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt_neox")))
    frozen = next(iter(loaded.model.parameters())).requires_grad_(False)
    flags = [weight.requires_grad for weight in loaded.model.parameters()]
    examples = examples_of(loaded, small_corpus)
    wide = gates_of(loaded, examples, batch_size=32).heads()
    tight = gates_of(loaded, examples, batch_size=3, memory_gb=1e-9).heads()
    np.testing.assert_allclose(wide, tight, atol=1e-4)
    assert [weight.requires_grad for weight in loaded.model.parameters()] == flags
    assert all(weight.grad is None for weight in loaded.model.parameters())
    frozen.requires_grad_(True)


def test_one_prompt_with_two_foils_has_two_slopes(
    zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt2")))
    examples = examples_of(loaded, small_corpus)
    two = [row for row in examples if row.clean == examples[-1].clean]
    assert len(two) == 2
    together = gates_of(loaded, tuple(two)).heads()
    alone = [gates_of(loaded, (row,)).heads()[..., 0] for row in two]
    np.testing.assert_allclose(together, np.stack(alone, axis=-1), atol=1e-4)
    assert np.abs(alone[0] - alone[1]).max() > 0.01


def test_norms_are_of_what_heads_write(
    zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    loaded = load_model(str(zoo_folder("llama")))
    examples = examples_of(loaded, small_corpus)[:3]
    norms = gates_of(loaded, examples).norms()
    for at, row in enumerate(examples):
        seen: list[torch.Tensor] = []

        def keep(z: torch.Tensor, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(z[0, -1].unflatten(-1, (zoo.HEADS, -1)).clone())
            return z

        answer(loaded, row, dict.fromkeys(range(zoo.LAYERS), keep))
        for layer, z in enumerate(seen):
            matrix = zoo.output_projections(loaded.model)[layer].weight.detach().T
            for head, part in enumerate(matrix.unflatten(0, (zoo.HEADS, -1))):
                assert norms[layer, head, at] == pytest.approx(
                    float((z[head] @ part).norm()), rel=1e-4
                )


def test_logits_that_are_no_numbers_are_one_line(
    zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    loaded = load_model(str(zoo_folder("llama")))
    gates = gates_of(loaded, examples_of(loaded, small_corpus))
    with torch.no_grad():
        loaded.model.model.norm.weight[0] = float("nan")
    with pytest.raises(BadInput, match="logits are not finite"):
        gates.heads()


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_half_precision_gives_nearly_the_same(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path
) -> None:
    slopes = []
    for dtype in ("float32", "bfloat16"):
        loaded = load_model(str(zoo_folder(name)), dtype=dtype)
        gates = gates_of(loaded, examples_of(loaded, small_corpus), "mean")
        slopes.append(gates.heads(Point(0.5, parts=2)).ravel())
    assert np.corrcoef(*slopes)[0, 1] > 0.98
