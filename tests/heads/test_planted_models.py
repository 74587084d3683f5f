"""The planted truth is the truth: by plain Transformers with hooks, no prompt ever padded."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
import planted
import pytest
import torch
from planted import HEADS, Head, Planted
from torch import Tensor

from whence.models.load import load_model

EXACT = 1e-5
ALL = slice(None)
LAST = slice(-1, None)
GRANULARITIES = ("layer_resid", "attn_out", "mlp_out", "head_out")
Edit = Callable[[Tensor], object]


@pytest.fixture(
    scope="module", params=list(itertools.product(planted.BUILDERS, planted.FAMILIES)), ids="-".join
)
def circuit(request: pytest.FixtureRequest) -> Planted:
    name, family = request.param
    return planted.BUILDERS[name](family)


@pytest.fixture(params=planted.FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    return request.param


def site(circuit: Planted, granularity: str, layer: int) -> torch.nn.Module:
    """The module whose output, or for head_out whose input, a patch of this granularity changes."""
    if circuit.family == "gpt2":
        block = circuit.model.transformer.h[layer]
        attention, heads = block.attn, block.attn.c_proj
    else:
        block = circuit.model.model.layers[layer]
        attention, heads = block.self_attn, block.self_attn.o_proj
    parts = {"layer_resid": block, "attn_out": attention, "mlp_out": block.mlp, "head_out": heads}
    return parts[granularity]


def edited(circuit: Planted, granularity: str, layer: int, head: int, edit: Edit) -> Any:
    """A hook, to be removed: `edit` may change [row, position, width], or a head's z, in place.

    `head` counts for head_out only.
    """

    def change(values: Tensor) -> Tensor:
        values = values.clone()
        heads = granularity == "head_out"
        edit(values.unflatten(-1, (HEADS, -1))[:, :, head] if heads else values)
        return values

    def after(_module: object, _inputs: object, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    module = site(circuit, granularity, layer)
    if granularity == "head_out":
        return module.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]),))
    return module.register_forward_hook(after)


def logits(circuit: Planted, prompt: str) -> np.ndarray:
    """Logits at the last token, [vocabulary]."""
    ids = torch.tensor([circuit.tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        return circuit.model(ids).logits[0, -1].numpy()


_running: list[int] = []
"""The rows that the model reads just now, for edits that differ by row."""


def differences(circuit: Planted, side: str = "clean") -> np.ndarray:
    """logit[target] − logit[foil] per row; prompts of one length go through the model together."""
    token = circuit.tokenizer.convert_tokens_to_ids
    prompts = [circuit.tokenizer(getattr(row, side))["input_ids"] for row in circuit.rows]
    found = np.zeros(len(prompts), dtype=np.float32)
    for length in sorted({len(ids) for ids in prompts}):
        _running[:] = [i for i, ids in enumerate(prompts) if len(ids) == length]
        with torch.no_grad():
            ids = torch.tensor([prompts[i] for i in _running])
            at_last = circuit.model(ids).logits[:, -1].numpy()
        for i, row in zip(_running, at_last, strict=True):
            target, foil = circuit.rows[i].target, circuit.rows[i].foil
            found[i] = row[token(target.strip())] - row[token(foil.strip())]
    return found


_untouched: dict[tuple[int, str], tuple[Planted, np.ndarray]] = {}


def untouched(circuit: Planted, side: str = "clean") -> np.ndarray:
    """`differences` without any hook, run once per circuit; the circuit is kept, and so its id."""
    if (id(circuit), side) not in _untouched:
        _untouched[id(circuit), side] = (circuit, differences(circuit, side))
    return _untouched[id(circuit), side][1]


def with_heads(circuit: Planted, heads: Iterable[Head], edit: Edit) -> np.ndarray:
    """delta_logit_diff per clean prompt while `edit` changes z of these heads."""
    clean = untouched(circuit)
    with ExitStack() as stack:
        for layer, head in heads:
            stack.callback(edited(circuit, "head_out", layer, head, edit).remove)
        return differences(circuit) - clean


def ablated(circuit: Planted, heads: Iterable[Head], at: slice = ALL) -> np.ndarray:
    return with_heads(circuit, heads, lambda z: z[:, at].zero_())


def patched(
    circuit: Planted, granularity: str, layers: Iterable[int], head: int, direction: str, at: slice
) -> np.ndarray:
    """delta_logit_diff per row of patching one source run's values into the base run."""
    source, _, base = direction.partition("->")
    before = untouched(circuit, base)
    kept: dict[int, dict[int, Tensor]] = {layer: {} for layer in layers}
    with ExitStack() as stack:
        for layer, values in kept.items():

            def keep(v: Tensor, values: dict[int, Tensor] = values) -> None:
                values |= zip(_running, v[:, at].clone(), strict=True)

            stack.callback(edited(circuit, granularity, layer, head, keep).remove)
        differences(circuit, source)
    with ExitStack() as stack:
        for layer, values in kept.items():

            def put(v: Tensor, values: dict[int, Tensor] = values) -> None:
                v[:, at] = torch.stack([values[row] for row in _running])

            stack.callback(edited(circuit, granularity, layer, head, put).remove)
        return differences(circuit, base) - before


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def test_the_logits_are_those_on_paper(circuit: Planted):
    names = [circuit.tokenizer.convert_tokens_to_ids(name) for name in planted.NAMES]
    for side in ("clean", "corrupt"):
        found = np.array([logits(circuit, getattr(row, side)) for row in circuit.rows])
        agree(found[:, names], circuit.logits(side))
        assert np.abs(np.delete(found, names, axis=1)).max() < EXACT
        agree(differences(circuit, side), circuit.logit_diff(side))


def test_ablating_any_head(circuit: Planted):
    truth = circuit.truth
    for head in circuit.heads:
        found = ablated(circuit, [head])
        agree(found, circuit.ablated([head]))
        agree(ablated(circuit, [head], LAST), circuit.ablated([head], positions="last_token"))
        assert truth[head] == pytest.approx(found.mean(), abs=EXACT)


def test_ablating_pairs(circuit: Planted):
    working = {*circuit.answering, *circuit.feeds.values()}
    for (a, b), expected in circuit.pair_truth.items():
        if not {a, b} & working:
            assert expected == 0
            continue
        found = ablated(circuit, [a, b])
        agree(found, circuit.ablated([a, b]))
        assert expected == pytest.approx(found.mean(), abs=EXACT)


def test_synergy_is_the_pair_less_its_singles(circuit: Planted):
    for a, b in itertools.combinations({*circuit.answering, *circuit.feeds.values()}, 2):
        found = ablated(circuit, [a, b]) - ablated(circuit, [a]) - ablated(circuit, [b])
        agree(found, circuit.synergy(a, b))


@pytest.mark.parametrize("direction", ["corrupt->clean", "clean->corrupt"])
def test_patching_at_the_last_token(circuit: Planted, direction: Any):
    for granularity, layer in itertools.product(GRANULARITIES, range(circuit.layers)):
        for head in range(HEADS if granularity == "head_out" else 1):
            found = patched(circuit, granularity, [layer], head, direction, LAST)
            heads = [head] if granularity == "head_out" else range(HEADS)
            agree(found, circuit.patched(granularity, layer, heads, direction))


def test_patching_several_layers_jointly(circuit: Planted):
    for granularity, layers in itertools.product(GRANULARITIES[:3], [(0, 1), (1, 0)]):
        found = patched(circuit, granularity, layers, 0, "corrupt->clean", LAST)
        agree(found, circuit.patched(granularity, layers))


@pytest.mark.parametrize("name", planted.BUILDERS)
def test_patching_at_the_name_and_everywhere(name: str, family: Any):
    circuit = planted.BUILDERS[name](family, one_layout=True)
    for row in circuit.rows:
        ids = circuit.tokenizer(row.clean)["input_ids"]
        assert circuit.tokenizer.convert_ids_to_tokens(ids)[circuit.name_at] == row.target.strip()
    places = {"name": slice(circuit.name_at, circuit.name_at + 1), "all": ALL}
    for granularity, layer in itertools.product(GRANULARITIES[:3], range(circuit.layers)):
        for positions, at in places.items():
            found = patched(circuit, granularity, [layer], 0, "corrupt->clean", at)
            agree(found, circuit.patched(granularity, layer, positions=positions))


def test_scale_and_mean_ablation(circuit: Planted):
    head, names = circuit.answering[0], circuit.names("clean")
    found = with_heads(circuit, [head], lambda z: z.mul_(0.25))
    agree(found, circuit.ablated([head], instead=0.25 * names))
    kept: list[Tensor] = []
    with_heads(circuit, [head], lambda z: kept.append(z[:, -1].clone()))
    mean = torch.cat(kept).mean(dim=0)
    found = with_heads(circuit, [head], lambda z: z[:, -1].copy_(mean))
    agree(found, circuit.ablated([head], positions="last_token", instead=names.mean(axis=0)))


def test_the_effects_in_numbers(family: Any):
    """By hand: the twelve targets are all eight names, and Ann, Bob, Cat and Dan again."""
    strength = 1 + (28 / 8 + 6 / 8) / 12
    circuit = planted.suppressor(family)
    assert nonzero(circuit.truth) == {
        (0, 2): pytest.approx(-5 * strength),
        (1, 1): pytest.approx(2 * strength),
    }
    assert circuit.answer_layer == 1
    circuit = planted.redundant(family)
    assert nonzero(circuit.truth) == {
        (0, 3): pytest.approx(-strength),
        (1, 0): pytest.approx(-0.5 * strength),
    }
    assert circuit.pair_truth[(0, 1), (1, 2)] == pytest.approx(-3 * strength)
    assert circuit.synergy((0, 1), (1, 2)).mean() == pytest.approx(-3 * strength)
    assert np.abs(circuit.synergy((0, 3), (1, 0))).max() < 1e-12
    circuit = planted.induction(family)
    assert nonzero(circuit.truth) == dict.fromkeys([(0, 3), (1, 0)], pytest.approx(-4 * strength))
    assert circuit.answer_layer == 1
    assert not circuit.patched("layer_resid", 0, direction="clean->corrupt").any()


def nonzero(truth: dict[Head, float]) -> dict[Head, float]:
    return {head: effect for head, effect in truth.items() if abs(effect) > 1e-12}


@pytest.mark.parametrize("pair", [((0, 0), (0, 1)), ((1, 1), (2, 3)), ((0, 2), (2, 0))])
def test_a_redundant_pair_anywhere(family: Any, pair: Any):
    circuit = planted.redundant(family, pair=pair, layers=3)
    for heads in ([pair[0]], [pair[1]], pair):
        agree(ablated(circuit, heads), circuit.ablated(heads))
    assert circuit.synergy(*pair).max() == -3


def test_it_loads_from_disk(circuit: Planted, tmp_path: Any):
    loaded = load_model(str(circuit.save(tmp_path / "model")), device="cpu")
    lines = circuit.write_corpus(tmp_path / "corpus.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [vars(row) for row in circuit.rows]
    for row in circuit.rows[:4]:
        ids = loaded.tokenizer(row.clean)["input_ids"]
        assert ids == circuit.tokenizer(row.clean)["input_ids"]
        assert (ids[0] == loaded.tokenizer.bos_token_id) == (circuit.family == "llama")
        with torch.no_grad():
            found = loaded.model(torch.tensor([ids])).logits[0, -1].numpy()
        agree(found, logits(circuit, row.clean))
        assert len(loaded.tokenizer(row.target, add_special_tokens=False)["input_ids"]) == 1


def test_a_beginning_token_changes_nothing(circuit: Planted):
    bos = circuit.tokenizer.bos_token_id
    for row in circuit.rows[:4]:
        ids = [i for i in circuit.tokenizer(row.clean)["input_ids"] if i != bos]
        with torch.no_grad():
            without, with_bos = (
                circuit.model(torch.tensor([start + ids])).logits[0, -1].numpy()
                for start in ([], [bos])
            )
        agree(without, with_bos)


def test_the_corpus_is_a_fair_one(circuit: Planted):
    assert len({row.clean for row in circuit.rows}) == len(circuit.rows) == 12
    lengths = [
        [len(circuit.tokenizer(text)["input_ids"]) for text in (row.clean, row.corrupt)]
        for row in circuit.rows
    ]
    assert len({clean for clean, _ in lengths}) >= 3
    assert any(clean != corrupt for clean, corrupt in lengths)
    assert max(map(max, lengths)) <= 16
    for row in circuit.rows:
        assert row.target != row.foil
        assert row.foil not in row.clean
        assert row.target not in row.corrupt
