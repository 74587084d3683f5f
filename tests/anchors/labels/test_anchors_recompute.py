"""Importances worked by hand, and by a naive second implementation on random rollouts."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rollout_tree import (
    OTHER,
    SAME,
    Entry,
    published_importances,
    random_problem,
    rollout,
    write_problem,
)
from scipy.stats import entropy

from whence.anchors.labels.accuracy import Tally, difference_error, tally
from whence.anchors.labels.divergence import judged_by_answer, kl, kl_error, outcomes
from whence.anchors.labels.names import (
    IMPORTANCES,
    NO_ANSWER,
    NO_DISSIMILAR,
    NO_NEXT,
    NO_ROLLOUTS,
    NOT_COMPUTED,
)
from whence.anchors.labels.recompute import Measured, Method, recompute
from whence.anchors.labels.similarity import similarities
from whence.anchors.rollouts.local import LocalTree
from whence.anchors.rollouts.problem import read_problem, read_rollouts
from whence.anchors.rollouts.rollout import Rollout, parse_rollouts
from whence.runs.jsonfile import read_json
from whence.text.embedding import tfidf

BY_HAND: dict[int, list[Entry]] = {
    0: [
        rollout("5", True, OTHER),
        rollout("5.0", True, OTHER),
        rollout("6", False, OTHER),
        rollout("$5$", True, SAME),
        rollout("", None, OTHER),
    ],
    1: [rollout("5", True)] * 3 + [rollout("6", False)],
    # sentence 2 has no rollouts
    3: [
        rollout("5", True, OTHER),
        rollout("6", False, OTHER),
        rollout("None", False, OTHER),
        rollout("7", None, OTHER),
    ],
    4: [rollout("", None, OTHER), rollout("", None, OTHER)],
}
FORCED: dict[int, list[Entry]] = {
    0: [rollout("5", True), rollout("5", True)],
    2: [rollout("6", False), rollout("5", True)],
}

METHOD = Method()


def measured(method: Method = METHOD, cosines: bool = True) -> list[Measured]:
    rollouts = {i: parse_rollouts(entries, "here") for i, entries in BY_HAND.items()}
    forced = {i: parse_rollouts(entries, "here") for i, entries in FORCED.items()}
    likeness = dict(zip(rollouts, similarities(rollouts.values(), tfidf), strict=True))
    rng = np.random.default_rng(0)
    return recompute(range(5), rollouts, forced, likeness if cosines else None, method, rng)


def test_every_number_of_a_problem_worked_by_hand() -> None:
    first, second, third, fourth, fifth = measured()
    assert first.values["accuracy"] == 3 / 4  # the empty answer does not count
    assert fourth.values["accuracy"] == 1 / 3  # "None" counts where it was judged; null does not
    assert first.values["resampling_importance_accuracy"] == 0.0
    assert first.values["counterfactual_importance_accuracy"] == pytest.approx(2 / 3 - 3 / 4)
    by_hand = math.sqrt(0.6 * 0.4 / 3 + (4 / 6) * (2 / 6) / 4)
    assert first.values["counterfactual_importance_accuracy_se"] == pytest.approx(by_hand)
    by_hand = 2 / 3 * math.log(5 / 6) + 1 / 3 * math.log(5 / 3)  # {5: 2, 6: 1} to {5: 4, 6: 1}
    assert first.values["counterfactual_importance_kl"] == pytest.approx(by_hand)
    assert first.values["different_trajectories_fraction"] == 3 / 4
    assert first.values["dissimilar_rollouts"] == 3
    assert first.values["overdeterminedness"] == 1 - 2 / 4
    assert first.values["forced_importance_accuracy"] == -0.5  # 1/2 of sentence 2 − 2/2
    # {5: 3, 6: 1} to {5: 1, 6: 1, 7: 1, None: 1}, over the gap to sentence 3
    assert second.values["resampling_importance_kl"] == pytest.approx(0.75 * math.log(3))
    assert second.why["counterfactual_importance_accuracy"] == NO_DISSIMILAR
    assert second.why["resampling_importance_accuracy"] == NO_NEXT  # sentence 2 itself is wanted
    assert second.why["forced_importance_kl"] == NO_ROLLOUTS
    assert set(third.why) == set(IMPORTANCES)
    assert third.why["resampling_importance_kl"] == NO_ROLLOUTS
    assert third.why["forced_importance_accuracy"] == NO_NEXT
    assert math.isnan(third.values["accuracy"])
    # 4 has rollouts, and not one answer: nothing to compare with, and not 0
    assert fourth.why["resampling_importance_accuracy"] == NO_ANSWER
    assert fourth.why["counterfactual_importance_accuracy"] == NO_ANSWER
    assert fifth.why["counterfactual_importance_accuracy"] == NO_NEXT
    for one in (first, second, third, fourth, fifth):
        for name in IMPORTANCES:
            assert math.isnan(one.values[name]) == (name in one.why)


def test_kl_over_right_and_wrong_and_with_laplace() -> None:
    first = measured(Method(outcome="correct"))[0].values["counterfactual_importance_kl"]
    assert first == pytest.approx(2 / 3 * math.log(5 / 6) + 1 / 3 * math.log(5 / 3))
    smoothed = measured(Method(laplace=True))[0].values["counterfactual_importance_kl"]
    assert smoothed == pytest.approx(entropy([3 / 5, 2 / 5], [5 / 7, 2 / 7]))


def test_without_an_embedding_only_counterfactual_importance_is_missing() -> None:
    first = measured(cosines=False)[0]
    assert set(first.why.values()) == {NOT_COMPUTED}
    assert set(first.why) == {name for name in IMPORTANCES if name.startswith("counterfactual")}
    assert math.isnan(first.values["dissimilar_rollouts"])


@pytest.mark.parametrize("number", range(6))
def test_random_trees_against_the_naive_definitions(tmp_path: Path, number: int) -> None:
    random_problem(tmp_path, number, chunks=7, each=15)
    tree = LocalTree(tmp_path)
    folder = "small-model/temperature_0.6_top_p_0.95/correct_base_solution"
    problem = read_problem(tree, folder, str(number))
    texts = [sentence.text for sentence in problem.sentences]
    raw, forced_raw = (
        {
            int(path.parent.name.removeprefix("chunk_")): read_json(path)
            for path in (tmp_path / where / f"problem_{number}").glob("chunk_*/solutions.json")
        }
        for where in (folder, f"{folder}_forced_answer")
    )
    naive = published_importances(texts, raw, forced_raw)
    wanted = set(range(7))
    rollouts = read_rollouts(tree, folder, str(number), wanted)
    forced = read_rollouts(tree, f"{folder}_forced_answer", str(number), wanted)
    cosines = dict(zip(rollouts, similarities(rollouts.values(), tfidf), strict=True))
    found = recompute(range(7), rollouts, forced, cosines, Method(), np.random.default_rng(0))
    compared = 0
    naive[max(rollouts)].pop("different_trajectories_fraction")  # 0 there, as it has no successor
    for ours, theirs in zip(found, naive, strict=True):
        for name in theirs:
            if math.isnan(ours.values[name]):
                assert theirs[name] == 0  # what is missing here was 0 there
            else:
                assert ours.values[name] == pytest.approx(theirs[name], abs=1e-12)
                compared += 1
    assert compared > 15


def test_kl_against_scipy() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        p, q = rng.integers(0, 9, 5), rng.integers(1, 9, 5)
        p[0] += 1
        first, second = (Counter(dict(zip("abcde", map(int, c), strict=True))) for c in (p, q))
        assert kl(first, second, "answers", 1e-9) == pytest.approx(entropy(p, q), abs=1e-6)
        assert kl(first, second, "answers", 1.0) == pytest.approx(entropy(p + 1, q + 1))
    assert math.isnan(kl(Counter(), Counter("a"), "answers", 1.0))


def test_an_answer_gets_the_verdict_that_it_last_got() -> None:
    current = parse_rollouts([rollout("5", True), rollout("6", False), rollout("", None)], "here")
    following = parse_rollouts([rollout("5.0", False)], "here")
    judged = judged_by_answer(current, current, following)
    assert [each.correct for each in judged] == [False, False]


@pytest.mark.parametrize(
    ("p", "n", "q", "m"), [(0.6, 100, 0.5, 80), (0.9, 60, 0.97, 100), (0.5, 10, 0.2, 100)]
)
def test_the_error_of_a_difference_is_its_spread(p: float, n: int, q: float, m: int) -> None:
    rng = np.random.default_rng(2)
    right = rng.binomial([n, m], [p, q], size=(20_000, 2))
    spread = (right[:, 0] / n - right[:, 1] / m).std()
    claimed = [difference_error(Tally(int(a), n), Tally(int(b), m)) for a, b in right[:2000]]
    assert np.mean(claimed) == pytest.approx(spread, rel=0.08)


def test_all_right_is_not_known_without_error() -> None:
    assert 0.01 < difference_error(Tally(100, 100), Tally(100, 100)) < 0.02
    assert math.isnan(difference_error(Tally(0, 0), Tally(1, 1)))
    assert tally([Rollout(None, None, "1", None)]) == Tally(0, 0)


def test_the_error_of_a_kl_is_its_spread() -> None:
    rng = np.random.default_rng(3)
    p, q, n = [0.6, 0.3, 0.1], [0.3, 0.3, 0.4], 150
    first, second = rng.multinomial(n, p, size=400), rng.multinomial(n, q, size=400)
    sides = [[Counter(dict(zip("abc", map(int, row), strict=True))) for row in both]
             for both in (first, second)]  # fmt: skip
    values = [kl(a, b, "answers", 1e-9) for a, b in zip(*sides, strict=True)]
    errors = [kl_error([a], [b], "answers", 1e-9, 200, rng) for a, b in
              zip(sides[0][:60], sides[1][:60], strict=True)]  # fmt: skip
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_a_kl_of_one_answer_has_no_known_error() -> None:
    rng = np.random.default_rng(4)
    alike = outcomes(parse_rollouts([rollout("5", True)] * 9, "here"), "answers")
    assert kl(alike, alike, "answers", 1e-9) == 0
    assert math.isnan(kl_error([alike], [alike], "answers", 1e-9, 50, rng))


def test_a_sentence_too_short_for_rollouts_is_no_sentence(tmp_path: Path) -> None:
    """Chunks under four characters are passed over, and their folders with them."""
    texts = ["We begin.", "So", "We end here."]
    write_problem(tmp_path, 1, texts, {i: [rollout("5", True)] for i in range(3)})
    tree = LocalTree(tmp_path)
    folder = "small-model/temperature_0.6_top_p_0.95/correct_base_solution"
    problem = read_problem(tree, folder, "1")
    assert [(each.number, each.text) for each in problem.sentences] == [
        (0, "We begin."),
        (2, "We end here."),
    ]
    assert list(read_rollouts(tree, folder, "1", {0, 2})) == [0, 2]
