"""Prompts as token ids: special tokens, answers, cuts, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest
import zoo
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from whence.errors import BadInput
from whence.heads.corpora import Row
from whence.heads.prompts import continuation_ids, prepare

TEXTS = ["The fox is red and blue", *(word for word in zoo.ANSWERS for _ in range(50))]


def tokenizer(bos: bool = True) -> Any:
    return zoo.make_tokenizer(TEXTS, 320, bos=bos)


def row(index: int, clean: str, target: str, foil: str, corrupt: str | None = None) -> Row:
    return Row(index, clean, corrupt, target, foil)


def metaspace() -> Any:
    """As SentencePiece does it: every text gets a space of its own in front."""
    words = ["<unk>", "<s>", "</s>", "▁", "▁The", "▁fox", "▁is", "▁red", "▁blue"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_bos_as_the_tokenizer_does_always_or_never() -> None:
    rows = [row(0, "The fox is", " red", " blue")]
    plain = tuple(tokenizer()("The fox is", add_special_tokens=False)["input_ids"])
    found = {
        (adds, policy): prepare(rows, tokenizer(adds), prepend_bos=policy)
        for adds in (True, False)
        for policy in ("default", "always", "never")
    }
    for (adds, policy), examples in found.items():
        with_bos = policy == "always" or (policy == "default" and adds)
        assert examples.rows[0].clean == ((1, *plain) if with_bos else plain)
        assert examples.bos == (1 if with_bos else None)
    bare = tokenizer(False)
    bare.bos_token = None
    with pytest.raises(BadInput, match="this tokenizer has no BOS token"):
        prepare(rows, bare, prepend_bos="always")


def test_a_tokenizer_that_closes_every_text_is_asked_what_follows_the_prompt() -> None:
    closing = metaspace()
    assert closing("The fox is")["input_ids"][-1] == closing.eos_token_id
    (example,) = prepare([row(0, "The fox is", " red", " blue")], closing).rows
    assert closing.convert_ids_to_tokens(example.clean) == ["<s>", "▁The", "▁fox", "▁is"]


def test_answers_are_tokens_as_they_continue_the_prompt() -> None:
    closing = metaspace()
    # alone " red" is a space of the text and a space of the tokenizer
    assert len(closing(" red", add_special_tokens=False)["input_ids"]) == 2
    ids = continuation_ids(closing, "The fox is", " red")
    assert closing.convert_ids_to_tokens(ids) == ["▁red"]


def test_answers_of_several_tokens_are_refused_or_read_by_their_first() -> None:
    rows = [row(0, "The fox is", " red", " blue"), row(7, "The fox is", " red and blue", " no")]
    with pytest.raises(BadInput, match="row 7: target ' red and blue' is not a single token but 3"):
        prepare(rows, tokenizer())
    first = prepare(rows, tokenizer(), multi_token="first")
    assert first.multi_token == 1
    assert len(first.rows[1].target) == 3
    assert prepare(rows, tokenizer(), metric_span="full_target").multi_token == 0


def test_rows_without_a_difference_are_left_out_and_counted() -> None:
    rows = [
        row(0, "The fox is", " red", " blue"),
        row(3, "The fox is", " red", " red"),
        row(4, "The fox is", " red and blue", " red fox"),
    ]
    examples = prepare(rows, tokenizer(), multi_token="first")
    assert [example.example for example in examples.rows] == [0]
    assert list(examples.excluded.values()) == [(3, 4)]
    with pytest.raises(BadInput, match="no row is left"):
        prepare(rows[1:], tokenizer(), multi_token="first")


def test_of_long_prompts_the_end_is_kept_and_rows_are_counted_once() -> None:
    long = "The fox is red and blue and the fox is"
    rows = [row(0, long, " red", " blue", corrupt=long), row(1, "The fox is", " red", " blue")]
    whole = prepare(rows, tokenizer()).rows[0].clean
    cut = prepare(rows, tokenizer(), max_seq_len=6)
    assert cut.truncated == 1
    assert cut.rows[0].clean == (whole[0], *whole[-5:])
    assert len(cut.rows[1].clean) <= 6
