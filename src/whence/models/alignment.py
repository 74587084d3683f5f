"""The alignment rule: one tokenisation for finetuning, scoring and loss evaluation.

Attribution has to see the very token ids and labels that finetuning saw, or it ranks examples for a
model that was never trained. So there is one function, and everything calls it:

    ids    = [BOS if the tokenizer adds one] + ids(prompt) + ids(completion) + EOS
    labels = −100 on BOS and prompt, the ids themselves on completion and EOS

Prompt and completion are tokenised apart and never merged over their seam, so that generation from
the prompt alone continues exactly the prefix that was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label that PyTorch's cross entropy, TRL and Bergson all leave out of the loss."""


@dataclass(frozen=True)
class AlignedRow:
    """One training example as the model sees it; `labels[i]` is `input_ids[i]` or −100."""

    input_ids: list[int]
    labels: list[int]
    truncated: bool

    @property
    def supervised(self) -> int:
        """Tokens that the loss is taken over. The first position predicts nothing before it."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True)
class PromptIds:
    """A tokenised prompt: what the tokenizer puts before any text, and the text's own ids."""

    prefix: list[int]
    body: list[int]

    def cut(self, room: int) -> list[int]:
        """At most `room` ids: the prefix whole, the body without its oldest tokens."""
        keep = max(0, room - len(self.prefix))
        return self.prefix + self.body[len(self.body) - min(keep, len(self.body)) :]


def align(
    prompt: str, completion: str, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> AlignedRow:
    """Token ids and labels of one example; see `align_rows`."""
    return align_rows([{"prompt": prompt, "completion": completion}], tokenizer, max_length)[0]


def align_rows(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[AlignedRow]:
    """Token ids and labels of examples with columns `prompt` and `completion`, in their order.

    A row longer than `max_length`, or than the model's own context, loses prompt tokens from the
    left (BOS stays), and when the prompt is used up, completion tokens from the right; it is marked
    `truncated`. One token of context always stays in front of the completion: without it the first
    completion token would not be trained.

    Raises BadInput where a row lacks a text, `max_length` is below 2 or the tokenizer has no EOS.
    """
    if max_length < 2:
        raise BadInput(f"--max-length {max_length}: an example needs at least 2 tokens")
    max_length = min(max_length, tokenizer.model_max_length)
    eos = tokenizer.eos_token_id
    if eos is None:
        raise BadInput(
            f"the tokenizer of {tokenizer.name_or_path} has no EOS token, which must end every "
            "completion: set eos_token in its tokenizer_config.json"
        )
    prompts, completions = _texts(rows)
    if not prompts:
        return []
    encoded = tokenizer(completions, add_special_tokens=False, verbose=False)["input_ids"]
    return [
        _join(prompt, [*ids, eos] if not ids or ids[-1] != eos else list(ids), max_length)
        for prompt, ids in zip(prompt_ids(prompts, tokenizer), encoded, strict=True)
    ]


def prompt_ids(prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[PromptIds]:
    """Tokenise prompts as training does, without what the tokenizer would add behind them (EOS).

    An EOS between prompt and completion would teach the model that the prompt is a finished text.
    """
    if not prompts:
        return []
    encoded = tokenizer(list(prompts), return_special_tokens_mask=True, verbose=False)
    return [
        _split_added(ids, added)
        for ids, added in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    ]


def _split_added(ids: list[int], added: list[int]) -> PromptIds:
    start, end = 0, len(ids)
    while start < end and added[start]:
        start += 1
    while end > start and added[end - 1]:
        end -= 1
    return PromptIds(prefix=ids[:start], body=ids[start:end])


def _join(prompt: PromptIds, completion: list[int], max_length: int) -> AlignedRow:
    whole = len(prompt.prefix) + len(prompt.body) + len(completion)
    context = max(len(prompt.prefix), min(1, len(prompt.body)))
    kept_prompt = prompt.cut(max(context, max_length - len(completion)))
    kept_completion = completion[: max_length - len(kept_prompt)]
    return AlignedRow(
        input_ids=kept_prompt + kept_completion,
        labels=[IGNORED] * len(kept_prompt) + kept_completion,
        truncated=whole > max_length,
    )


def _texts(rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    records = list(_records(rows))
    prompts: list[str] = []
    completions: list[str] = []
    for at, record in enumerate(records):
        for column, into in (("prompt", prompts), ("completion", completions)):
            text = record.get(column)
            if not isinstance(text, str) or not text:
                found = "empty" if text == "" else repr(text)
                raise BadInput(
                    f"row {record.get('row_id', at)}: {column} is {found}, expected text"
                )
            into.append(text)
    return prompts, completions


def _records(rows: Any) -> Iterable[Mapping[str, Any]]:
    if not hasattr(rows, "columns"):
        return rows  # type: ignore[no-any-return]
    missing = [name for name in ("prompt", "completion") if name not in rows.columns]
    if missing:
        raise BadInput(
            f"the rows have no column {', '.join(missing)}; "
            f"they have {', '.join(map(str, rows.columns))}"
        )
    wanted = [name for name in ("row_id", "prompt", "completion") if name in rows.columns]
    return rows[wanted].to_dict("records")  # type: ignore[no-any-return]
