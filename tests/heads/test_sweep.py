"""The sweep against brute force: one prompt at a time, the model's own forward pass, hooks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from heads_by_hand import EXACT, forward, forward_copies, measured, without

from whence.errors import BadInput
from whence.heads.sweep import Sweep
from whence.models.load import Loaded, load_model


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_every_head_of_every_architecture(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder(name)))
    battery = {"type": "heads_zero", "scales": [0.0, 0.5]}
    result, examples = measured(loaded, small_corpus, battery, tmp_path)
    table = result.per_example.to_pandas()
    assert len(table) == 2 * zoo.LAYERS * zoo.HEADS * len(examples.rows)
    by_row = {row.example: row for row in examples.rows}
    clean = {row.example: forward(loaded, row.clean)[-1] for row in examples.rows}
    changes = list(itertools.product(range(zoo.HEADS), (0.0, 0.5)))

    def each(z: torch.Tensor) -> torch.Tensor:
        """Every copy of the prompt loses another head, or half of it."""
        for copy, (head, factor) in enumerate(changes):
            without(head, factor, zoo.HEADS)(z[copy])
        return z

    by_hand = {
        (row.example, layer, head, factor): last
        for row in examples.rows
        for layer in range(zoo.LAYERS)
        for (head, factor), last in zip(
            changes,
            forward_copies(loaded, row.clean, len(changes), layer, each)[:, -1],
            strict=True,
        )
    }
    effects = []
    for found in table.itertuples():
        row, c = by_row[found.example], clean[found.example]
        a = by_hand[found.example, found.layer, found.head, found.scale]
        t, f = row.target[0], row.foil[0]
        log_c, log_a = c.log_softmax(-1), a.log_softmax(-1)
        assert found.logit_diff == pytest.approx(float(a[t] - a[f]), abs=EXACT)
        assert found.clean_logit_diff == pytest.approx(float(c[t] - c[f]), abs=EXACT)
        assert found.p_target == pytest.approx(float(log_a[t].exp()), abs=EXACT)
        kl = float((log_c.exp() * (log_c - log_a)).sum())
        assert found.kl_div == pytest.approx(kl, abs=EXACT, rel=1e-3)
        assert found.predicted == int(a.argmax())
        assert found.clean_predicted == int(c.argmax())
        effects.append(found.logit_diff - found.clean_logit_diff)
    assert np.abs(effects).max() > 0.1


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3"])
@pytest.mark.parametrize("positions", ["last_token", "first", "final_2", "0,-1"])
def test_positions(
    name: str,
    positions: str,
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
) -> None:
    loaded = load_model(str(zoo_folder(name)))
    battery = {"type": "heads_zero", "positions": positions, "heads": [1], "layers": [0, 2]}
    result, examples = measured(loaded, small_corpus, battery, tmp_path)
    by_row = {row.example: row for row in examples.rows}
    where = {"last_token": [-1], "first": [0], "final_2": [-2, -1], "0,-1": [0, -1]}[positions]

    def edit(z: torch.Tensor) -> torch.Tensor:
        z.unflatten(-1, (zoo.HEADS, -1))[:, where, 1] = 0
        return z

    for found in result.per_example.to_pandas().itertuples():
        row = by_row[found.example]
        a = forward(loaded, row.clean, found.layer, edit)[-1]
        assert found.logit_diff == pytest.approx(
            float(a[row.target[0]] - a[row.foil[0]]), abs=EXACT
        )


def test_whole_targets_token_by_token(zoo_folder: Callable[[str], Path], tmp_path: Path) -> None:
    loaded = load_model(str(zoo_folder("llama")))
    corpus = tmp_path / "long.jsonl"
    rows = [
        {"clean": "The color of grass is", "target": " green as ever", "foil": " black"},
        {"clean": "Two plus two is", "target": " four", "foil": " five and more"},
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    battery = {"type": "heads_zero", "layers": [1]}
    result, examples = measured(
        loaded, corpus, battery, tmp_path / "shards", metric_span="full_target"
    )
    by_row = {row.example: row for row in examples.rows}
    assert max(len(row.target) for row in examples.rows) > 3
    for found in result.per_example.to_pandas().itertuples():
        row = by_row[found.example]
        ids = (*row.clean, *row.target[:-1])
        edit = without(found.head, 0.0, zoo.HEADS)
        c, a = (
            run[len(row.clean) - 1 :].log_softmax(-1)
            for run in (forward(loaded, ids), forward(loaded, ids, found.layer, edit))
        )
        at = torch.arange(len(row.target))
        target = torch.tensor(row.target)
        assert found.clean_seq_logprob == pytest.approx(float(c[at, target].sum()), abs=EXACT)
        assert found.seq_logprob == pytest.approx(float(a[at, target].sum()), abs=EXACT)
        kl = float((c.exp() * (c - a)).sum(-1).mean())
        assert found.seq_kl_mean == pytest.approx(kl, abs=EXACT)
        # the first token's numbers do not depend on what follows
        alone = forward(loaded, row.clean, found.layer, edit)[-1]
        first = float(alone[row.target[0]] - alone[row.foil[0]])
        assert found.logit_diff == pytest.approx(first, abs=EXACT)


def heads_of(loaded: Loaded, ids: tuple[int, ...], layer: int) -> torch.Tensor:
    """What the heads of a layer give the output projection, [pos, head, d_head]."""
    seen = []

    def keep(z: torch.Tensor) -> torch.Tensor:
        seen.append(z.unflatten(-1, (zoo.HEADS, -1))[0].clone())
        return z

    forward(loaded, ids, layer, keep)
    return seen[0]


def test_mean_ablation_puts_the_mean_over_all_tokens_of_distinct_prompts(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("qwen3")))
    result, examples = measured(loaded, small_corpus, {"type": "heads_mean"}, tmp_path)
    by_row = {row.example: row for row in examples.rows}
    prompts = dict.fromkeys(row.clean for row in examples.rows)
    assert len(prompts) < len(examples.rows)
    means = [
        torch.cat([heads_of(loaded, prompt, layer) for prompt in prompts]).mean(0)
        for layer in range(zoo.LAYERS)
    ]
    for found in result.per_example.to_pandas().itertuples():
        row = by_row[found.example]

        def edit(z: torch.Tensor, at: Any = found) -> torch.Tensor:
            z.unflatten(-1, (zoo.HEADS, -1))[:, :, at.head] = means[at.layer][at.head]
            return z

        a = forward(loaded, row.clean, found.layer, edit)[-1]
        expected = float(a[row.target[0]] - a[row.foil[0]])
        assert found.logit_diff == pytest.approx(expected, abs=EXACT)
        assert found.scale != found.scale  # no factor


def test_resampling_takes_a_head_from_one_other_prompt_and_changes_with_the_seed(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("mistral")))
    battery = {"type": "heads_resample", "layers": [1], "heads": [0, 3]}
    result, examples = measured(loaded, small_corpus, battery, tmp_path, seeds=(0, 1, 2))
    table = result.per_example.to_pandas()
    assert sorted(table["seed"].unique()) == [0, 1, 2]
    prompts = list(dict.fromkeys(row.clean for row in examples.rows))
    values = {prompt: heads_of(loaded, prompt, 1) for prompt in prompts}
    by_row = {row.example: row for row in examples.rows}
    sources = []
    for found in table.itertuples():
        row = by_row[found.example]
        length, fits = len(row.clean), []
        for other in prompts:
            at = [max(0, len(other) - length + p) for p in range(length)]

            def edit(z: torch.Tensor, at: Any = at, o: Any = other, f: Any = found) -> torch.Tensor:
                z.unflatten(-1, (zoo.HEADS, -1))[0, :, f.head] = values[o][at, f.head]
                return z

            a = forward(loaded, row.clean, 1, edit)[-1]
            if abs(float(a[row.target[0]] - a[row.foil[0]]) - found.logit_diff) < EXACT:
                fits.append(other)
        assert len(fits) == 1
        assert fits[0] != row.clean
        sources.append((found.seed, found.example, fits[0]))
    assert len({source for seed, example, source in sources if example == 0}) > 1


def test_deterministic_batteries_run_once_whatever_the_seeds(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt2")))
    battery = {"type": "heads_zero", "layers": [0]}
    result, _ = measured(loaded, small_corpus, battery, tmp_path, seeds=(3, 4, 5))
    assert set(result.per_example["seed"].to_pylist()) == {3}
    assert result.notes["seeds"]["vary"].startswith("nothing")


def test_subsamples_are_rows_of_the_whole_by_seed(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt2")))
    battery = {"type": "heads_zero", "layers": [0], "heads": [1]}
    whole, _ = measured(loaded, small_corpus, battery, tmp_path / "a")
    some, _ = measured(loaded, small_corpus, battery, tmp_path / "b", seeds=(0, 1), subsample=4)
    table, of = some.per_example.to_pandas(), whole.per_example.to_pandas().set_index("example")
    assert len(table) < 2 * len(of)
    drawn = {seed: set(rows["example"]) for seed, rows in table.groupby("seed")}
    assert drawn[0] != drawn[1]
    for seed, rows in table.groupby("seed"):
        prompts = rows["example"].map(of["prompt"])
        assert prompts.nunique() == 4, seed
        np.testing.assert_allclose(
            rows["logit_diff"], of.loc[rows["example"], "logit_diff"], atol=EXACT
        )
    with pytest.raises(BadInput, match="--subsample 99: the corpus has"):
        measured(loaded, small_corpus, battery, tmp_path / "c", subsample=99)


def test_shards_that_are_there_are_not_computed_again(
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load_model(str(zoo_folder("gemma2")))
    battery = {"type": "heads_zero"}
    whole, _ = measured(loaded, small_corpus, battery, tmp_path / "whole")
    measured(loaded, small_corpus, battery, tmp_path / "cut")
    (tmp_path / "cut" / "0001.parquet").unlink()
    starts = []
    readings = Sweep._readings

    def noting(self: Sweep, lane: Any, todo: Any, fills: Any) -> Any:
        starts.append(todo[0].start)
        return readings(self, lane, todo, fills)

    monkeypatch.setattr(Sweep, "_readings", noting)
    again, _ = measured(loaded, small_corpus, battery, tmp_path / "cut")
    assert set(starts) == {1}
    assert again.per_example.equals(whole.per_example)


def test_memory_bounds_the_batch_and_changes_nothing(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt_neox")))
    battery = {"type": "heads_zero"}
    wide, _ = measured(loaded, small_corpus, battery, tmp_path / "wide")
    tight, _ = measured(
        loaded, small_corpus, battery, tmp_path / "tight", memory_gb=1e-6, batch_size=1
    )
    a, b = wide.per_example.to_pandas(), tight.per_example.to_pandas()
    np.testing.assert_allclose(a["logit_diff"], b["logit_diff"], atol=EXACT)
    assert a["predicted"].equals(b["predicted"])


def test_the_cost_is_that_of_suffixes(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt2")))
    result, examples = measured(loaded, small_corpus, {"type": "heads_zero"}, tmp_path)
    layers, heads, tokens = zoo.LAYERS, zoo.HEADS, result.notes["tokens"]
    floor = sum(heads * (layers - layer) for layer in range(layers)) * tokens
    # an undisturbed run for the baseline, another to carry the state up to the last layer, and the
    # smallest group twice for the noise
    apart = result.notes["block_tokens"] - (floor + layers * tokens + (layers - 1) * tokens)
    assert 0 < apart <= 2 * layers * tokens / len({len(row.clean) for row in examples.rows})
    assert 0 <= result.baseline["noise_logit_diff"] < EXACT


def test_logits_that_are_no_numbers_are_one_line(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("llama")))
    with torch.no_grad():
        loaded.model.model.norm.weight[0] = float("nan")
    with pytest.raises(BadInput, match="logits are not finite") as error:
        measured(loaded, small_corpus, {"type": "heads_zero"}, tmp_path)
    assert "\n" not in str(error.value)
