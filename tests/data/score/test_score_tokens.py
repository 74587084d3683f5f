"""Rows as the model sees them: aligned with finetuning, or through the chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from whence.data.score.tokens import TokenRows, tokenize_rows
from whence.errors import BadInput
from whence.models.alignment import align_rows

if TYPE_CHECKING:
    from whence.models.load import Loaded

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</{{ m['role'] }}>{% endfor %}"
)


@pytest.fixture
def chatty(loaded: Loaded) -> Any:
    import copy

    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_ids_and_labels_are_the_aligned_ones(loaded: Loaded, make_rows: Any) -> None:
    rows = make_rows(700, 3)
    tokens = tokenize_rows(rows, loaded.tokenizer, mode="finetune_raw", max_length=40)
    aligned = align_rows(rows, loaded.tokenizer, 40)
    assert len(tokens) == 700
    for i, row in enumerate(aligned):
        span = slice(tokens.starts[i], tokens.starts[i + 1])
        assert tokens.ids[span].tolist() == row.input_ids
        assert tokens.labels[span].tolist() == row.labels
    assert tokens.lengths.tolist() == [len(row.input_ids) for row in aligned]
    assert tokens.supervised.tolist() == [row.supervised for row in aligned]
    assert tokens.truncated.tolist() == [row.truncated for row in aligned]
    assert 0 < tokens.truncated.sum() < 700


def test_a_batch_is_padded_on_the_right_and_masked() -> None:
    rows = TokenRows(
        ids=np.array([1, 5, 6, 1, 7, 1, 8, 9, 2], dtype=np.int32),
        labels=np.array([-100, 5, 6, -100, 7, -100, -100, 9, 2], dtype=np.int32),
        starts=np.array([0, 3, 5, 9]),
        truncated=np.array([False, True, False]),
    )
    ids, labels, mask = rows.padded([1, 2])
    assert ids.tolist() == [[1, 7, 0, 0], [1, 8, 9, 2]]
    assert labels.tolist() == [[-100, 7, -100, -100], [-100, -100, 9, 2]]
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    some = rows.take([2, 1])
    assert some.ids.tolist() == [1, 8, 9, 2, 1, 7]
    assert some.lengths.tolist() == [4, 2]
    assert some.supervised.tolist() == [2, 1]
    assert some.truncated.tolist() == [False, True]


def test_chat_mode_labels_the_completion_within_the_template(chatty: Any, make_rows: Any) -> None:
    rows = make_rows(5, 4)
    tokens = tokenize_rows(rows, chatty, mode="bergson_chat", max_length=512)
    for i, row in enumerate(rows.itertuples()):
        span = slice(tokens.starts[i], tokens.starts[i + 1])
        text = f"<user>{row.prompt}</user><assistant>{row.completion}</assistant>"
        assert chatty.decode(tokens.ids[span]) == text
        labels = tokens.labels[span]
        assert chatty.decode(labels[labels != -100]).strip() == row.completion


def test_chat_mode_says_what_it_lacks(loaded: Loaded, chatty: Any, make_rows: Any) -> None:
    rows = make_rows(3, 4)
    with pytest.raises(BadInput, match="no chat template; use finetune_raw"):
        tokenize_rows(rows, loaded.tokenizer, mode="bergson_chat", max_length=64)
    chatty.chat_template = TEMPLATE.replace("m['content']", "m['content'] | upper")
    with pytest.raises(BadInput, match="row s4-0: its completion is not found again"):
        tokenize_rows(rows, chatty, mode="bergson_chat", max_length=64)


def test_rows_whose_labels_are_all_cut_off_are_named(chatty: Any, make_rows: Any) -> None:
    rows = make_rows(8, 4)
    with pytest.raises(BadInput, match=r"8 rows have no labelled token .*\(s4-0, s4-1, .*, …\)"):
        tokenize_rows(rows, chatty, mode="bergson_chat", max_length=4)


def test_an_empty_split_is_refused(loaded: Loaded, make_rows: Any) -> None:
    with pytest.raises(BadInput, match="the split is empty"):
        tokenize_rows(make_rows(1, 0)[:0], loaded.tokenizer, mode="finetune_raw", max_length=64)
