"""Old split files load whatever line ends they hashed; new ones keep prompts apart."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.errors import BadInput
from whence.heads.corpora import Split, draw_split, find_corpus, read_corpus, read_split
from whence.heads.corpora.rows import Row

Write = Callable[..., Path]
ROWS = [
    {"clean": f"p{n} is", "corrupt": f"q{n} is", "target": " a", "foil": " b"} for n in range(6)
]
PARTS: dict[str, Any] = {"train": [5, 0, 2, 3], "val": [1], "test": [4]}


def write_split(folder: Path, **keys: Any) -> Path:
    path = folder / "c.split.json"
    path.write_text(json.dumps({"seed": 13, **PARTS, **keys}))
    return path


def test_every_old_split_loads(shared_data: Path) -> None:
    probes = shared_data / "probes"
    names = [path.stem for path in (probes / "corpora").glob("*.jsonl")]
    assert len(names) == 8
    for name in names:
        corpus, file = find_corpus(probes / "corpora", name)
        assert file is not None
        rows = len(read_corpus(corpus))
        split = read_split(file, rows, corpus)
        assert sorted(split.train + split.val + split.test) == list(range(rows))
        assert split.seed in (13, 123)


def test_what_the_earlier_lab_hashed(shared_data: Path) -> None:
    """The bytes of its files: LF for the first corpora, CRLF for those it called balanced."""
    for corpus in (shared_data / "probes" / "corpora").glob("*.jsonl"):
        content = corpus.read_bytes()
        if corpus.stem.endswith("balanced"):
            content = content.replace(b"\n", b"\r\n")
        split = json.loads(
            (shared_data / "probes" / "splits" / f"{corpus.stem}.split.json").read_text()
        )
        assert split["data_hash"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("here", [b"\n", b"\r\n"])
@pytest.mark.parametrize("there", [b"\n", b"\r\n"])
def test_line_ends_here_and_where_it_was_made(
    corpus: Write, tmp_path: Path, here: bytes, there: bytes
) -> None:
    path = corpus(ROWS)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\n", here))
    data_hash = hashlib.sha256(content.replace(b"\n", there)).hexdigest()
    split = read_split(write_split(tmp_path, data_hash=data_hash), 6, path)
    assert split == Split(13, data_hash, (5, 0, 2, 3), (1,), (4,))
    assert split.part("train") == (5, 0, 2, 3)


def test_a_split_without_seed_and_hash(corpus: Write, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({**PARTS, "note": "made by hand"}))
    assert read_split(path, 6, corpus(ROWS)) == Split(None, None, (5, 0, 2, 3), (1,), (4,))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"data_hash": "0" * 64}, r'"data_hash" \(000000000000…\) is not that of .*balance'),
        ({"data_hash": 7}, '"data_hash" is 7'),
        ({"seed": "x"}, "\"seed\" is 'x', a whole number"),
        ({"test": [6]}, r'"test"\[0\] is row 6; the corpus has rows 0 to 5'),
        ({"test": [-1]}, r'"test"\[0\] is row -1'),
        ({"test": [5]}, r'"test"\[0\] is row 5, which is in train already'),
        ({"val": [1, 1]}, r'"val"\[1\] is row 1, which is in val already'),
        ({"val": [True]}, r'"val"\[0\] is True'),
        ({"val": ["1"]}, r"\"val\"\[0\] is '1'"),
        ({"val": 3}, '"val" is no list'),
    ],
)
def test_a_broken_split(corpus: Write, tmp_path: Path, keys: Any, told: str) -> None:
    path = write_split(tmp_path, **keys)
    with pytest.raises(BadInput, match=told) as raised:
        read_split(path, 6, corpus(ROWS))
    assert str(raised.value).startswith(f"{path}: ")


def test_other_shapes(corpus: Write, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text("[0, 1]")
    with pytest.raises(BadInput, match="holds a list"):
        read_split(path, 6, corpus(ROWS))
    path.write_text('{"train": [], "test": []}')
    with pytest.raises(BadInput, match='no key "val"; train, val, test were expected'):
        read_split(path, 6, corpus(ROWS))
    with pytest.raises(BadInput, match='split "dev" is unknown'):
        Split(None, None, (), (), ()).part("dev")


def random_rows(rng: random.Random, prompts: int, count: int) -> list[Row]:
    clean = [rng.randrange(prompts) for _ in range(count)]
    return [Row(at, f"p{n}", f"c{at}", f" t{n % 3}", " f") for at, n in enumerate(clean)]


def test_no_prompt_is_in_two_parts_and_every_row_in_one() -> None:
    for seed in range(40):
        rows = random_rows(random.Random(seed), prompts=25, count=120)
        parts, _ = draw_split(rows, seed)
        assert sorted(parts["train"] + parts["val"] + parts["test"]) == list(range(120))
        prompts = [{rows[at].clean for at in part} for part in parts.values()]
        assert sum(map(len, prompts)) == len({row.clean for row in rows})


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(200, (140, 30, 30)), (20, (14, 3, 3)), (1000, (700, 150, 150)), (1, (1, 0, 0))],
)
def test_shares_of_distinct_prompts(count: int, sizes: tuple[int, ...]) -> None:
    for seed in range(5):
        rows = [Row(n, f"p{n}", f"c{n}", " yes", " no") for n in range(count)]
        parts, _ = draw_split(rows, seed)
        assert tuple(map(len, parts.values())) == sizes


def test_shares_count_prompts_and_not_rows() -> None:
    # one prompt has as many rows as all others together
    rows = [Row(n, "p", f"c{n}", " yes", " no") for n in range(100)]
    rows += [Row(100 + n, f"p{n}", f"d{n}", " yes", " no") for n in range(99)]
    parts, _ = draw_split(rows, 0)
    prompts = [len({rows[at].clean for at in part}) for part in parts.values()]
    assert prompts == [70, 15, 15]


def test_every_part_has_the_mixture_of_answers() -> None:
    rows = [Row(n, f"p{n}", f"c{n}", (" yes", " no")[n % 2], " x") for n in range(200)]
    parts, _ = draw_split(rows, 4)
    for part in parts.values():
        counts = Counter(rows[at].target for at in part)
        assert abs(counts[" yes"] - counts[" no"]) <= 2


def test_a_seed_draws_the_same_and_another_does_not() -> None:
    rows = random_rows(random.Random(1), prompts=60, count=100)
    assert draw_split(rows, 7) == draw_split(rows, 7)
    assert draw_split(rows, 7) != draw_split(rows, 8)
