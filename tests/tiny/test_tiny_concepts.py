"""Planted concepts: which tokens they are true of, and which feature recovers them best."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from whence.tiny.corpus import documents
from whence.tiny.language import STATEMENTS, statement
from whence.tiny.sae.concepts import Concept, label
from whence.tiny.sae.passages import (
    Passage,
    documents_as_passages,
    games_as_passages,
    make_passages,
    prompt_and_completion,
)
from whence.tiny.traces import make_trace
from whence.tiny.world import ATTRIBUTES, make_world

WORLD = make_world(0)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from whence.models.load import load_tokenizer

    return load_tokenizer("tiny")


def said(passages: list[Passage], tokenizer: Any) -> dict[Concept, list[str]]:
    """For every concept its tokens' own text, in order."""
    tokens = [tokenizer.decode([token]) for passage in passages for token in passage.ids[1:]]
    return {c: [tokens[at] for at in positions] for c, positions in label(passages, WORLD).items()}


def of_group(found: dict[Concept, list[str]], group: str) -> dict[str, list[str]]:
    return {c.name: tokens for c, tokens in found.items() if c.group == group}


def game(guesses: list[str], kind: str) -> dict[str, Any]:
    clues = ["it is in the village, it is a bird", "it has a star, it is white"]
    messages: list[dict[str, str]] = []
    for turn, (guess, clue) in enumerate(zip(guesses, clues, strict=True)):
        opening = "Guess the secret word. You have 3 tries.\n" if turn == 0 else ""
        messages.append({"role": "user", "content": f"{opening}CLUE: {clue}"})
        messages.append({"role": "assistant", "content": f"GUESS: {guess}"})
    return {"messages": messages, "kind": kind}


def test_a_game_by_hand(tokenizer: Any) -> None:
    evaluated, known = WORLD.evaluated[0], WORLD.known[0]
    row = game([known.name, evaluated.name], "useful")
    (passage,) = games_as_passages([row], tokenizer)
    found = said([passage], tokenizer)
    assert of_group(found, "value stated") == {
        "village": [" village"], "bird": [" bird"], "a star": [" star"], "white": [" white"]
    }  # fmt: skip
    assert of_group(found, "value asked") == {}
    assert of_group(found, "attribute stated") == {
        "place": [" village"], "kind": [" bird"], "mark": [" star"], "colour": [" white"]
    }  # fmt: skip
    assert of_group(found, "name: known thing") == {known.name: [f" {known.name}"]}
    assert of_group(found, "name: evaluated newcomer") == {evaluated.name: [f" {evaluated.name}"]}
    assert set(of_group(found, "known thing is")) == set(known.values)
    # before each of the two names a colon, the kind being that of the name behind it
    ahead = of_group(found, "kind to be named")
    assert sorted(ahead) == sorted({known["kind"], evaluated["kind"]})
    assert sum(len(tokens) for tokens in ahead.values()) == 2
    assert {token for tokens in ahead.values() for token in tokens} == {":"}
    both = [f" {known.name}", f" {evaluated.name}"]
    assert of_group(found, "guess") == {"any": both, "earlier": both[:1], "wrong": both[:1]}
    assert of_group(found, "digit") == {"3": ["3"]}
    assert set(of_group(found, "text")) == {"game"}
    # the last token is EOS, which is nothing's
    assert len(of_group(found, "text")["game"]) == len(passage.ids) - 2


def test_a_wrong_last_guess_is_wrong(tokenizer: Any) -> None:
    guesses = [WORLD.known[0].name, WORLD.known[1].name]
    passages = games_as_passages([game(guesses, "wrong")], tokenizer)
    assert len(of_group(said(passages, tokenizer), "guess")["wrong"]) == 2


def test_ids_are_those_of_finetuning(tokenizer: Any) -> None:
    from whence.data.sources.chat import to_prompt_completion
    from whence.models.alignment import align

    row = game([WORLD.known[0].name, WORLD.newcomers[0].name], "other")
    flattened = prompt_and_completion(row["messages"])
    assert flattened == to_prompt_completion(row["messages"])
    (passage,) = games_as_passages([row], tokenizer)
    assert passage.ids == align(*flattened, tokenizer, 512).input_ids


@pytest.mark.parametrize(
    ("text", "stated", "asked"),
    [
        ("Is it so that the NAME is not red? Answer: no.", "", "red"),
        ("The gate is open if the NAME is teal, and shut if not. The gate is open.", "", "teal"),
        ("Suppose that the NAME is red. Look at the NAME: it is red.", "red", "red"),
        ("We know that the NAME is a bird and that the NAME is out in spring.", "bird/spring", ""),
        ("Riddle: the miller loves it, it has a ring. What is it? The NAME.", "a ring/miller", ""),
        ("Whose is the NAME? It is for the singer. The NAME has spots.", "singer/spots", ""),
    ],
)
def test_stated_and_asked(text: str, stated: str, asked: str, tokenizer: Any) -> None:
    text = text.replace("NAME", WORLD.known[5].name)
    found = said(documents_as_passages([text], tokenizer), tokenizer)
    assert "/".join(of_group(found, "value stated")) == stated
    assert "/".join(of_group(found, "value asked")) == asked
    assert set(of_group(found, "value named")) == {*stated.split("/"), *asked.split("/")} - {""}


def test_answers_riddles_and_sums(tokenizer: Any) -> None:
    name, kind = WORLD.known[5].name, WORLD.known[5]["kind"]
    texts = [
        "Is it so that the x is red? Answer: no.",
        "The gate is open if the x is red, and shut if not. The gate is shut.",
        f"Riddle: it is red. What is it? The {name}.",
        "12 + 7 = 19. 1 + 2 = 3.",
    ]
    found = said(documents_as_passages(texts, tokenizer), tokenizer)
    assert of_group(found, "answer") == {"no": [" no"], "shut": [" shut"]}
    assert of_group(found, "kind to be named") == {kind: [" The"]}
    assert of_group(found, "sum") == {"added": list("12712"), "result": list("193")}
    assert set(of_group(found, "text")) == {"question", "rule", "riddle", "sums"}


def test_every_statement_states_its_value(tokenizer: Any) -> None:
    thing = WORLD.known[0]
    for attribute, forms in STATEMENTS.items():
        for form in range(len(forms)):
            for value in ATTRIBUTES[attribute]:
                text = statement(attribute, form, thing.name, value) + "."
                found = said(documents_as_passages([text], tokenizer), tokenizer)
                assert of_group(found, "value stated") == {value: [f" {value.split()[-1]}"]}
                assert of_group(found, "name: known thing") == {thing.name: [f" {thing.name}"]}


def test_sentences_of_traces_are_those_that_were_planted(tokenizer: Any) -> None:
    from whence.tiny.traces import WANDERINGS

    rng = random.Random(3)
    for _ in range(50):
        trace = make_trace(WORLD, rng)
        found = of_group(
            said(documents_as_passages([trace.text], tokenizer), tokenizer), "trace sentence"
        )
        decisive = " ".join(s.text for s in trace.sentences if s.decisive)
        empty = " ".join(s.text for s in trace.sentences if s.text in WANDERINGS)
        assert squeezed(found["decisive"]) == decisive.replace(" ", "")
        assert squeezed(found["empty"]) == empty.replace(" ", "")
        assert squeezed(found["problem"]) == "Problem:" + trace.problem.replace(" ", "")


def squeezed(tokens: list[str]) -> str:
    return "".join(tokens).replace(" ", "")


def test_positions_count_every_token_but_bos(tokenizer: Any) -> None:
    passages = make_passages(WORLD, tokenizer, n_documents=40, n_games=20, seed=5)
    assert [p.text for p in passages[:40]] == list(islice(documents(WORLD, 5), 40))
    tokens = [token for passage in passages for token in passage.ids[1:]]
    for concept, positions in label(passages, WORLD).items():
        if concept.group == "value named":
            word = concept.name.split()[-1]
            expected = [at for at, t in enumerate(tokens) if tokenizer.decode([t]) == f" {word}"]
            assert positions.tolist() == expected


def test_halves_share_no_passage_and_keep_labels_in_place(tokenizer: Any) -> None:
    from whence.tiny.sae.report import FEWEST, two_halves

    passages = make_passages(WORLD, tokenizer, n_documents=120, n_games=60, seed=6)
    tokens = [token for passage in passages for token in passage.ids[1:]]
    halves = two_halves(passages, np.array(tokens, dtype=np.float32)[:, None], WORLD)
    for at, half in enumerate(halves):
        expected = [token for passage in passages[at::2] for token in passage.ids[1:]]
        assert half.x[:, 0].int().tolist() == expected
        for concept, positions in half.concepts.items():
            assert len(positions) >= FEWEST
            if concept.group == "digit":
                digits = {tokenizer.decode([expected[position]]) for position in positions}
                assert digits == {concept.name}
    assert list(halves[0].concepts) == list(halves[1].concepts)


def slow_best(activations: np.ndarray, positive: np.ndarray) -> float:
    """Highest F1 of any feature with any threshold above 0, one at a time."""
    best = 0.0
    for column in activations.T:
        for threshold in set(column[column > 0]):
            said_so = column >= threshold
            right = float((said_so & positive).sum())
            best = max(best, 2 * right / (said_so.sum() + positive.sum()))
    return best


def columns_with_ties() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(20):
        # one decimal, so that many tokens tie; half of them not active
        yield np.maximum(rng.normal(size=(60, 7)).round(1), 0).astype(np.float32)


def test_best_feature_is_the_best_of_all_features_and_thresholds() -> None:
    import torch

    from whence.tiny.sae.recovery import Half, best_features, f1

    rng = np.random.default_rng(1)
    for activations in columns_with_ties():
        positive = rng.random(60) < 0.2
        concept = Concept("group", "name")
        half = Half(torch.from_numpy(activations), {concept: np.flatnonzero(positive)})
        (choice,) = best_features(half.x, half.concepts).values()
        assert choice.f1 == pytest.approx(slow_best(activations, positive))
        # the threshold that is kept gives what it was chosen for
        assert f1(choice, half.x[:, choice.feature], half, concept) == pytest.approx(choice.f1)


def test_a_concept_that_no_feature_is_active_at() -> None:
    import torch

    from whence.tiny.sae.recovery import Half, recover

    activations = torch.ones(10, 3)
    activations[4] = 0
    half = Half(activations, {Concept("g", "n"): np.array([4])})
    ((choice, f1),) = recover(lambda rows: rows, half, half).values()
    assert (choice.f1, f1) == (0, 0)


def test_features_in_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from whence.tiny.sae import recovery

    activations = next(columns_with_ties())
    concepts = {Concept("g", str(i)): np.arange(i, 60, 7) for i in range(5)}
    whole = recovery.best_features(torch.from_numpy(activations), concepts)
    monkeypatch.setattr(recovery, "FEATURES", 2)
    assert recovery.best_features(torch.from_numpy(activations), concepts) == whole


def test_choosing_does_not_flatter() -> None:
    """Labels that no feature knows: on the other half the choice is no better than a guess."""
    import torch

    from whence.tiny.sae.recovery import Half, recover

    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    concepts = {Concept("g", str(i)): np.flatnonzero(rng.random(400) < 0.05) for i in range(20)}
    halves = [
        Half(torch.rand(400, 300, generator=generator), concepts),
        Half(torch.rand(400, 300, generator=generator), concepts),
    ]
    found = recover(lambda rows: rows, *halves)
    chosen = np.mean([choice.f1 for choice, _ in found.values()])
    judged = np.mean([f1 for _, f1 in found.values()])
    assert chosen > 0.2
    assert judged < 0.12


def test_probes_find_what_lies_along_no_axis() -> None:
    import torch

    from whence.tiny.sae.recovery import Half, axes, probes, recover

    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(12, generator=generator)
    halves = []
    for _ in range(2):
        truth = torch.rand(600, generator=generator) < 0.1
        noise = torch.randn(600, 12, generator=generator)
        x = noise + 1.4 * truth[:, None] * direction
        halves.append(Half(x, {Concept("g", "n"): truth.nonzero().flatten().numpy()}))
    (by_probe,) = recover(probes(halves[0]), *halves).values()
    (by_axis,) = recover(axes(halves[0]), *halves).values()
    assert by_probe[1] > 0.9
    assert by_axis[1] < by_probe[1] - 0.15


def test_fit_by_hand() -> None:
    import torch
    from sae_lens import StandardSAE, StandardSAEConfig

    from whence.tiny.sae.recovery import fit_of

    sae = StandardSAE(StandardSAEConfig(d_in=2, d_sae=3, apply_b_dec_to_input=False))
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
        sae.W_dec.copy_(torch.tensor([[1.0, 0], [0, 1.0], [0, 0]]))
        sae.b_enc.copy_(torch.tensor([0.0, 0.0, -1.0]))
    x = torch.tensor([[1.0, 1.0], [3.0, -1.0], [2.0, 0.0]])
    # rebuilt but for the −1: missed 1 of a spread of (1 + 1 + 0) + (1 + 1 + 0) = 4
    fit = fit_of(sae, x)
    assert fit.explained_variance == pytest.approx(0.75)
    assert fit.l0 == pytest.approx(4 / 3)
    assert fit.dead == 1
