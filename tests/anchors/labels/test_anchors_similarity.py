"""Comparing sentences: a real sentence-transformers folder, and the built-in TF-IDF."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from rollout_tree import (
    FOLDERS,
    MODEL,
    OTHER,
    SAME,
    SPLIT,
    TEMPERATURE,
    random_problem,
    rollout,
    share_right,
)

from whence.__main__ import main
from whence.anchors.labels.similarity import similarities
from whence.anchors.rollouts.rollout import Rollout, parse_rollouts
from whence.anchors.sentences import read_sentences
from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.text.embedding import open_embedder, tfidf

WORDS = ["add", "two", "and", "three", "we", "zebra", "orange", "is", "the", "sum", "five", "so"]


@pytest.fixture(scope="session")
def random_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights and mean pooling, saved as sentence-transformers saves models."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    plain = folder / "plain"
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(plain)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
        )
    ).save_pretrained(plain)
    layer = Transformer(str(plain))
    model = SentenceTransformer(modules=[layer, Pooling(32)], device="cpu")
    model.save(str(folder / "saved"))
    return folder / "saved"


def some_rollouts() -> list[list[Rollout]]:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(2, 9))) + "." for _ in range(12)]
    pairs = [[(texts[rng.integers(12)], texts[rng.integers(12)]) for _ in range(7)] for _ in "abc"]
    return [[Rollout(old, new, "5", True) for old, new in own] for own in pairs]


def test_cosines_of_a_sentence_transformer_against_one_pair_at_a_time(random_bert: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(random_bert), device="cpu")
    found = similarities(some_rollouts(), open_embedder(str(random_bert), "cpu"))
    assert np.ptp(np.concatenate(found)) > 0.01
    for own, cosines in zip(some_rollouts(), found, strict=True):
        for each, cosine in zip(own, cosines, strict=True):
            a, b = (model.encode(str(text)) for text in (each.removed, each.resampled))
            expected = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
            assert cosine == pytest.approx(expected, abs=1e-5)


def test_labels_by_a_sentence_transformer(random_bert: Path, tmp_path: Path) -> None:
    """The command with a model folder, against cosines of the model and sums written out here."""
    from sentence_transformers import SentenceTransformer

    random_problem(tmp_path / "t", 1, chunks=6, each=12)
    out = ["--output-dir", str(tmp_path / "I")]
    assert main(["anchors", "index", "--root", str(tmp_path / "t"), *FOLDERS, *out]) == 0
    folder = tmp_path / "t" / MODEL / TEMPERATURE / SPLIT / "problem_1"
    rollouts = {
        int(path.parent.name.removeprefix("chunk_")): read_json(path)
        for path in folder.glob("chunk_*/solutions.json")
    }
    model = SentenceTransformer(str(random_bert), device="cpu")
    cosines = {}
    for each in (each for own in rollouts.values() for each in own):
        pair = (each["chunk_removed"], each["chunk_resampled"])
        a, b = model.encode(list(pair))
        cosines[pair] = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    values = sorted({round(value, 5) for value in cosines.values()})
    middle = len(values) // 2
    threshold = (values[middle - 1] + values[middle]) / 2
    words = ["anchors", "labels", "--index", str(tmp_path / "I"), "--source", "rollouts"]
    words += ["--embedding-model", str(random_bert), "--similarity-threshold", repr(threshold)]
    assert main([*words, "--output-dir", str(tmp_path / "L")]) == 0
    frame = read_sentences(tmp_path / "L" / "sentence_metadata.parquet")
    compared = 0
    for number, own in rollouts.items():
        later = [other for other in rollouts if other > number]
        if not later:
            continue
        answered = [each for each in own if each["answer"] not in ("", "None")]
        pairs = [(each["chunk_removed"], each["chunk_resampled"]) for each in answered]
        different = [e for e, p in zip(answered, pairs, strict=True) if cosines[p] < threshold]
        row = frame.loc[number]
        assert row["dissimilar_rollouts"] == len(different)
        following = [e for e in rollouts[min(later)] if e["answer"] not in ("", "None")]
        if different:
            expected = share_right(different) - share_right(following)
            assert row["importance_signed"] == pytest.approx(expected)
            compared += 1
    assert compared


def test_each_text_is_embedded_once() -> None:
    asked: list[str] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.eye(len(texts))

    one, two = rollout("5", True, OTHER), rollout("5", True, SAME)
    found = similarities([parse_rollouts([one, two, one], "x"), parse_rollouts([two], "x")], embed)
    assert sorted(asked) == sorted([SAME, OTHER])
    assert [each.tolist() for each in found] == [[0, 1, 0], [1]]


def test_tfidf_against_scikit_learn_and_its_edges() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    own = some_rollouts()[0]
    texts = sorted({text for each in own for text in (str(each.removed), str(each.resampled))})
    matrix = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True
    ).fit_transform(texts)
    likeness = cosine_similarity(matrix)
    for each, cosine in zip(own, similarities([own], tfidf)[0], strict=True):
        expected = likeness[texts.index(str(each.removed)), texts.index(str(each.resampled))]
        assert cosine == pytest.approx(expected)
    odd = [
        Rollout("", "", "5", True),
        Rollout("", "Two.", "5", True),
        Rollout(None, "Two.", "5", True),
    ]
    alike, unlike, unknown = similarities([odd], tfidf)[0]
    assert (alike, unlike) == (1, 0)
    assert math.isnan(unknown)
    assert similarities([[Rollout("", "", "5", True)]], tfidf)[0].tolist() == [1]
    assert [each.size for each in similarities([[], []], tfidf)] == [0, 0]


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"no/such-model: cannot be loaded .*tfidf"):
        open_embedder("no/such-model")
