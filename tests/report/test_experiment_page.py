"""The experiment's report: what it says of what came out, for friendly and hostile inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.report.experiment_page import write_experiment_report
from whence.report.verdict_sections import standing

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def written(study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment_report(
        tmp_path_factory.mktemp("report") / "report.html", **study.arguments()
    )


@pytest.fixture(scope="module")
def page(written: Path, read_page: Any) -> Any:
    return read_page(written.read_text("utf-8"))


@pytest.fixture
def report(tmp_path: Path, study: Any, read_page: Any) -> Callable[..., Any]:
    """Writes the report with changed arguments and reads it back."""

    def write_and_read(**changes: Any) -> Any:
        output = write_experiment_report(tmp_path / "report.html", **study.arguments(**changes))
        return read_page(output.read_text("utf-8"))

    return write_and_read


def test_the_verdict_comes_first(page: Any, written: Path):
    assert page.unbalanced == []
    assert page.all("h1")[0].text == "top beats matched_random on accuracy by 0.12"
    assert page.all("p", **{"class": "badge for"})[0].text == "supported"
    head = page.all("header")[0].text
    for said in ("+12.4", "points", "[+6.1, +18.9]", "3 seeds × 30 items", "5.1"):
        assert said in head
    html = written.read_text("utf-8")
    assert html.index("<h1>") < html.index("<svg")


def test_sections_come_in_the_order_of_a_readers_questions(page: Any):
    titles = [h.text for h in page.all("h2")]
    assert titles == ["Comparisons", "Arms", "Ranking", "Training", "Controls", "Run it again"]
    assert [a.attributes["href"][1:] for nav in page.all("nav") for a in page.all("a")][1:] == [
        s.attributes["id"] for s in page.all("section")
    ]


def test_every_comparison_is_in_the_table_with_all_that_verdict_json_says(page: Any):
    head, *rows = page.table_after("All comparisons")
    assert len(head) == 12
    assert rows[0] == [
        "top", "matched_random", "accuracy", "+12.4", "[+6.1, +18.9]", "< 0.001", "0.002",
        "3", "30", "5.1", "4", "better",
    ]  # fmt: skip
    assert rows[1][-1] == "better"  # a lower loss is better
    assert rows[2][-1] == "not settled"


def test_arms_and_outcomes_are_what_counting_the_items_gives(page: Any, study: Any):
    items = study.items
    _, *rows = page.table_after("Means over seeds")
    for arm, seeds, accuracy, loss in rows:
        own = items[items["arm"] == arm]
        assert accuracy.replace("\u202f", " ") == f"{100 * own['correct'].mean():.1f} %"
        assert loss == f"{own['loss'].mean():.3f}"
        assert seeds == ("once" if arm == "base" else "3")
    right = {(row.arm, row.seed, row.row_id): row.correct for row in items.itertuples(index=False)}
    counts = {
        (a, c): sum(
            right["top", s, f"e{i}"] is a and right["matched_random", s, f"e{i}"] is c
            for s in range(3)
            for i in range(30)
        )
        for a in (True, False)
        for c in (True, False)
    }
    _, first, second = page.table_after("Where the difference comes from: 90 pairs")
    assert first[1:] == [str(counts[True, True]), str(counts[True, False])]
    assert second[1:] == [str(counts[False, True]), str(counts[False, False])]


def test_composition_of_the_top_is_counted(page: Any, study: Any):
    ranked = study.ranking.sort_values("rank")
    head, *rows = page.table_after("What the ranking is made of")
    assert head == ["rows", "useful", "other", "wrong"]
    assert [row[0] for row in rows] == ["top 20", "top 50", "whole pool (80)"]
    share = 100 * (ranked.head(20)["kind"] == "useful").mean()
    assert rows[0][1] == f"{share:.0f} %"
    assert rows[2][1:] == ["25 %", "50 %", "25 %"]
    taken = page.table_after("What each arm trained on")
    assert taken[1:] == [["top", "75 %", "20 %", "5 %"], ["oracle", "100 %", "0 %", "0 %"]]


def test_the_first_and_last_rows_are_shown_with_text_and_kind(page: Any, study: Any):
    ranked = study.ranking.sort_values("rank")
    best, worst = page.all("details", **{"class": "rows"})
    for block, rows in ((best, ranked.head(8)), (worst, ranked.tail(8))):
        for row in rows.itertuples():
            assert row.prompt in block.text
            assert row.completion in block.text
            assert row.row_id in block.text
    assert "open" in best.attributes


def test_controls_and_rerun_say_what_they_were_given(page: Any):
    controls = page.all("section", id="controls")[0].text
    assert "agree with the chosen ones on category and on length in 5 bins" in " ".join(
        controls.split()
    )
    assert page.table_after("Training tokens per arm")[2] == ["matched_random", "1,015", "+1.5 %"]
    assert page.table_after("What the score goes with")[2] == ["loss", "+0.32"]
    assert page.table_after("Trivial rankings")[1] == ["length", "0.250"]
    rerun = page.all("section", id="run-it-again")[0].text
    for said in (
        "whence data experiment config.yaml",
        "[0, 1, 2]",
        "1 min 15 s",
        "3.11",
        '"k": 20',
    ):
        assert said in rerun


def test_the_page_stands_alone_and_can_be_read_aloud(page: Any, written: Path):
    assert written.stat().st_size < 1_000_000
    for element in page.elements:
        for name in ("src", "srcset", "xlink:href", "action", "data", "style"):
            assert name not in element.attributes
        assert not any(name.startswith("on") for name in element.attributes)
        assert element.attributes.get("href", "#").startswith("#")
    css = page.all("style")[0].text
    assert "url(" not in css
    assert "@import" not in css
    assert "fetch" not in page.all("script")[0].text
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    drawings = page.all("svg")
    assert len(drawings) == 7
    assert all(len(d.attributes["aria-label"]) > 40 for d in drawings)
    assert all("scope" in th.attributes for th in page.all("th"))
    assert page.all("html")[0].attributes["lang"] == "en"


def test_text_from_models_and_data_cannot_become_markup(report: Any, study: Any, comparison: Any):
    ranking = study.ranking.assign(
        prompt=HOSTILE, completion=HOSTILE, row_id=HOSTILE, kind=HOSTILE + study.ranking["kind"]
    )
    hostile = [comparison(**dict.fromkeys(("control", "metric", "sentence"), HOSTILE))]
    page = report(
        title=HOSTILE,
        question=HOSTILE,
        verdict={"comparisons": hostile, "arms": {HOSTILE: {HOSTILE: 0.5}, "top": {"loss": 1.0}}},
        ranking=ranking,
        planted={"useful": HOSTILE + "useful", HOSTILE: HOSTILE},
        curves=study.curves.replace({"arm": {"matched_random": HOSTILE}}),
        controls={"matched_on": [HOSTILE], HOSTILE: [{HOSTILE: HOSTILE}]},
        rerun={"commands": [HOSTILE], "config": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}},
    )
    assert page.unbalanced == []
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not [e for e in page.elements if "onerror" in e.attributes]
    assert HOSTILE in page.all("h1")[0].text


def test_long_texts_lose_their_middle_and_say_so(report: Any, study: Any):
    long = "start " + "x" * 50_000 + " end"
    page = report(ranking=study.ranking.assign(prompt=long))
    text = page.all("details", **{"class": "rows"})[0].text
    assert "[…49,010 characters…]" in text
    assert "start" in text
    assert "end" in text


def test_the_same_experiment_gives_the_same_bytes(tmp_path: Path, written: Path, study: Any):
    again = write_experiment_report(tmp_path / "again.html", **study.arguments())
    assert again.read_bytes() == written.read_bytes()


def test_without_a_ranking_curves_or_planted_truth_the_rest_is_still_told(report: Any, study: Any):
    page = report(ranking=None, curves=None, planted=None, controls={}, rerun={})
    titles = [h.text for h in page.all("h2")]
    assert titles == ["Comparisons", "Arms"]
    assert report(controls={"seed": 1}, rerun={"seed": 2}).unbalanced == []
    unplanted = report(ranking=study.ranking.drop(columns="kind"), planted=None)
    assert not unplanted.all("p", **{"class": "filter"})
    assert "Histogram of attribution scores" in unplanted.all("svg")[4].attributes["aria-label"]


def test_an_experiment_without_comparisons_has_no_verdict(report: Any):
    page = report(
        verdict={"comparisons": [], "arms": {"top": {"correct": 0.6}}, "planted": None},
    )
    assert page.all("h1")[0].text == "Taboo games"
    assert "Comparisons" not in [h.text for h in page.all("h2")]


@pytest.mark.parametrize(
    ("changes", "badge"),
    [
        ({}, "supported"),
        ({"seeds": 1}, "one seed: not a finding"),
        ({"seeds": 0}, "supported"),
        ({"interval": None, "p": None, "q": None}, "no interval: not settled"),
        ({"interval": [-0.01, 0.2]}, "not settled"),
        ({"q": 0.2}, "not settled"),
        ({"q": None, "p": 0.2}, "not settled"),
        ({"effect": -0.1, "interval": [-0.2, -0.05]}, "the opposite is supported"),
        ({"metric": "loss", "effect": -0.1, "interval": [-0.2, -0.05]}, "supported"),
        ({"metric": "loss"}, "the opposite is supported"),
    ],
)
def test_the_badge_claims_no_more_than_the_numbers(
    changes: dict[str, Any], badge: str, comparison: Any
):
    assert standing(comparison(**changes)).badge == badge
