"""The grammar of --source."""

from __future__ import annotations

import pytest

from whence.data.sources.mix import Given, parse_source, parse_sources
from whence.errors import BadInput


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("a=b.jsonl", Given("a", "b.jsonl")),
        ("a=/x y/b=c.jsonl:cap=5", Given("a", "/x y/b=c.jsonl", cap=5)),
        ("a.b-1=C:\\rows.jsonl:use=train", Given("a.b-1", "C:\\rows.jsonl", use="train")),
        (
            "real=o/n:preset=playpen:config=interactions:revision=main:use=eval",
            Given(
                "real",
                "o/n",
                use="eval",
                config="interactions",
                revision="main",
                preset="playpen",
            ),
        ),
        (
            "m=g:prompt=question:completion=the answer:messages=c",
            Given("m", "g", prompt="question", completion="the answer", messages="c"),
        ),
    ],
)
def test_what_is_understood(text: str, given: Given) -> None:
    assert parse_source(text) == given


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("b.jsonl", r"--source b\.jsonl: expected NAME=PLACE"),
        ("=b.jsonl", "expected NAME=PLACE"),
        ("a=", "expected NAME=PLACE"),
        ("a=b:cpa=5", 'no option "cpa"; did you mean "cap"\\? there are use, cap'),
        ("a=b:cap=0", 'cap is "0", expected a number of rows from 1'),
        ("a=b:cap=many", 'cap is "many"'),
        ("a=b:use=test", 'use is "test", expected train, eval or both'),
        ("a=b:preset=smoltalk", 'preset is "smoltalk", expected playpen'),
        ("a=b:cap=1:cap=2", "cap= is given twice"),
        ("a=b:config=", "expected a name"),
    ],
)
def test_what_is_not(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as error:
        parse_source(text)
    assert "\n" not in str(error.value)


def test_several() -> None:
    assert [one.name for one in parse_sources(["a=x", "b=x:use=eval"])] == ["a", "b"]
    with pytest.raises(BadInput, match='two sources are called "a"'):
        parse_sources(["a=x", "a=y"])
    with pytest.raises(BadInput, match="every source has use=eval"):
        parse_sources(["a=x:use=eval", "b=y:use=eval"])
    assert parse_sources([]) == []
