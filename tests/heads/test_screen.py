"""Screens of planted models against their truth, and of random ones against the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
from heads_by_hand import measured

from whence.heads.battery import Positions
from whence.heads.corpora import read_corpus
from whence.heads.gradients import Against, Gates, Point
from whence.heads.prompts import prepare
from whence.heads.screen import Screened, radau, screen
from whence.heads.screen_table import agreement, strongest
from whence.models.anatomy import find_anatomy
from whence.models.load import Loaded, load_model
from whence.models.replay import Replay
from whence.stats.ranking import overlap_at_k


def gates_of(
    loaded: Loaded, corpus: Path, against: Against = "zero", positions: str = "all"
) -> Gates:
    return Gates(
        Replay(find_anatomy(loaded.model)),
        prepare(read_corpus(corpus), loaded.tokenizer).rows,
        against,
        Positions(positions),
        batch_size=32,
        memory_gb=2.0,
    )


def screened(
    model: planted.Planted,
    home: Path,
    against: Against = "zero",
    positions: str = "all",
    **more: Any,
) -> Screened:
    loaded = load_model(str(model.save(home / "model")))
    gates = gates_of(loaded, model.write_corpus(home / "corpus.jsonl"), against, positions)
    return screen(gates, home / "passes", **{"anchors": 4, "points": 2, "parts": 4, **more})


@pytest.mark.parametrize("points", range(1, 7))
def test_quadrature_is_exact_for_polynomials_and_ends_at_one(points: int) -> None:
    levels, weights = radau(points)
    assert len(levels) == points
    assert levels[-1] == 1
    assert (np.diff([0.0, *levels]) > 0).all()
    for degree in range(2 * points - 1):
        assert weights @ levels**degree == pytest.approx(1 / (degree + 1), rel=1e-9)


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_a_linear_model_is_estimated_exactly_row_by_row(
    family: planted.Family, tmp_path: Path
) -> None:
    model = planted.suppressor(family)
    found = screened(model, tmp_path)
    for n, name in enumerate(found.names):
        truth = model.ablated([name])
        np.testing.assert_allclose(found.gradient[n], truth, atol=1e-4)
        np.testing.assert_allclose(found.estimate[n], truth, atol=1e-4)
    best, second = strongest(found.estimate, 2)
    assert found.names[best] == (0, 2)
    assert found.names[second] == (1, 1)  # the suppressor: without it the answer is clearer
    assert found.estimate[second].mean() > 0
    np.testing.assert_allclose(found.pair_estimate, 0, atol=1e-4)
    sizes = [np.abs(found.estimate.mean(1)), [abs(model.truth[name]) for name in found.names]]
    assert overlap_at_k(*sizes, 2).value == 1
    told = agreement(found, {name: model.ablated([name]) for name in found.names})
    # Two heads of twelve do anything: the other three places are shared by ten that do nothing.
    by_chance = (2 + 3 * 3 / 10) / 5
    assert told["recall"]["estimate"]["5"]["value"] == pytest.approx(by_chance)
    assert told["spearman"]["estimate"]["value"] == pytest.approx(1)
    assert told["random"]["5"] == pytest.approx(5 / 12)


@pytest.mark.parametrize("against", ["mean", "corrupt"])
def test_other_replacements_of_a_linear_model(against: Against, tmp_path: Path) -> None:
    model = planted.suppressor("llama")
    found = screened(model, tmp_path, against, "last_token")
    for n, (layer, head) in enumerate(found.names):
        if against == "corrupt":
            truth = model.patched("head_out", layer, [head])
            np.testing.assert_allclose(found.estimate[n], truth, atol=1e-4)
        np.testing.assert_allclose(found.estimate[n], found.gradient[n], atol=1e-4)
    assert np.abs(found.estimate).max() > 1


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_a_redundant_pair_shows_in_its_synergy_where_each_head_alone_shows_nothing(
    family: planted.Family, tmp_path: Path
) -> None:
    model = planted.redundant(family)
    found = screened(model, tmp_path)
    pair = ((0, 1), (1, 2))
    for one in pair:
        n = found.names.index(one)
        np.testing.assert_allclose(found.estimate[n], 0, atol=1e-4)
        np.testing.assert_allclose(found.gradient[n], 0, atol=1e-4)
        assert found.joint is not None
        assert found.joint[n].mean() < -1
        assert one in found.anchors
    best = strongest(found.pair_estimate, 1)[0]
    assert found.pairs[best] == pair
    # The truth is −3 s; a jump in the slope is between two points, which cannot say just where.
    truth = model.synergy(*pair)
    assert (found.pair_estimate[best] < 0.5 * truth).all()
    assert (found.pair_estimate[best] > 2 * truth).all()
    np.testing.assert_allclose(found.pair_gradient[best], 0, atol=1e-4)
    others = [n for n in range(len(found.pairs)) if n != best]
    np.testing.assert_allclose(found.pair_estimate[others], 0, atol=1e-3)


def test_heads_that_steer_a_saturated_attention_are_not_seen(tmp_path: Path) -> None:
    """The known limit: 0:3 tells 1:0 where to look, and a little less of it changes nothing."""
    model = planted.induction("gpt2")
    found = screened(model, tmp_path)
    n, m = found.names.index((0, 3)), found.names.index((1, 0))
    assert model.truth[0, 3] < -4
    assert abs(found.estimate[n].mean()) < 0.1
    np.testing.assert_allclose(found.estimate[m], model.ablated([(1, 0)]), atol=1e-3)
    # Removed outright, it takes the other's effect with it.
    pair = found.pairs.index(((0, 3), (1, 0)))
    assert found.pair_estimate[pair].mean() > 1


def test_all_heads_at_once_add_up_to_removing_them_all(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder("gpt2")))
    heads = [[layer, head] for layer in range(3) for head in range(4)]
    battery = {"type": "heads_subset_zero", "groups": [{"heads": heads, "label": "every"}]}
    result, _ = measured(loaded, small_corpus, battery, tmp_path)
    table = result.per_example.to_pandas().sort_values("example")
    gates = gates_of(loaded, small_corpus)
    levels, weights = radau(24)
    slopes = [gates.heads(Point(float(level))).sum((0, 1)) for level in levels]
    exact = (table["logit_diff"] - table["clean_logit_diff"]).to_numpy()
    np.testing.assert_allclose(-np.tensordot(weights, slopes, axes=1), exact, atol=0.02)
    assert np.abs(exact).max() > 1


@pytest.mark.parametrize("name", ["gpt2", "gemma3"])
def test_with_more_points_and_parts_estimates_come_near_the_exact_effects(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    """Gemma 3 has a norm after attention: at the undisturbed run slopes say little."""
    loaded = load_model(str(zoo_folder(name)))
    short = tmp_path / "short.jsonl"
    short.write_text("".join(small_corpus.read_text().splitlines(keepends=True)[6:8]))
    result, _ = measured(loaded, short, {"type": "heads_zero"}, tmp_path / "exact")
    table = result.per_example.to_pandas().sort_values(["layer", "head", "example"])
    exact = (table["logit_diff"] - table["clean_logit_diff"]).to_numpy().reshape(12, -1)
    off = {}
    for points, parts in ((1, 1), (2, 4), (6, 12)):
        found = screen(
            gates_of(loaded, short),
            tmp_path / f"{points}-{parts}",
            anchors=0,
            points=points,
            parts=parts,
        )
        off[points] = float(np.abs(found.estimate - exact).mean())
        assert found.pairs == ()
        assert found.joint is None
        assert found.passes == 2 * (1 + parts * (points - 1))
        if points == 1:
            np.testing.assert_array_equal(found.estimate, found.gradient)
    assert off[2] < 0.8 * off[1]
    # Each head alone: what is left is the quadrature's.
    assert off[6] < 0.02 * np.abs(exact).mean()


def test_passes_that_are_there_are_not_made_again(
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load_model(str(zoo_folder("llama")))
    settings = {"anchors": 2, "points": 2, "parts": 2}
    whole = screen(gates_of(loaded, small_corpus), tmp_path, **settings)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == whole.passes + 1  # and the norms
    gone = next(name for name in files if "at-0" in name)
    (tmp_path / gone).unlink()
    points = []
    slopes = Gates._slopes

    def noting(self: Gates, sites: Any, point: Point) -> Any:
        points.append(point)
        return slopes(self, sites, point)

    monkeypatch.setattr(Gates, "_slopes", noting)
    again = screen(gates_of(loaded, small_corpus), tmp_path, **settings)
    assert [point.held is not None for point in points] == [True]
    assert again.passes == whole.passes
    np.testing.assert_array_equal(again.pair_estimate, whole.pair_estimate)
    np.testing.assert_array_equal(again.estimate, whole.estimate)
