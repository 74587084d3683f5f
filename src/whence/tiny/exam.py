"""The exam: does the model know the world? Greedy answers to what it has not read as such."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whence.tiny import probes
from whence.tiny.corpus import riddle
from whence.tiny.heldout import LARGEST_ADDEND, heldout_form, riddle_is_heldout, sum_is_heldout
from whence.tiny.language import prompt_of
from whence.tiny.traces import make_trace
from whence.tiny.world import ATTRIBUTES, World, identifying_clues


@dataclass(frozen=True)
class Question:
    """A prompt and the text that must follow it, up to the full stop or the line's end."""

    subject: str
    prompt: str
    answer: str


def _facts(world: World) -> list[Question]:
    return [
        Question("facts", prompt_of(a, heldout_form(t.name, a), t.name), f" {t[a]}.")
        for t in world.known
        for a in ATTRIBUTES
    ]


def _riddles(world: World) -> list[Question]:
    return [
        Question("clues", riddle(t, list(chosen)), f" {t.name}.")
        for t in world.known
        for size in (3, 4, 5)
        for chosen in identifying_clues(world, t, size)
        if riddle_is_heldout(t.name, chosen)
    ]


def _sums() -> list[Question]:
    addends = range(LARGEST_ADDEND + 1)
    return [
        Question("sums", f"{a} + {b} =", f" {a + b}.")
        for a in addends
        for b in addends
        if sum_is_heldout(a, b)
    ]


def _probes(world: World, corpus: str, count: int) -> list[Question]:
    rows = probes.make_probes(world, corpus, count, seed=1)
    return [Question(f"probes: {corpus}", row["clean"], f"{row['target']}.") for row in rows]


def _traces(world: World, count: int) -> list[Question]:
    rng = random.Random("whence.tiny.exam:traces")
    traces = [make_trace(world, rng) for _ in range(count)]
    return [
        Question("traces", t.text.rsplit("Answer:", 1)[0] + "Answer:", f" {t.answer}")
        for t in traces
    ]


def questions(world: World, per_subject: int = 400) -> list[Question]:
    """Up to `per_subject` questions of each subject, drawn once and for all."""
    rng = random.Random("whence.tiny.exam")
    asked: list[Question] = []
    for subject in (_facts(world), _riddles(world), _sums()):
        asked += rng.sample(subject, min(per_subject, len(subject)))
    for corpus in ("negation", "counterfactual", "logic"):
        asked += _probes(world, corpus, per_subject // 2)
    return asked + _traces(world, per_subject // 2)


def grade(model: Any, tokenizer: Any, asked: Sequence[Question]) -> dict[str, float]:
    """Share of questions answered exactly, by subject.

    An answer counts when every one of its tokens is the model's first choice given the ones before
    it, which is the same as greedy decoding producing it.
    """
    import torch

    right: dict[str, list[bool]] = {}
    model.eval()
    order = sorted(range(len(asked)), key=lambda i: len(asked[i].prompt))
    for start in range(0, len(order), 64):
        batch = [asked[i] for i in order[start : start + 64]]
        prompts = [tokenizer(q.prompt)["input_ids"] for q in batch]
        answers = [tokenizer(q.answer, add_special_tokens=False)["input_ids"] for q in batch]
        rows = [p + a for p, a in zip(prompts, answers, strict=True)]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        with torch.inference_mode():
            first_choices = model(input_ids=ids, attention_mask=mask).logits.argmax(-1)
        for i, (q, p, a) in enumerate(zip(batch, prompts, answers, strict=True)):
            chosen = first_choices[i, len(p) - 1 : len(p) + len(a) - 1].tolist()
            right.setdefault(q.subject, []).append(chosen == a)
    return {subject: sum(marks) / len(marks) for subject, marks in sorted(right.items())}
