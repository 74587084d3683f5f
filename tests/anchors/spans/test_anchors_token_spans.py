"""Token spans: the definition token by token, what decodes to a sentence, and what BOS does."""

from __future__ import annotations

import random
from typing import Any

import pytest
import zoo

from whence.anchors.spans.locate import Span
from whence.anchors.spans.source import text_hash
from whence.anchors.spans.tokens import agrees, front_ids, place
from whence.anchors.traces import Trace
from whence.errors import BadInput

SENTENCES = ("Zwei  ist 2.", "So: x² = 4 🙂.", "Wait.", "Also 2+2=4.", "Wait.", "数学。")
TEXT = "Problem: 1+1?\n<think>\nZwei ist\n2. So: x² = 4 🙂. Wait.Also 2+2=4.\n\nWait. 数学。"


def tokenizer(bos: bool) -> Any:
    return zoo.make_tokenizer([TEXT, "Wait. So"], 300, bos)


def by_hand(offsets: list[tuple[int, int]], c0: int, c1: int) -> Span | None:
    """The definition, read aloud: first token with end > c0, first later one with start ≥ c1."""
    first = next((at for at, (_, end) in enumerate(offsets) if end > c0), None)
    if first is None:
        return None
    stop = next((i for i in range(first + 1, len(offsets)) if offsets[i][0] >= c1), len(offsets))
    return Span(first, stop)


@pytest.mark.parametrize("bos", [False, True])
def test_spans_are_those_of_the_definition(bos: bool) -> None:
    tok = tokenizer(bos)
    placed = place(tok, Trace("1", TEXT, SENTENCES), "default")
    plain = tok(TEXT, add_special_tokens=False, return_offsets_mapping=True)
    assert placed.front == int(bos)
    assert placed.ids == tuple(tok(TEXT)["input_ids"])
    for span, tokens in zip(placed.characters, placed.tokens, strict=True):
        assert span is not None
        assert tokens is not None
        expected = by_hand(plain["offset_mapping"], *span)
        assert expected is not None
        assert tokens == Span(expected.start + bos, expected.end + bos)
    assert placed.failures(tok, decode=True) == []


def test_random_texts_by_the_definition() -> None:
    tok, rng = tokenizer(False), random.Random(0)
    for _ in range(50):
        words = [rng.choice(["Wait.", "x²", "=", "🙂", "So", "数学", "a"]) for _ in range(60)]
        cuts = sorted(rng.sample(range(1, 60), 9))
        pieces = [words[a:b] for a, b in zip([0, *cuts], [*cuts, 60], strict=True)]
        sentences = tuple(" ".join(piece) for piece in pieces)
        text = rng.choice(["", " ", "\n"]).join(sentences)
        placed = place(tok, Trace("1", text, sentences), "never")
        offsets = tok(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        assert list(placed.tokens) == [
            by_hand(offsets, *span) for span in placed.characters if span
        ]
        assert placed.failures(tok, decode=True) == []


def test_bos_is_put_in_front_once() -> None:
    plain, with_bos = tokenizer(False), tokenizer(True)
    assert front_ids(plain, "default") == []
    assert front_ids(plain, "always") == front_ids(with_bos, "default") == [1]
    assert front_ids(with_bos, "never") == []
    own = place(with_bos, Trace("1", f"<bos>{TEXT}", SENTENCES), "default")
    assert own.front == 0
    assert own.ids[:2].count(1) == 1
    plain.bos_token = None
    with pytest.raises(BadInput, match="no BOS"):
        front_ids(plain, "always")


def test_a_tokenizer_that_appends_as_well() -> None:
    from tokenizers import processors

    tok = tokenizer(False)
    tok.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    assert front_ids(tok, "default") == [1]


def test_failures_say_why() -> None:
    tok = tokenizer(False)
    placed = place(tok, Trace("7", TEXT, ("Nowhere.", "Wait.", "Zwei ist 2.")), "default")
    failures = placed.failures(tok, decode=False)
    assert [(f.problem_id, f.chunk_idx, f.expected) for f in failures] == [
        ("7", 0, "Nowhere."), ("7", 2, "Zwei ist 2."),
    ]  # fmt: skip
    assert all("does not occur" in f.cause for f in failures)


def test_a_wrong_span_is_seen_by_decoding_it() -> None:
    from dataclasses import replace

    tok = tokenizer(False)
    placed = place(tok, Trace("7", TEXT, ("Wait.", "Also 2+2=4.")), "default")
    first, second = placed.tokens
    swapped = replace(placed, tokens=(second, first))
    assert [f.cause for f in swapped.failures(tok, decode=True)] == [
        "its tokens decode to something else"
    ] * 2
    assert swapped.failures(tok, decode=False) == []


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(BadInput, match=r"Slow is a slow tokenizer.*tokenizer\.json"):
        place(Slow(), Trace("1", "a", ("a",)), "default")  # type: ignore[arg-type]


def test_what_agrees() -> None:
    assert agrees("So  it IS.", " so it\nis. Wait")
    assert agrees("So it is.", "it is.")
    assert not agrees("So it is.", "So it was.")
    assert not agrees("So", "  ")


def test_no_sentence_lies_before_the_reasoning() -> None:
    """And where it begins is part of what a text is, since spans depend on it."""
    tok = tokenizer(False)
    text = "Wait. Problem? Wait. So."
    from_start = place(tok, Trace("1", text, ("Wait.",)), "never")
    behind = place(tok, Trace("1", text, ("Wait.",), start=14), "never")
    assert from_start.characters == (Span(0, 5),)
    assert behind.characters == (Span(15, 20),)
    assert tok.decode(behind.ids[slice(*(behind.tokens[0] or ()))]).strip() == "Wait."
    assert text_hash(from_start.trace) != text_hash(behind.trace)
