"""Patching against brute force: activations read from one run and written into another by hooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from heads_by_hand import EXACT, measured

from whence.errors import BadInput
from whence.models.anatomy import Anatomy, find_anatomy
from whence.models.capture import capture
from whence.models.intervene import intervening
from whence.models.load import load_model
from whence.models.sites import Site

SITES = {
    "layer_resid": "resid_post",
    "mlp_out": "mlp_out",
    "attn_out": "attn_out",
    "head_out": "z",
}


def patched(
    anatomy: Anatomy,
    run: tuple[int, ...],
    source: tuple[int, ...],
    touches: list[tuple[str, int, int | None]],
    meet: Callable[[int, int], list[tuple[int, int]]],
) -> torch.Tensor:
    """Logits after the last token of `run`, by the model's whole forward pass with edits."""
    sites = {Site(kind, layer) for kind, layer, _ in touches}  # type: ignore[arg-type]
    values = capture(anatomy, torch.tensor([source]), sites=list(sites))
    edits = {}
    for kind, layer, head in touches:
        site = Site(kind, layer)  # type: ignore[arg-type]

        def edit(value: torch.Tensor, site: Site = site, head: Any = head) -> torch.Tensor:
            changed = value.clone()
            for to, of in meet(len(run), len(source)):
                if head is None:
                    changed[0, to] = values[site.name][0, of]
                else:
                    changed[0, to, head] = values[site.name][0, of, head]
            return changed

        edits[site] = edit
    with torch.no_grad(), intervening(anatomy, edits):
        return anatomy.model(torch.tensor([run])).logits[0, -1]


def last(length: int, source: int) -> list[tuple[int, int]]:
    return [(length - 1, source - 1)]


MEETINGS: dict[str, Callable[[int, int], list[tuple[int, int]]]] = {
    "last_token": last,
    "first": lambda length, source: [(0, 0)],
    "final_2": lambda length, source: [(length - 2, source - 2), (length - 1, source - 1)],
    "1,-1": lambda length, source: [(1, 1), (length - 1, source - 1)],
    "all": lambda length, source: [(p, p) for p in range(length)],
}


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
@pytest.mark.parametrize("granularity", SITES)
def test_every_granularity_of_every_architecture(
    name: str,
    granularity: str,
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
) -> None:
    loaded = load_model(str(zoo_folder(name)))
    anatomy = find_anatomy(loaded.model)
    battery = {"type": "activation_patch", "granularity": granularity, "layers": [0, 2]}
    if granularity == "head_out":
        battery["heads"] = [0, 3]
    result, examples = measured(loaded, small_corpus, battery, tmp_path)
    by_row = {row.example: row for row in examples.rows}
    moved = 0.0
    for found in result.per_example.to_pandas().itertuples():
        row = by_row[found.example]
        head = int(found.head) if granularity == "head_out" else None
        touches = [(SITES[granularity], found.layer, head)]
        a = patched(anatomy, row.clean, row.corrupt, touches, last)
        expected = float(a[row.target[0]] - a[row.foil[0]])
        assert found.logit_diff == pytest.approx(expected, abs=EXACT)
        moved = max(moved, abs(found.logit_diff - found.clean_logit_diff))
    assert moved > 0.01


@pytest.mark.parametrize("positions", MEETINGS)
@pytest.mark.parametrize("direction", ["corrupt->clean", "clean->corrupt"])
def test_positions_and_directions(
    positions: str,
    direction: str,
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
) -> None:
    loaded = load_model(str(zoo_folder("gemma3")))
    anatomy = find_anatomy(loaded.model)
    battery = {
        "type": "activation_patch",
        "layers": [0, 1],
        "window": True,
        "positions": positions,
        "patch_direction": direction,
    }
    result, examples = measured(loaded, small_corpus, battery, tmp_path)
    by_row = {row.example: row for row in examples.rows}
    table = result.per_example.to_pandas()
    assert sorted(table["label"].unique()) == ["0", "0-1", "1"]
    unequal = [r.example for r in examples.rows if len(r.clean) != len(r.corrupt or ())]
    assert unequal
    if positions == "all":
        assert result.baseline["excluded"]["clean and corrupt prompts differ in length"] == unequal
        assert not set(unequal) & set(table["example"])
    for found in table.itertuples():
        row = by_row[found.example]
        run, source = row.clean, row.corrupt
        if direction == "clean->corrupt":
            run, source = source, run
        layers = {"0": [0], "1": [1], "0-1": [0, 1]}[found.label]
        touches = [("resid_post", layer, None) for layer in layers]
        a = patched(anatomy, run, source, touches, MEETINGS[positions])
        with torch.no_grad():
            c = loaded.model(torch.tensor([run])).logits[0, -1]
        t, f = row.target[0], row.foil[0]
        assert found.logit_diff == pytest.approx(float(a[t] - a[f]), abs=EXACT)
        assert found.clean_logit_diff == pytest.approx(float(c[t] - c[f]), abs=EXACT)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "falcon_alibi"])
def test_the_last_block_at_the_last_token_gives_the_source_run(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder(name)))
    battery = {"type": "activation_patch", "layers": [zoo.LAYERS - 1]}
    result, examples = measured(loaded, small_corpus, battery, tmp_path)
    table = result.per_example.to_pandas()
    assert any(len(row.clean) != len(row.corrupt or ()) for row in examples.rows)
    assert (table["logit_diff"] - table["source_logit_diff"]).abs().max() < 1e-5
    anatomy = find_anatomy(loaded.model)
    for row in examples.rows:
        with torch.no_grad():
            source = loaded.model(torch.tensor([row.corrupt])).logits[0, -1]
        touches = [("resid_post", zoo.LAYERS - 1, None)]
        # the same vector through the same norm and head; rows of another length may round otherwise
        put = patched(anatomy, row.clean, row.corrupt, touches, last)
        assert torch.allclose(put, source, atol=1e-5)


@pytest.mark.parametrize("granularity", SITES)
def test_a_sham_is_exactly_nothing(
    granularity: str, zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("gemma2")))
    battery = {
        "type": "activation_patch",
        "granularity": granularity,
        "sham_control": True,
        "window": True,
        "positions": "final_3",
    }
    result, _ = measured(loaded, small_corpus, battery, tmp_path)
    table = result.per_example.to_pandas()
    sham = table[table["kind"] == "sham"]
    assert len(sham) == len(table) / 2
    assert (sham["logit_diff"] == sham["clean_logit_diff"]).all()
    assert (sham["p_target"] == sham["clean_p_target"]).all()
    assert (sham["kl_div"] == 0).all()
    assert (table[table["kind"] == "patch"]["kl_div"] > 0).any()


def test_prompts_that_cannot_meet(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt2")))
    with pytest.raises(BadInput, match="position 40 lies outside a prompt of"):
        measured(
            loaded, small_corpus, {"type": "activation_patch", "positions": [40]}, tmp_path / "a"
        )
    alone = tmp_path / "alone.jsonl"
    alone.write_text('{"clean": "The fox is", "target": " red", "foil": " blue"}\n')
    with pytest.raises(BadInput, match="no row has a corrupt prompt"):
        measured(loaded, alone, {"type": "activation_patch"}, tmp_path / "b")
    unequal = tmp_path / "unequal.jsonl"
    unequal.write_text(
        '{"clean": "The fox is", "corrupt": "It is a", "target": " red", "foil": " blue"}\n'
    )
    with pytest.raises(BadInput, match="use --positions last_token"):
        measured(loaded, unequal, {"type": "activation_patch", "positions": "all"}, tmp_path / "c")


@pytest.mark.parametrize(
    ("battery", "said"),
    [
        ({"type": "heads_zero", "layers": [3]}, "layer 3 is out of range"),
        ({"type": "heads_zero", "heads": [0, 9]}, "head 9 is out of range"),
        ({"type": "heads_pair_zero", "pairs": [{"layer": 0, "h1": 2, "h2": 4}]}, "head 4"),
        ({"type": "heads_subset_zero", "groups": [{"heads": ["7:0"]}]}, "layer 7"),
    ],
)
def test_what_the_model_does_not_have(
    battery: dict[str, Any],
    said: str,
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
) -> None:
    loaded = load_model(str(zoo_folder("gpt2")))
    with pytest.raises(BadInput, match=said) as error:
        measured(loaded, small_corpus, battery, tmp_path)
    assert "\n" not in str(error.value)
