"""Whatever is combined: what evaluates is nowhere else, checked in the written files alone."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from whence.data.build import BuildConfig, build
from whence.errors import BadInput

SYLLABLES = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmn"]
# Pairs of spellings of one word: by punctuation, by form of Unicode, by case, by white space.
WORDS = [
    "Ice-cream",
    "ice cream",
    "caf\u00e9",
    "cafe\u0301",
    "Fox",
    "fox ",
    "STRASSE",
    "stra\u00dfe",
]
PAIRS = [
    ("train_base", "attr_query"),
    ("train_base", "eval"),
    ("score_pool", "attr_query"),
    ("score_pool", "eval"),
    ("attr_query", "eval"),
]
Rows = list[dict[str, Any]]


def write(path: Path, rows: Rows, rng: random.Random) -> None:
    """As chats or pairs; topics as whole numbers or with a point."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chats, point = rng.random() < 0.3, rng.random() < 0.5
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            row = dict(row)
            if point and row["topic"] is not None:
                row["topic"] = float(row["topic"])
            if chats:
                turns = (("user", row.pop("prompt")), ("assistant", row.pop("completion")))
                row["messages"] = [{"role": role, "content": text} for role, text in turns]
            file.write(json.dumps(row) + "\n")


def make_rows(rng: random.Random, rows: int, known: list[tuple[str, str]]) -> Rows:
    """A quarter of the texts are those of other rows, wherever these are, often with a word more.

    twin: the same for all rows of one text.
    """
    made = []
    for _ in range(rows):
        if known and rng.random() < 0.25:
            text, twin = rng.choice(known)
            text += f" {rng.choice(SYLLABLES)}" if rng.random() < 0.6 else ""
        else:
            text, twin = " ".join(rng.choices(SYLLABLES, k=rng.randint(30, 70))), str(len(known))
            known.append((text, twin))
        made.append(
            {
                "prompt": text,
                "completion": "GUESS it",
                "target_word": rng.choice(WORDS + SYLLABLES[:12]) if rng.random() < 0.9 else None,
                "group_id": f"g{rng.randrange(60)}",
                "topic": rng.choice([*range(8), None]),
                "twin": twin,
            }
        )
    return made


def settings_of(rng: random.Random, folder: Path) -> dict[str, Any]:
    files = {
        "a": folder / "a",
        "b": folder / "b.jsonl",
        "c": folder / "c",
        "again_a": folder / "a",
        "again_b": folder / "b.jsonl",
        "test_of_a": folder / "a/test.jsonl",
    }
    form = rng.choice(["folder", "files", "file", "mix", "mix", "mix"])
    chosen: dict[str, Any] = {"seed": rng.randrange(100), "train_size": rng.choice([20, 40, None])}
    if form == "folder":
        chosen["dataset_name"] = str(files["a"])
    elif form == "mix":
        chosen["source"] = tuple(
            f"{name}={files[name]}"
            + rng.choice(["", "", ":use=both", ":use=train", ":use=eval"])
            + rng.choice(["", "", ":cap=20", ":cap=60"])
            for name in rng.sample(list(files), rng.randint(1, 4))
        )
    else:
        chosen["train_file"] = files["b"]
        if form == "files":
            chosen["test_file"] = files["test_of_a"]
    if rng.random() < 0.6:
        apart = rng.choice(["target_word", "target_word", "topic", "group_id"])
        chosen |= {"word_disjoint": True} if apart == "target_word" else {"disjoint_by": apart}
    if rng.random() < 0.35:
        chosen["query_fraction"] = rng.choice([0.2, 0.4, 0.7])
    else:
        sizes = rng.choice([(5, 5), (15, 12), (15, 20), (None, 12), (10, None)])
        chosen |= dict(zip(("query_size", "eval_size"), sizes, strict=True))
    for share, more in (
        (0.4, {"pool_size": rng.choice([10, 30])}),
        (0.5, {"drop_near_duplicates": True}),
        (0.3, {"max_tokens_per_row": rng.choice([25, 40, 60])}),
        (0.2, {"withhold": ("twin",)}),
        (0.2, {"stratify_by": ("topic",)}),
    ):
        chosen |= more if rng.random() < share else {}
    return chosen


def read(run: Path) -> dict[str, Rows]:
    splits = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["splits"]
    return {name: pq.read_table(run / one["path"]).to_pylist() for name, one in splits.items()}


def plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value  # 5 == 5.0
    folded = unicodedata.normalize("NFC", value).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def shared(splits: dict[str, Rows], a: str, b: str, column: str) -> set[Any]:
    return {plain(r[column]) for r in splits[a]} & {plain(r[column]) for r in splits[b]}


def check(splits: dict[str, Rows], chosen: dict[str, Any]) -> None:
    for a, b in PAIRS:
        assert not {r["row_id"] for r in splits[a]} & {r["row_id"] for r in splits[b]}
        texts = [{(r["prompt"], r["completion"]) for r in splits[name]} for name in (a, b)]
        assert not texts[0] & texts[1]
        if chosen.get("drop_near_duplicates") and b != a != "attr_query":
            whole = "withhold" not in chosen and "max_tokens_per_row" not in chosen
            assert not whole or not shared(splits, a, b, "twin")
        column = "target_word" if "word_disjoint" in chosen else chosen.get("disjoint_by")
        if column and b == "eval":
            assert not shared(splits, a, b, column)
            assert None not in {r[column] for r in splits[a] + splits[b]}
    if "query_fraction" in chosen:
        assert not shared(splits, "attr_query", "eval", "group_id")
    if "pool_size" in chosen:
        ids = [{r["row_id"] for r in splits[name]} for name in ("train_base", "score_pool")]
        assert not ids[0] & ids[1]
    longest = chosen.get("max_tokens_per_row", 1_000)
    for rows in splits.values():
        assert max(len(f"{r['prompt']} {r['completion']}".split()) for r in rows) <= longest
        assert not any(column in rows[0] for column in chosen.get("withhold", ()))
    for written in chosen.get("source", ()):
        name, _, options = written.partition("=")
        ids = {
            at: {r["row_id"] for split in two for r in splits[split] if r["source"] == name}
            for at, two in (("train", PAIRS[0][:1] + PAIRS[2][:1]), ("held", PAIRS[4]))
        }
        assert not (":use=train" in options and ids["held"])
        assert not (":use=eval" in options and ids["train"])
        if ":cap=" in options:
            assert max(map(len, ids.values())) <= int(options.partition(":cap=")[2])


def refusal(run: Path, chosen: dict[str, Any]) -> str:
    try:
        build(BuildConfig(run_dir=run, **chosen))
    except BadInput as error:
        return str(error)
    return ""


def built(folder: Path, seed: int) -> bool:
    """Whether one draw of data and settings could be built; what was written has been checked."""
    rng = random.Random(seed)
    known: list[tuple[str, str]] = []
    for name, rows in (
        ("a/train.jsonl", 200), ("a/test.jsonl", 150), ("b.jsonl", 150),
        ("c/train.jsonl", 120), ("c/validation.jsonl", 120),
    ):  # fmt: skip
        write(folder / name, make_rows(rng, rows, known), rng)
    chosen = settings_of(rng, folder)
    said = refusal(folder / "r", chosen)
    if said:
        # Too little is left; what could be drawn never failed the build's own checks.
        assert "\n" not in said
        assert "fail a check" not in said
        return False
    check(read(folder / "r"), chosen)
    if chosen["train_size"] is not None:
        less = {**chosen, "train_size": chosen["train_size"] - 5}
        build(BuildConfig(run_dir=folder / "less", **less))
        for split in ("eval", "attr_query"):
            files = [(folder / run / f"data/{split}.parquet").read_bytes() for run in ("r", "less")]
            assert files[0] == files[1]
    return True


@pytest.mark.parametrize("batch", range(3))
def test_any_combination(tmp_path: Path, batch: int) -> None:
    seeds = range(20 * batch, 20 * batch + 20)
    done = [seed for seed in seeds if built(tmp_path / str(seed), seed)]
    assert len(done) >= 8
