"""Tokens are counted as the model reads them: answers in their place after the prompt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whence.errors import BadInput
from whence.heads.corpora.rows import Row
from whence.heads.corpora.tokens import row_tokens, tokenizer_hash, tokenizer_of


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer folder (no model) as of the first LLaMA: ▁ before every text, BOS first."""
    from tokenizers import Tokenizer, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "▁", "▁the", "▁sky", "▁is", "▁blue", "▁red", "▁dark", "blue", "er"]
    tokenizer = Tokenizer(
        models.Unigram([(word, -float(at)) for at, word in enumerate(words)], unk_id=0)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    folder = tmp_path_factory.mktemp("tokenizers") / "sp"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>"
    ).save_pretrained(folder)
    return folder


def test_an_answer_is_one_token_where_it_follows_the_prompt(sentencepiece: Path) -> None:
    tokenizer = tokenizer_of(str(sentencepiece))
    # alone, the tokenizer puts a space of its own before it
    assert len(tokenizer(" blue", add_special_tokens=False)["input_ids"]) == 2
    rows = [
        Row(0, "the sky is", "the is", " blue", " red"),
        Row(1, "the sky is", None, " darker", " red"),
        Row(2, "the sky is", "the sky", " red", " Ω"),
    ]
    counted = row_tokens(rows, tokenizer)
    assert [(len(t.target), len(t.foil)) for t in counted[:2]] == [(1, 1), (2, 1)]
    # BOS counts among the tokens of a prompt
    assert [(t.clean, t.corrupt) for t in counted] == [(4, 3), (4, None), (4, 3)]
    assert [t.unknown for t in counted] == [False, False, True]
    assert not any(t.begin_alike for t in counted)


def test_the_tiny_tokenizer() -> None:
    (counted,) = row_tokens(
        [Row(0, "The colour is", "The kind is", " red", " blue")], tokenizer_of("tiny")
    )
    assert (len(counted.target), len(counted.foil), counted.begin_alike) == (1, 1, False)
    assert counted.clean == counted.corrupt


def test_the_hash_is_of_the_tokenizer_wherever_it_lies(sentencepiece: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(str(sentencepiece))
    copy = tmp_path / "copy"
    tokenizer.save_pretrained(copy)
    assert tokenizer_hash(tokenizer_of(str(copy))) == tokenizer_hash(tokenizer)
    vocabulary = json.loads((copy / "tokenizer.json").read_text())
    vocabulary["model"]["vocab"][6][0] = "▁teal"
    (copy / "tokenizer.json").write_text(json.dumps(vocabulary))
    assert tokenizer_hash(tokenizer_of(str(copy))) != tokenizer_hash(tokenizer)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no config\.json"):
        tokenizer_of(str(tmp_path))
