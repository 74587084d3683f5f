"""`heads corpora check` counts what was broken on purpose, and says where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.errors import BadInput
from whence.heads.corpora.check import CheckConfig, check

Write = Callable[..., Path]


def row(n: int, **keys: Any) -> dict[str, Any]:
    answers = (" yes", " no") if n % 2 else (" no", " yes")
    texts = {"clean": f"Is {n} odd?", "corrupt": f"Is {n + 1} odd?"}
    return {**texts, "target": answers[0], "foil": answers[1], **keys}


def put_split(path: Path, **parts: list[int]) -> Path:
    file = path.parent.parent / "splits" / f"{path.stem}.split.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"train": [], "val": [], "test": [], **parts}))
    return file


def test_a_sound_corpus(corpus: Write) -> None:
    result = check(CheckConfig(corpus=corpus([row(n) for n in range(10)]), strict=True))
    assert result.problems == 0
    finding = result.finding()
    assert not finding.failed
    assert finding.headline == (
        "probe.jsonl: 10 rows, 10 distinct clean prompts, no problems (no split file was there to "
        "check; tokens are counted with --tokenizer)."
    )
    assert all(not cells[0] for cells in finding.rows)


def test_every_fault_with_its_lines(corpus: Write, tmp_path: Path) -> None:
    broken = [
        *[row(n) for n in range(8)],  # lines 2 to 9, after a blank one
        row(3),  # 10: again
        row(20, foil=" no"),  # 11: target = foil
        row(21, clean="Yes, 21 is odd:"),  # 12: answer in the clean prompt
        row(22, corrupt="Is 23 odd? Yes it is, so"),  # 13: answer in the corrupt prompt
    ]
    path = corpus(["", *broken])
    put_split(path, train=[3, 0], test=[8, 1])
    output = tmp_path / "deep" / "check.json"
    result = check(CheckConfig(corpus=path, output_json=output, strict=True))
    report = json.loads(output.read_text())
    lines = {name: found["lines"] for name, found in report["checks"].items() if found["rows"]}
    assert lines == {
        "duplicate_rows": [10],
        "repeated_prompts": [10],
        "target_is_foil": [11],
        "answer_in_clean": [12],
        "answer_in_corrupt": [13],
        "in_train_and_test": [10],
        # 1 is the corrupt prompt of 0; 2, that of 1, is in no part
        "corrupt_in_other_part": [2],
    }
    # a note is no problem
    assert report["problems"] == 6
    assert report["rows"] == 12
    assert report["prompts"] == 11
    assert report["split"] == {"train": 2, "val": 0, "test": 2}
    assert report["answers"]["counts"] == {" no": 6, " yes": 6}
    assert report["tokens"] is None
    finding = result.finding()
    assert finding.failed
    told = {cells[1]: cells for cells in finding.rows}
    assert told["target = foil"][0] == "problem"
    assert told["target = foil"][2:] == ("1", "8%", "line 11: ' no' / ' no'")
    assert told["answer stands in the corrupt prompt"][4].startswith('line 13: "Is 23 odd? Yes')


def test_a_report_fails_only_where_that_was_asked(corpus: Write) -> None:
    path = corpus([row(0), row(0)])
    assert not check(CheckConfig(corpus=path)).finding().failed
    assert check(CheckConfig(corpus=path, strict=True)).finding().failed


def test_one_answer_is_a_problem(corpus: Write) -> None:
    result = check(CheckConfig(corpus=corpus([row(n) for n in (1, 3, 5)])))
    assert result.problems == 1
    assert ("problem", "distinct answer") in [cells[:2] for cells in result.finding().rows]


def test_tokens_of_the_tiny_model(corpus: Write) -> None:
    rows = [
        {"clean": "It is", "corrupt": "It is not", "target": " red", "foil": " blue"},
        {"clean": "We see", "corrupt": "We hear", "target": " red fish", "foil": " blue"},
        {"clean": "They see", "corrupt": "We see", "target": " red", "foil": " red fish"},
    ]
    report = check(CheckConfig(corpus=corpus(rows), tokenizer="tiny")).report()
    lines = {name: found["lines"] for name, found in report["checks"].items()}
    assert lines["target_tokens"] == [2]
    assert lines["foil_tokens"] == [3]
    assert lines["begin_alike"] == [3]
    assert 1 in lines["unequal_length"]
    assert report["tokens"]["target"]["max"] == 2
    assert report["tokens"]["foil"]["mean"] == pytest.approx(4 / 3)


def test_a_split_that_does_not_fit(corpus: Write) -> None:
    """Beside the corpus it is a problem to report; one that was named is refused."""
    path = corpus([row(n) for n in range(4)])
    file = put_split(path, test=[4])
    result = check(CheckConfig(corpus=path, strict=True))
    assert result.misfit is not None
    assert "the corpus has rows 0 to 3" in result.misfit
    assert result.finding().failed
    with pytest.raises(BadInput, match="the corpus has rows 0 to 3"):
        check(CheckConfig(corpus=path, split=file))


def test_the_report_is_the_same_bytes_again(corpus: Write, tmp_path: Path) -> None:
    path = corpus([row(n % 7) for n in range(20)])
    for name in ("a.json", "b.json"):
        check(CheckConfig(corpus=path, output_json=tmp_path / name))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("facts_single_token_v1", {"repeated_prompts": 178, "target_is_foil": 3}),
        ("counterfactual_single_token_v1", {"repeated_prompts": 70, "target_is_foil": 2}),
        ("logical_single_token_v1", {}),
        ("negation_single_token_v1_balanced", {}),
    ],
)
def test_the_real_corpora(shared_data: Path, name: str, expected: dict[str, int]) -> None:
    """Counted beside the code under test, with sets."""
    path = shared_data / "probes" / "corpora" / f"{name}.jsonl"
    report = check(CheckConfig(corpus=path)).report()
    checks = {key: found["rows"] for key, found in report["checks"].items()}
    for key in ("duplicate_rows", "repeated_prompts", "target_is_foil"):
        assert checks[key] == expected.get(key, 0)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    split = json.loads((path.parent.parent / "splits" / f"{name}.split.json").read_text())
    train = {rows[at]["clean"] for at in split["train"]}
    shared = sum(rows[at]["clean"] in train for at in split["test"])
    assert checks["in_train_and_test"] == shared
    assert report["answers"]["distinct"] == len({r["target"] for r in rows})
