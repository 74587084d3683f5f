"""Which tokens a sentence is: by the offsets that the tokenizer gives, in the ids the model sees.

Of the characters [c0, c1): from the first token that ends behind c0 up to the first later one that
begins at c1 or behind it, and one token at least (the earlier thought-anchor study's definition). A
token that two sentences share belongs to both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from whence.anchors.spans.locate import Span, locate, one_blank
from whence.anchors.traces import Trace
from whence.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PrependBos = Literal["default", "always", "never"]


@dataclass(frozen=True)
class Placed:
    """A trace as the model reads it.

    ids: its tokens, those put in front among them. front: how many those are. characters, tokens:
    the span of each sentence, None where it was not found.
    """

    trace: Trace
    ids: tuple[int, ...]
    front: int
    characters: tuple[Span | None, ...]
    tokens: tuple[Span | None, ...]

    def failures(self, tokenizer: PreTrainedTokenizerBase, decode: bool) -> list[Failure]:
        """Sentences without a span; with `decode`, also those whose tokens say something else."""
        found = []
        for index, sentence in enumerate(self.trace.sentences):
            span, said = self.tokens[index], ""
            if self.characters[index] is None:
                cause = "it does not occur in the text behind the sentence before it"
            elif span is None:
                cause = "no token of the text covers it"
            elif decode:
                said = tokenizer.decode(
                    list(self.ids[span.start : span.end]), clean_up_tokenization_spaces=False
                )
                if agrees(sentence, said):
                    continue
                cause = "its tokens decode to something else"
            else:
                continue
            found.append(Failure(self.trace.problem_id, index, sentence, said, cause))
        return found


@dataclass(frozen=True)
class Failure:
    """A sentence that has no span, or a wrong one. decoded: what its tokens say, if it has any."""

    problem_id: str
    chunk_idx: int
    expected: str
    decoded: str
    cause: str


def agrees(sentence: str, decoded: str) -> bool:
    """Whether one holds the other, apart from white space and case."""
    a, b = one_blank(sentence).casefold(), one_blank(decoded).casefold()
    return bool(a and b) and (a in b or b in a)


def place(tokenizer: PreTrainedTokenizerBase, trace: Trace, bos: PrependBos) -> Placed:
    """Tokenize a trace and find its sentences in it.

    Raises BadInput for a tokenizer that gives no offsets, and where BOS is asked for and is none.
    """
    if not tokenizer.is_fast:
        raise BadInput(
            f"{type(tokenizer).__name__} is a slow tokenizer and gives no offsets, which sentences "
            "are placed by; use a model with a tokenizer.json"
        )
    encoded = tokenizer(
        trace.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
    front = front_ids(tokenizer, bos)
    if ids[: len(front)] == front:
        front = []  # the text spells them out itself
    starts = np.asarray([0] * len(front) + [start for start, _ in offsets], dtype=np.int64)
    ends = np.asarray([0] * len(front) + [end for _, end in offsets], dtype=np.int64)
    characters = locate(trace.text, trace.sentences, trace.start)
    return Placed(
        trace=trace,
        ids=(*front, *ids),
        front=len(front),
        characters=tuple(characters),
        tokens=tuple(token_spans(starts, ends, characters)),
    )


def token_spans(
    starts: np.ndarray, ends: np.ndarray, characters: Sequence[Span | None]
) -> list[Span | None]:
    """Token span of each character span; None where there was none, or no token ends behind c0.

    starts, ends: characters of each token [tokens]; (0, 0) for tokens that stand for none.
    """
    found: list[Span | None] = []
    # A tokenizer may give an empty token an earlier end; the largest so far never goes back.
    ends, starts = np.maximum.accumulate(ends), np.maximum.accumulate(starts)
    for span in characters:
        first = len(ends) if span is None else int(np.searchsorted(ends, span.start, side="right"))
        if span is None or first == len(ends):
            found.append(None)
            continue
        stop = int(np.searchsorted(starts, span.end, side="left"))
        found.append(Span(first, max(stop, first + 1)))
    return found


def front_ids(tokenizer: PreTrainedTokenizerBase, bos: PrependBos) -> list[int]:
    """Ids that are put before a text. default: what the tokenizer puts there by itself.

    Raises BadInput for "always" with a tokenizer that has no BOS.
    """
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    with_special = list(tokenizer("a")["input_ids"])
    places = range(len(with_special) - len(plain) + 1)
    at = next((i for i in places if with_special[i : i + len(plain)] == plain), 0)
    own = with_special[:at]
    if bos == "never":
        return []
    if bos == "always" and tokenizer.bos_token_id not in own:
        if tokenizer.bos_token_id is None:
            raise BadInput("--prepend-bos always: this tokenizer has no BOS; use default or never")
        return [tokenizer.bos_token_id]
    return own
