"""Trees of rollouts on disk, in the published layout: one worked by hand, and random ones."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MODEL, TEMPERATURE, SPLIT = "small-model", "temperature_0.6_top_p_0.95", "correct_base_solution"
FOLDERS = ("--model-dir", MODEL)

Entry = Mapping[str, Any]

SAME, OTHER = "We add two and three.", "Zebras quietly juggle oranges upstairs."
"""A sentence, and one that no comparison takes for it."""


def rollout(answer: str | None, right: bool | None, new: str = SAME, old: str = SAME) -> Entry:
    return {
        "chunk_removed": old,
        "prefix_without_chunk": "…",
        "chunk_resampled": new,
        "rollout": "…",
        "full_cot": "…",
        "answer": answer,
        "is_correct": right,
    }


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_problem(
    root: Path,
    number: int,
    sentences: Sequence[str],
    rollouts: Mapping[int, Sequence[Entry]],
    forced: Mapping[int, Sequence[Entry]] | None = None,
    published: Sequence[Mapping[str, Any]] | None = None,
) -> Path:
    """One problem_N. published: what chunks_labeled.json says beside text and number."""
    split = root / MODEL / TEMPERATURE / SPLIT
    here = split / f"problem_{number}"
    question = f"What is {number} plus one?"
    text = f"User: {question}\nAssistant: <think>\n" + " ".join(sentences)
    put(here / "problem.json", {"problem": question, "level": "Level 1", "gt_answer": "5"})
    put(here / "base_solution.json", {"full_cot": text, "answer": "5", "is_correct": True})
    put(here / "chunks.json", {"source_text": text, "chunks": list(sentences)})
    if published is not None:
        labelled = [
            {"chunk": sentences[entry["chunk_idx"]], "function_tags": ["plan"], **entry}
            for entry in published
        ]
        put(here / "chunks_labeled.json", labelled)
    for place, entries in rollouts.items():
        put(here / f"chunk_{place}" / "solutions.json", list(entries))
    for place, entries in (forced or {}).items():
        put(
            split.with_name(f"{SPLIT}_forced_answer")
            / f"problem_{number}"
            / f"chunk_{place}"
            / "solutions.json",
            list(entries),
        )
    return here


def random_problem(
    root: Path, number: int, chunks: int, each: int, *, forced: bool = True, label: bool = True
) -> None:
    """A problem with gaps, unanswered and unjudged rollouts, some sentences never resampled away.

    label: write chunks_labeled.json with what `published_importances` finds.
    """
    rng = random.Random(f"{root.name}-{number}")
    sentences = [f"Step {i} of problem {number} says {rng.randint(1, 99)}." for i in range(chunks)]
    missing = {rng.randrange(1, chunks - 1)} if chunks > 4 else set()
    odds = [rng.random() for _ in range(chunks)]
    rollouts: dict[int, list[Entry]] = {}
    for i in range(chunks):
        if i in missing:
            continue
        always_same = rng.random() < 0.3
        rollouts[i] = [
            _random_rollout(rng, sentences[i], odds[i], always_same) for _ in range(each)
        ]
    answers = {
        i: [_random_rollout(rng, sentences[i], odds[i], True) for _ in range(each)]
        for i in range(chunks)
    }
    here = write_problem(root, number, sentences, rollouts, answers if forced else None)
    if label:
        found = published_importances(sentences, rollouts, answers if forced else {})
        entries = [{"chunk": sentences[i], "chunk_idx": i, **found[i]} for i in range(chunks)]
        put(here / "chunks_labeled.json", entries)


def _random_rollout(rng: random.Random, old: str, odds: float, same: bool) -> Entry:
    new = old if same or rng.random() < 0.4 else f"{OTHER} {rng.randint(1, 5)}"
    kind = rng.random()
    if kind < 0.08:
        return rollout("", None, new, old)
    if kind < 0.12:
        return rollout("None", False, new, old)
    if kind < 0.15:
        return rollout("7", None, new, old)
    right = rng.random() < odds
    return rollout(rng.choice(["5", "5.0", "$5$"]) if right else rng.choice("678"), right, new, old)


def published_importances(
    sentences: Sequence[str],
    rollouts: Mapping[int, Sequence[Entry]],
    forced: Mapping[int, Sequence[Entry]],
) -> list[dict[str, float]]:
    """The published definitions written out naively, 0 wherever they have nothing to compare.

    Dissimilar is any other text here, as the texts of these trees are either equal or unrelated.
    """
    found = []
    for i in range(len(sentences)):
        values = dict.fromkeys(
            ("resampling_importance_accuracy", "counterfactual_importance_accuracy",
             "forced_importance_accuracy", "different_trajectories_fraction"), 0.0
        )  # fmt: skip
        values["accuracy"] = share_right(rollouts.get(i, []))
        if i in rollouts and i + 1 in rollouts:
            values["resampling_importance_accuracy"] = share_right(rollouts[i + 1]) - share_right(
                rollouts[i]
            )
        later = [j for j in rollouts if j > i]
        if i in rollouts and later:
            mine = [r for r in rollouts[i] if r["answer"] not in ("", "None")]
            after = [r for r in rollouts[min(later)] if r["answer"] not in ("", "None")]
            other = [r for r in mine if r["chunk_resampled"] != r["chunk_removed"]]
            values["different_trajectories_fraction"] = len(other) / len(mine) if mine else 0.0
            if other and after:
                change = share_right(other) - share_right(after)
                values["counterfactual_importance_accuracy"] = change
        behind = [j for j in forced if j > i]
        if i in forced and behind:
            change = share_right(forced[min(behind)]) - share_right(forced[i])
            values["forced_importance_accuracy"] = change
        found.append(values)
    return found


def share_right(entries: Sequence[Entry]) -> float:
    counted = [r for r in entries if r["is_correct"] is not None and r["answer"] != ""]
    return sum(r["is_correct"] for r in counted) / len(counted) if counted else 0.0
