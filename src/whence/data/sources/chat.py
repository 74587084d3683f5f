"""Chats as training rows: the last assistant turn is learned, all before it is the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_READ = 1_000

ROLES = {
    **{role: role.upper() for role in ("system", "developer", "user", "assistant", "tool")},
    "function": "TOOL",
    # ShareGPT's names, with `from` and `value` for `role` and `content`.
    "human": "USER",
    "gpt": "ASSISTANT",
}


@dataclass(frozen=True)
class Flattened:
    """Prompts and completions, one a row; both null where a chat has no assistant turn.

    unanswered: chats that do not *end* with an assistant turn, those without any included.
    """

    prompts: pa.ChunkedArray
    completions: pa.ChunkedArray
    no_assistant_turn: int
    unanswered: int


def to_prompt_completion(messages: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Split a chat at its last assistant turn; None when it has none.

    The prompt is every turn before it as `ROLE: content`, joined by blank lines; the completion is
    its content, and what follows it is dropped. Raises ValueError for an unknown role and for
    content that is not text.
    """
    turns = [_turn(message) for message in messages]
    last = max((i for i, (role, _) in enumerate(turns) if role == "ASSISTANT"), default=None)
    if last is None:
        return None
    prompt = "\n\n".join(f"{role}: {content}" for role, content in turns[:last])
    return prompt, turns[last][1]


def flatten(chats: pa.ChunkedArray, origin: str) -> Flattened:
    """Split every chat of a column of lists of `{role, content}`.

    Raises BadInput, naming `origin` and the row, where a chat cannot be read.
    """
    import pyarrow as pa

    prompts, completions = [], []
    no_assistant_turn = unanswered = 0
    for start in range(0, len(chats), ROWS_PER_READ):
        pairs: list[tuple[str | None, str | None]] = []
        for offset, messages in enumerate(chats.slice(start, ROWS_PER_READ).to_pylist(), start=1):
            try:
                pair = to_prompt_completion(messages or ())
            except (ValueError, TypeError, AttributeError) as error:
                reason = str(error) if type(error) is ValueError else "not a list of messages"
                raise BadInput(f"{origin}, row {start + offset}: {reason}") from error
            pairs.append(pair or (None, None))
            no_assistant_turn += pair is None
            unanswered += pair is None or _turn(messages[-1])[0] != "ASSISTANT"
        prompts.append(pa.array([prompt for prompt, _ in pairs], pa.string()))
        completions.append(pa.array([completion for _, completion in pairs], pa.string()))
    return Flattened(
        pa.chunked_array(prompts, pa.string()),
        pa.chunked_array(completions, pa.string()),
        no_assistant_turn,
        unanswered,
    )


def _turn(message: Mapping[str, Any]) -> tuple[str, str]:
    name = message.get("role") or message.get("from")
    role = ROLES.get(str(name).lower())
    if role is None:
        raise ValueError(f'unknown role "{name}"; known are {", ".join(ROLES)}')
    content = message.get("content", message.get("value"))
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise ValueError(f"the content of a {role} turn is not text, but {type(content).__name__}")
    return role, content
