"""The alignment rule, on tokenizers with and without BOS, and with an EOS of their own."""

from __future__ import annotations

import pandas as pd
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from whence.errors import BadInput
from whence.models.alignment import align, align_rows, prompt_ids

BOS, EOS = 1, 2
ADDED = {"none": "$A", "bos": "<bos> $A", "bos and eos": "<bos> $A <eos>", "eos": "$A <eos>"}


def tokenizer_that_adds(template: str) -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": 0, "<bos>": BOS, "<eos>": EOS}
    vocabulary |= {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 3)}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    bytes_only.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )


@pytest.fixture(scope="module", params=ADDED)
def tokenizer(request):
    return tokenizer_that_adds(ADDED[request.param])


def test_prompt_completion_eos(tokenizer):
    plain = tokenizer_that_adds("$A")
    row = align("USER: hi ", "GUESS: fox", tokenizer, 100)
    has_bos = tokenizer("x")["input_ids"][0] == BOS
    prompt = [BOS] * has_bos + plain("USER: hi ")["input_ids"]
    completion = [*plain("GUESS: fox")["input_ids"], EOS]
    assert row.input_ids == prompt + completion
    assert row.labels == [-100] * len(prompt) + completion
    assert row.supervised == len("GUESS: fox") + 1
    assert not row.truncated


def test_generation_sees_the_training_prefix(tokenizer):
    row = align("USER: hi", "GUESS: fox", tokenizer, 100)
    prompt = prompt_ids(["USER: hi"], tokenizer)[0].cut(100)
    assert row.input_ids[: len(prompt)] == prompt
    assert row.labels[len(prompt)] != -100


@pytest.mark.parametrize("max_length", range(2, 20))
def test_too_long_the_prompt_goes_first_from_its_left(tokenizer, max_length):
    whole = align("abcdefgh", "123", tokenizer, 100)
    row = align("abcdefgh", "123", tokenizer, max_length)
    assert len(row.input_ids) == min(max_length, len(whole.input_ids))
    assert row.truncated == (len(whole.input_ids) > max_length)
    has_bos = whole.input_ids[0] == BOS
    assert (row.input_ids[0] == BOS) == has_bos
    text = tokenizer.decode(row.input_ids, skip_special_tokens=True)
    assert text in "abcdefgh123"
    supervised = [i for i in row.labels if i != -100]
    assert supervised == row.input_ids[-len(supervised) :]
    # Whole as long as one token of context leaves room for it, then cut at its end.
    completion = [i for i in whole.labels if i != -100]
    assert supervised == completion[: max_length - 1]
    assert row.supervised == len(supervised)


def test_the_models_own_context_is_never_exceeded():
    tokenizer = tokenizer_that_adds("<bos> $A")
    short = align("abcdefgh", "123", tokenizer, 8)
    tokenizer.model_max_length = 8
    assert align("abcdefgh", "123", tokenizer, 2048) == short


def test_a_tokenizer_in_python_that_adds_eos():
    row = align("hi", "yo", ByT5Tokenizer(), 50)
    eos = ByT5Tokenizer().eos_token_id
    assert row.input_ids.count(eos) == 1
    assert row.input_ids[-1] == eos
    assert row.labels[:2] == [-100, -100]


def test_a_completion_that_ends_with_eos_gets_no_second():
    tokenizer = tokenizer_that_adds("<bos> $A")
    assert align("a", "b<eos>", tokenizer, 50) == align("a", "b", tokenizer, 50)
    # In the prompt a literal EOS is text like any other.
    assert align("a<eos>", "b", tokenizer, 50).input_ids.count(EOS) == 2


def test_frames_and_records_one_by_one_and_together_agree(tokenizer):
    records = [
        {"row_id": str(i), "prompt": f"USER: {'x' * i}", "completion": f"GUESS: {i}"}
        for i in range(1, 12)
    ]
    together = align_rows(pd.DataFrame(records), tokenizer, 12)
    assert together == align_rows(records, tokenizer, 12)
    assert together == [align(r["prompt"], r["completion"], tokenizer, 12) for r in records]
    assert align_rows([], tokenizer, 12) == []


def test_bad_rows_are_named():
    tokenizer = tokenizer_that_adds("$A")
    with pytest.raises(BadInput, match="row r7: completion is empty"):
        align_rows([{"row_id": "r7", "prompt": "a", "completion": ""}], tokenizer, 9)
    with pytest.raises(BadInput, match="row 0: prompt is None"):
        align_rows([{"completion": "b"}], tokenizer, 9)
    with pytest.raises(BadInput, match="no column completion"):
        align_rows(pd.DataFrame({"prompt": ["a"]}), tokenizer, 9)
    with pytest.raises(BadInput, match="--max-length 1"):
        align("a", "b", tokenizer, 1)
    tokenizer.eos_token = None
    with pytest.raises(BadInput, match="no EOS"):
        align("a", "b", tokenizer, 9)
