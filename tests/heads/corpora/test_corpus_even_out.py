"""Answers are made equally frequent by taking rows away or mirroring them."""

from __future__ import annotations

from collections import Counter

import pytest

from whence.errors import BadInput
from whence.heads.corpora.even_out import even_out
from whence.heads.corpora.rows import Row


def rows_of(answers: str, *, prompts: int = 1000) -> list[Row]:
    """A row for each letter; its foil is the next letter."""
    return [
        Row(at, f"p{at % prompts}", f"c{at}", letter, chr(ord(letter) + 1))
        for at, letter in enumerate(answers)
    ]


def test_every_answer_as_often_as_the_rarest() -> None:
    made = even_out(rows_of("aaaaaaabbbcccc"))
    assert made.by == "answer"
    assert Counter(row.target for row in made.rows) == {"a": 3, "b": 3, "c": 3}
    assert len(made.dropped["in a class that is too common"]) == 5
    assert [row.index for row in made.rows] == sorted(row.index for row in made.rows)


def test_rare_answers_need_not_cut_the_others() -> None:
    made = even_out(rows_of("aaaaaaabbbbbbc"), at_least=2)
    assert Counter(row.target for row in made.rows) == {"a": 6, "b": 6}
    assert made.dropped["in a class that is too rare"] == [13]


def test_distinct_prompts_stay() -> None:
    # answer a: 4 prompts with 5 rows each; b: 4 rows. One row of each prompt of a must stay.
    rows = [Row(at, f"p{at % 4}", f"c{at}", "a", "b") for at in range(20)]
    rows += [Row(20 + at, f"q{at}", f"d{at}", "b", "a") for at in range(4)]
    for seed in range(10):
        kept = even_out(rows, "answer", seed=seed).rows
        assert {row.clean for row in kept} == {row.clean for row in rows}


def test_directions() -> None:
    rows = [
        Row(0, "p0", "c0", "a", "b"),
        Row(1, "p1", "c1", "a", "b"),
        Row(2, "p2", "c2", "b", "a"),
    ]
    kept = even_out(rows, "direction").rows
    assert Counter((row.target, row.foil) for row in kept) == {("a", "b"): 1, ("b", "a"): 1}


def test_truth_values() -> None:
    cells = [("a", True)] * 5 + [("b", True)] * 2 + [("a", False)] * 3 + [("b", False)] * 4
    rows = [Row(at, f"p{at}", f"c{at}", t, "x", {"truth": v}) for at, (t, v) in enumerate(cells)]
    kept = even_out(rows, "truth").rows
    assert set(Counter((row.target, row.extra["truth"]) for row in kept).values()) == {2}
    with pytest.raises(BadInput, match='row 0: "holds" is None, true or false was expected'):
        even_out(rows, "truth", truth_field="holds")


def test_duplicates_and_equal_answers_go_first() -> None:
    row = Row(0, "p", "c", "a", "b")
    rows = [
        row,
        Row(1, "p", "c", "a", "b"),
        Row(2, "q", "d", "b", "b "),
        Row(3, "r", "e", "b", "a"),
    ]
    made = even_out(rows)
    assert made.dropped["given before"] == [1]
    assert made.dropped["target = foil"] == [2]
    assert made.rows == [row, rows[3]]


def test_one_answer_is_balanced_by_mirrors() -> None:
    rows = [Row(at, f"p{at}", f"c{at}", " true", " false", {"id": at}) for at in range(3)]
    made = even_out(rows)
    assert (made.by, made.added) == ("mirror", 3)
    assert made.rows[:2] == [
        rows[0],
        Row(0, "c0", "p0", " false", " true", {"mirrored": True}),
    ]
    assert Counter(row.target for row in made.rows) == {" true": 3, " false": 3}


def test_a_mirror_that_is_a_row_already_is_not_added() -> None:
    rows = [Row(0, "p", "c", "a", "b"), Row(1, "c", "p", "b", "a"), Row(2, "q", "d", "a", "b")]
    made = even_out(rows, "mirror")
    assert made.added == 1
    assert [row.clean for row in made.rows] == ["p", "c", "q", "d"]


def test_no_mirror_where_the_corpus_contradicts_the_foil() -> None:
    """The corrupt prompt of the first row is answered otherwise in the second."""
    rows = [Row(0, "p", "c", "a", "b"), Row(1, "c", "x", "a", "b"), Row(2, "q", "d", "a", "b")]
    made = even_out(rows)
    assert made.by == "mirror"
    assert made.dropped["prompt has another answer elsewhere"] == [0, 1]
    assert [row.clean for row in made.rows] == ["q", "d"]


def test_no_mirror_of_a_pair_of_equal_prompts() -> None:
    made = even_out([Row(0, "p", "p", "a", "b"), Row(1, "q", "d", "a", "b")])
    assert made.dropped["clean = corrupt"] == [0]


def test_mirrors_need_corrupt_prompts() -> None:
    with pytest.raises(BadInput, match="row 0: has no corrupt prompt"):
        even_out([Row(0, "p", None, "a", "b")])
