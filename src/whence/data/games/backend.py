"""What plays: anything that can be asked for the next message of a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Message = Mapping[str, str]
"""`{"role": "system" | "user" | "assistant", "content": text}`."""


@dataclass(frozen=True)
class Ask:
    """One request. seed: what sampling depends on, besides the messages."""

    game_id: str
    model: str
    messages: Sequence[Message]
    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True)
class Reply:
    """One answer; tokens as the model counted them, 0 where it did not say."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class AskError(Exception):
    """A request that failed for good, after its retries. The game ends; others go on.

    cause: one word for counting. Those that may pass (rate_limit, server_error, connection,
    timeout, bad_reply) are played again when a run is resumed; others are of this game (refused,
    context, budget_requests).
    """

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause


class Backend(Protocol):
    """Answers requests, many at a time. Raises AskError for one that cannot be answered, and
    BadInput for what no later request could get past (a wrong key, a model that is not there).
    """

    async def ask(self, ask: Ask) -> Reply: ...

    async def close(self) -> None: ...
