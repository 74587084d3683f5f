"""The exact effects beside a screen: the engine's own, and those of a sweep that fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo
from heads_by_hand import EXACT, measured

from whence.errors import BadInput
from whence.heads import condition
from whence.heads.battery import Positions
from whence.heads.commands.patch import PatchConfig, patch
from whence.heads.commands.sweep import SweepConfig, sweep
from whence.heads.corpora import read_corpus
from whence.heads.gradients import Against
from whence.heads.prompts import Examples, prepare
from whence.heads.reading import Reading
from whence.heads.screen_exact import Exact, measure_exactly, read_sweep
from whence.models.anatomy import find_anatomy
from whence.models.load import Loaded, load_model
from whence.models.replay import Replay
from whence.models.sites import Site

NAMES = [(layer, head) for layer in range(zoo.LAYERS) for head in range(zoo.HEADS)]


def prepared(loaded: Loaded, corpus: Path) -> Examples:
    return prepare(read_corpus(corpus), loaded.tokenizer)


def exactly(
    loaded: Loaded,
    corpus: Path,
    shards: Path,
    against: Against = "zero",
    positions: str = "all",
    **what: Any,
) -> Exact:
    return measure_exactly(
        Replay(find_anatomy(loaded.model)),
        prepared(loaded, corpus),
        against,
        Positions(positions),
        Reading(),
        shards,
        **{"heads": [], "pairs": [], "nodes": [], "device": "cpu", **what},
    )


def changes(loaded: Loaded, corpus: Path, battery: dict[str, Any], shards: Path) -> dict[Any, Any]:
    """Label → change of the logit difference [example], as `run_condition` has it."""
    result, _ = measured(loaded, corpus, battery, shards)
    table = result.per_example.to_pandas().sort_values("example")
    change = table["logit_diff"] - table["clean_logit_diff"]
    return {label: own.to_numpy() for label, own in change.groupby(table["label"])}


@pytest.mark.parametrize("against", ["zero", "mean"])
def test_heads_and_pairs_are_those_of_the_batteries(
    against: Against, zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("qwen2")))
    pairs = [((0, 1), (2, 3)), ((1, 0), (1, 2))]
    found = exactly(loaded, small_corpus, tmp_path / "a", against, heads=[(0, 2)], pairs=pairs)
    battery = {
        "type": "heads_pair_zero",
        "method": against,
        "pairs": [{"a": list(a), "b": list(b)} for a, b in pairs],
    }
    truth = changes(loaded, small_corpus, battery, tmp_path / "b")
    for a, b in pairs:
        name = f"{a[0]}:{a[1]}+{b[0]}:{b[1]}"
        np.testing.assert_allclose(found.pairs[a, b], truth[name], atol=EXACT)
        alone = [truth[f"{one[0]}:{one[1]}"] for one in (a, b)]
        np.testing.assert_allclose(
            found.synergy(a, b), truth[name] - alone[0] - alone[1], atol=EXACT
        )
    assert set(found.heads) == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 3)}
    assert set(found.result.per_example["kind"].to_pylist()) == {"head", "pair"}


def test_patches_are_those_of_the_battery(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt_neox")))
    nodes = [Site("attn_out", 0), Site("mlp_out", 2)]
    found = exactly(
        loaded, small_corpus, tmp_path / "a", "corrupt", "last_token", heads=NAMES, nodes=nodes
    )
    for granularity, own in (
        ("head_out", {f"{a}:{b}": found.heads[a, b] for a, b in NAMES}),
        ("attn_out", {"0": found.nodes[nodes[0]]}),
        ("mlp_out", {"2": found.nodes[nodes[1]]}),
    ):
        battery = {"type": "activation_patch", "granularity": granularity}
        truth = changes(loaded, small_corpus, battery, tmp_path / granularity)
        for name, change in own.items():
            np.testing.assert_allclose(change, truth[name], atol=EXACT)
            assert np.abs(change).max() > 1e-3
    assert "patch" not in found.result.per_example["kind"].to_pylist()


def test_attention_without_any_head_is_attention_gone(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    """LLaMA's attention adds nothing but what its heads write: no norm, no bias."""
    loaded = load_model(str(zoo_folder("llama")))
    found = exactly(loaded, small_corpus, tmp_path / "a", nodes=[Site("attn_out", 1)])
    heads = [[1, head] for head in range(zoo.HEADS)]
    battery = {"type": "heads_subset_zero", "groups": [{"heads": heads, "label": "layer"}]}
    truth = changes(loaded, small_corpus, battery, tmp_path / "b")["layer"]
    np.testing.assert_allclose(found.nodes[Site("attn_out", 1)], truth, atol=EXACT)


def test_shards_that_are_there_are_not_computed_again(
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load_model(str(zoo_folder("gpt2")))
    what = {"heads": NAMES, "pairs": [((0, 1), (1, 1))]}
    whole = exactly(loaded, small_corpus, tmp_path, **what)
    next(tmp_path.rglob("0001.parquet")).unlink()
    starts = []
    example_rows = condition.example_rows

    def noting(asked: Any, members: Any, *more: Any) -> Any:
        starts.append(asked[members[0]].start)
        return example_rows(asked, members, *more)

    monkeypatch.setattr(condition, "example_rows", noting)
    again = exactly(loaded, small_corpus, tmp_path, **what)
    assert starts == [1]
    assert again.result.per_example.equals(whole.result.per_example)
    # Other interventions have shards of their own.
    exactly(loaded, small_corpus, tmp_path, heads=[(0, 0)])
    assert starts == [1, 0]


def test_a_sweep_is_read_if_it_is_of_the_same_things(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    folder = zoo_folder("gpt2")
    loaded = load_model(str(folder))
    examples = prepared(loaded, small_corpus)
    common: dict[str, Any] = {"model": str(folder), "corpus": small_corpus}
    swept = sweep(SweepConfig(**common, output_dir=tmp_path / "sweep", scales=(0.5, 0.0))).folder
    own = exactly(loaded, small_corpus, tmp_path / "shards", heads=NAMES)
    width = len(examples.rows)
    clean = own.result.per_example["clean_logit_diff"].slice(0, width).to_numpy()

    def read(
        folder: Path, against: Against = "zero", positions: str = "all", **more: Any
    ) -> dict[Any, Any]:
        settings = {"clean": clean, "names": NAMES, "dtype": "float32", **more}
        return read_sweep(folder, examples, against, Positions(positions), **settings)

    found = read(swept)
    for name in NAMES:
        np.testing.assert_allclose(found[name], own.heads[name], atol=EXACT)
    patched = patch(
        PatchConfig(**common, output_dir=tmp_path / "patch", granularity="head_out")
    ).folder
    moved = exactly(loaded, small_corpus, tmp_path / "shards", "corrupt", "last_token", heads=NAMES)
    found = read(patched, "corrupt", "last_token")
    for name in NAMES:
        np.testing.assert_allclose(found[name], moved.heads[name], atol=EXACT)

    for where, settings, said in (
        (tmp_path, {}, "no metrics/summary.json"),
        (swept, {"against": "mean"}, "whence heads sweep --ablation mean --positions all"),
        (swept, {"positions": "first"}, "another intervention"),
        (patched, {}, "another intervention"),
        (swept, {"names": [*NAMES, (3, 0)]}, "head 3:0 is not in it"),
        (swept, {"clean": clean + 1}, "undisturbed logit differences are not ours"),
    ):
        with pytest.raises(BadInput, match=said) as error:
            read(where, **settings)
        assert "\n" not in str(error.value)
    shorter = tmp_path / "shorter.jsonl"
    shorter.write_text("".join(small_corpus.read_text().splitlines(keepends=True)[:5]))
    part = sweep(SweepConfig(**{**common, "corpus": shorter}, output_dir=tmp_path / "part")).folder
    with pytest.raises(BadInput, match="row 5 of the corpus is not in it"):
        read(part)
