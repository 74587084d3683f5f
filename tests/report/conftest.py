"""What the tests of reports share: reading a page back, and a small experiment to report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

PLANTED = {
    "useful": ["useful"],
    "composition": {"top": {"useful": 0.75, "other": 0.2, "wrong": 0.05}, "oracle": {"useful": 1}},
    "note": "withheld from every method",
}
VOID = {"meta", "br", "img", "link", "input"}


@dataclass
class Element:
    """One element of a page with its own attributes and all the text inside it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


class Page(HTMLParser):
    """All elements of a page, and whether every tag that was opened was closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.unbalanced: list[str] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1].tag != tag:
            self.unbalanced.append(tag)
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        return [
            e
            for e in self.elements
            if e.tag == tag and all(e.attributes.get(k) == v for k, v in attributes.items())
        ]

    def table_after(self, caption: str) -> list[list[str]]:
        """Rows of the table whose caption begins so, cells as text."""
        for element in self.all("table"):
            if element.text.strip().startswith(caption):
                start = self.elements.index(element)
                return _rows(self.elements[start + 1 :])
        raise AssertionError(f"no table with caption {caption!r}")


def _rows(elements: list[Element]) -> list[list[str]]:
    rows: list[list[str]] = []
    for element in elements:
        if element.tag == "table":
            break
        if element.tag == "tr":
            rows.append([])
        elif element.tag in ("td", "th"):
            rows[-1].append(" ".join(element.text.split()))
    return rows


@dataclass(frozen=True)
class Experiment:
    """Arguments of `write_experiment_report` for a small made-up experiment."""

    items: pd.DataFrame
    ranking: pd.DataFrame
    curves: pd.DataFrame
    comparisons: list[dict[str, Any]]
    planted: dict[str, Any] = field(default_factory=lambda: dict(PLANTED))

    def arguments(self, **changes: Any) -> dict[str, Any]:
        means = self.items.groupby("arm", sort=False)[["correct", "loss"]].mean()
        arms = {
            arm: {"correct": float(row.correct), "loss": float(row.loss)}
            for arm, row in means.iterrows()
        }
        return {
            "title": "Taboo games",
            "question": "Do the chosen games teach more?",
            "verdict": {"comparisons": self.comparisons, "arms": arms, "planted": self.planted},
            "items": self.items,
            "ranking": self.ranking,
            "planted": self.planted,
            "curves": self.curves,
            "controls": {
                "matched_on": ["category"],
                "length_bins": 5,
                "overlap_allowed": False,
                "token_budgets": {"top": 1000.0, "matched_random": 1015.0},
                "correlations": {"length": -0.1, "loss": 0.32},
                "baselines": [{"ranking": "length", "precision_at_k": 0.25}],
                "strata": [{"stratum": "a", "chosen": 3, "available": 9, "drawn": 3}],
            },
            "rerun": {
                "commands": ["whence data experiment config.yaml"],
                "config": {"k": 20, "note": "</code><script>alert('config')</script>"},
                "seeds": [0, 1, 2],
                "model": "tiny",
                "hardware": "2 cores",
                "seconds": 75.0,
                "versions": {"python": "3.11"},
            },
            "top_k": 20,
        } | changes


def a_comparison(**changes: Any) -> dict[str, Any]:
    return {
        "arm": "top",
        "control": "matched_random",
        "metric": "correct",
        "effect": 0.124,
        "interval": [0.061, 0.189],
        "p": 0.0004,
        "q": 0.002,
        "seeds": 3,
        "items": 30,
        "minimum_detectable_effect": 0.051,
        "seeds_needed": 4,
        "sentence": "top beats matched_random on accuracy by 0.12",
    } | changes


def an_experiment(seed: int = 0) -> Experiment:
    """Three arms, three seeds, 30 items, a pool of 80 rows of which 20 are useful."""
    rng = np.random.default_rng(seed)
    items = pd.DataFrame(
        [
            {"arm": arm, "seed": s, "row_id": f"e{i}", "correct": bool(rng.random() < right),
             "loss": float(rng.gamma(2.0, 0.5))}
            for arm, right, seeds in (("base", 0.2, [None]), ("top", 0.6, range(3)),
                                      ("matched_random", 0.4, range(3)))
            for s in seeds
            for i in range(30)
        ]
    )  # fmt: skip
    kinds = np.array(["useful"] * 20 + ["other"] * 40 + ["wrong"] * 20)
    scores = rng.normal(np.where(kinds == "useful", 1.0, 0.0), 0.8)
    ranking = pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(80)],
            "score": scores,
            "rank": pd.Series(scores).rank(ascending=False).astype(int),
            "length_tokens": rng.integers(10, 60, 80),
            "loss": rng.gamma(2.0, 0.5, 80),
            "prompt": [f"USER: clue {i}" for i in range(80)],
            "completion": [f"GUESS: w{i}" for i in range(80)],
            "kind": kinds,
        }
    )
    curves = pd.DataFrame(
        [
            {"arm": arm, "seed": s, "step": step, "loss": 3 * 0.9**step + rng.random() / 50}
            for arm in ("top", "matched_random")
            for s in range(3)
            for step in range(12)
        ]
    )  # fmt: skip
    return Experiment(
        items,
        ranking,
        curves,
        [
            a_comparison(),
            a_comparison(metric="loss", effect=-0.2, interval=[-0.3, -0.1], sentence="lower loss"),
            a_comparison(arm="top", control="base", interval=[-0.01, 0.2], p=0.3, q=0.4),
        ],
    )


@pytest.fixture(scope="session")
def study() -> Experiment:
    """A small experiment; `study.arguments(**changes)` is what the report is written from."""
    return an_experiment()


@pytest.fixture(scope="session")
def comparison() -> Callable[..., dict[str, Any]]:
    """Makes one comparison of verdict.json, supported unless changed."""
    return a_comparison


@pytest.fixture(scope="session")
def read_page() -> type[Page]:
    """Reads HTML into its elements."""
    return Page
