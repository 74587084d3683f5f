"""Sentences are found where a regular expression finds them, in order, in linear time."""

from __future__ import annotations

import random
import re
import time

import pytest

from whence.anchors.spans.locate import GRAM, Span, locate


def by_regex(text: str, sentences: list[str]) -> list[Span | None]:
    """First matches in order, as the earlier study has them (escaped words, \\s+ between); then,
    from the last one on, the last place before the next one that is no earlier than the first."""
    patterns = [re.compile(r"\s+".join(map(re.escape, s.split())) or r"(?!)") for s in sentences]
    spans: list[Span | None] = []
    cursor = 0
    for pattern in patterns:
        match = pattern.search(text, cursor)
        spans.append(None if match is None else Span(*match.span()))
        cursor = cursor if match is None else match.end()
    behind: Span | None = None
    for index in range(len(spans) - 1, -1, -1):
        span = spans[index]
        if span is None:
            continue
        if behind is not None:
            places = [patterns[index].match(text, at) for at in range(span.start, behind.start)]
            spans[index] = [Span(*m.span()) for m in places if m and m.end() <= behind.start][-1]
        behind = spans[index]
    return spans


def test_white_space_of_any_kind_and_repeats() -> None:
    text = "  Wait.\n\nSo 1 +\t1\u00a0= 2.  Wait. Then stop.\r\n"
    sentences = ["Wait.", " So 1 + 1 = 2. ", "Wait.", "Then\nstop."]
    spans = locate(text, sentences)
    assert [text[a:b] for a, b in filter(None, spans)] == [
        "Wait.", "So 1 +\t1\u00a0= 2.", "Wait.", "Then stop.",
    ]  # fmt: skip
    assert spans[0] == Span(2, 7)
    assert spans[2] is not None
    assert spans[2].start > spans[0].end


def test_a_sentence_that_fails_leaves_the_others_where_they_are() -> None:
    assert locate("One. Two. Three.", ["One.", "Zwei.", "Two.", "One.", "", " ", "Three."]) == [
        Span(0, 4), None, Span(5, 9), None, None, None, Span(10, 16),
    ]  # fmt: skip
    assert locate("", ["One."]) == [None]
    assert locate("One.", []) == []
    # a prompt that says the same comes before the reasoning
    assert locate("One. So: One.", ["One."], start=4) == [Span(9, 13)]


def test_a_sentence_of_the_question_is_found_in_the_reasoning() -> None:
    question = "Problem: The fox has 2 shells. The owl has 3. How many?"
    text = f"{question}\nReasoning: The fox has 2 shells. The owl has 3. So 5. The owl has 3."
    spans = locate(text, ["The fox has 2 shells.", "Nowhere.", "The owl has 3.", "So 5."])
    assert spans[0] == Span(len(question) + 12, len(question) + 33)
    assert spans[1] is None
    assert [text[a:b] for a, b in filter(None, spans)][1:] == ["The owl has 3.", "So 5."]
    assert spans[2] is not None
    assert spans[2].start > len(question)


def test_characters_that_fold_or_join_keep_their_places() -> None:
    text = "Straße İ 👩‍👩‍👧 e\u0301tude. 数学，第二句。"
    spans = locate(text, ["Straße İ", "👩‍👩‍👧 e\u0301tude.", "第二句。"])
    assert [text[a:b] for a, b in filter(None, spans)] == [
        "Straße İ", "👩‍👩‍👧 e\u0301tude.", "第二句。",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_as_a_regular_expression_does(seed: int) -> None:
    """Few words, so that sentences repeat and overlap; some are made up, some out of order."""
    rng = random.Random(seed)

    def words(count: int) -> list[str]:
        return [rng.choice(["a", "ab", "b.", "aba", "So", "(1)", "*"]) for _ in range(count)]

    sentences = [" ".join(words(rng.randint(1, 9))) for _ in range(60)]
    blanks = [" ", "\n", "  \n\n", "\t"]
    text = rng.choice(blanks).join(
        re.sub(" ", lambda _: rng.choice(blanks), sentence) for sentence in sentences
    )
    asked = [s if rng.random() < 0.7 else " ".join(words(rng.randint(3, 9))) for s in sentences]
    if seed % 2:
        rng.shuffle(asked)
    assert locate(text, asked) == by_regex(text, asked)


def test_given_up_at_sight_only_where_it_does_not_follow() -> None:
    """Behind many failures the shortcut is in use; what is there is still found."""
    text = " ".join(f"This is sentence number {n} of all." for n in range(100))
    asked = [f"Nowhere stands sentence {n}." for n in range(20)]
    asked += ["This is sentence number 7 of all.", "This is sentence number 3 of all."]
    asked += ["This is sentence number 98 of all.", "of all."]
    assert len(asked[-1]) < GRAM
    assert locate(text, asked) == by_regex(text, asked)
    assert [span is not None for span in locate(text, asked)[-4:]] == [True, False, True, True]


def seconds(count: int, wrong: int) -> float:
    sentences = [f"Sentence {n} says that {n} + {n} is {2 * n}." for n in range(count)]
    text = "\n".join(sentences)
    asked = [s if n % 10 >= wrong else s.replace("says", "said") for n, s in enumerate(sentences)]
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        found = locate(text, asked)
        best = min(best, time.process_time() - started)
    assert sum(span is None for span in found) == count * wrong // 10
    return best


@pytest.mark.parametrize("wrong", [0, 5])
def test_twice_as_many_sentences_take_about_twice_as_long(wrong: int) -> None:
    """20,000 of them, and with every second one nowhere to be found."""
    half, whole = seconds(10_000, wrong), seconds(20_000, wrong)
    assert whole / half < 3
    assert whole < 5
