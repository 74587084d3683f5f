"""Games on models that run here: requests of many games at once become batches.

A request waits until no batch runs; then all that wait for the same model go together. Concurrent
games thereby share forward passes, and a game that is ahead never waits for one that is behind.

A chat is put into words as the model knows them: by its tokenizer's chat template, else, and for
adapters and merged models of `whence data finetune`, as rows are trained: `ROLE: content` turns.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.games.backend import Ask, AskError, Backend, Message, Reply
from whence.data.sources.chat import to_prompt_completion
from whence.errors import BadInput
from whence.models.adapters import BASE_FILE, check_adapter
from whence.models.alignment import prompt_ids
from whence.models.load import load_model, model_source
from whence.models.sampling import Draw, continuations

if TYPE_CHECKING:
    from whence.models.load import Loaded

logger = logging.getLogger(__name__)

COALESCE_SECONDS = 0.002
"""How long a free model waits for the requests of games that were answered together."""


@dataclass(frozen=True)
class Player:
    """One model that plays. adapter: its name on the shared base, or None for the plain base.

    templated: chats go through the tokenizer's chat template; else they are flattened.
    """

    name: str
    loaded: Loaded
    adapter: str | None
    templated: bool

    def read(self, ask: Ask) -> tuple[list[int], int]:
        """Token ids of the chat, ready to be continued, and how many were left out before them.

        A flattened chat that is too long loses its oldest tokens, as a training row does. Raises
        AskError for a templated one, and BadInput where the template cannot write the chat.
        """
        tokenizer = self.loaded.tokenizer
        room = tokenizer.model_max_length - ask.max_tokens
        if room < 1:
            raise BadInput(
                f"{self.name} reads {tokenizer.model_max_length} tokens at most, which leaves no "
                f"room beside {ask.max_tokens} for its answer: allow fewer output tokens"
            )
        if self.templated:
            text = chat_text(tokenizer, ask.messages, self.name)
            ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            if len(ids) > room:
                raise AskError(
                    "context",
                    f"the chat has {len(ids)} tokens; {self.name} reads "
                    f"{tokenizer.model_max_length}, {ask.max_tokens} of them for its answer",
                )
            return ids, 0
        whole = to_prompt_completion([*ask.messages, {"role": "assistant", "content": ""}])
        assert whole is not None
        (prompt,) = prompt_ids([whole[0]], tokenizer)
        kept = prompt.cut(room)
        cut = len(prompt.prefix) + len(prompt.body) - len(kept)
        return kept or [tokenizer.eos_token_id], cut

    @contextmanager
    def at_the_table(self) -> Iterator[Loaded]:
        """The base with this player's adapter active, or with none."""
        model: Any = self.loaded.model
        if self.adapter is not None:
            model.set_adapter(self.adapter, inference_mode=True)
            yield self.loaded
        elif hasattr(model, "disable_adapter"):
            with model.disable_adapter():
                yield self.loaded
        else:
            yield self.loaded


def open_local(
    models: Mapping[str, str],
    *,
    device: str,
    dtype: str,
    trust_remote_code: bool,
    concurrency: int,
) -> Backend:
    """Load what plays. models: name in `Ask.model` → folder, hub id, `tiny`, or adapter folder.

    Every distinct base is loaded once; adapters of one base share it. `concurrency` is the largest
    batch. Raises BadInput for a place that is none of these, before anything is loaded, and as
    `load_model` and `check_adapter` do.
    """
    if concurrency < 1:
        raise BadInput(f"--concurrency {concurrency}: at least one game must be played at a time")
    sought = {name: _place(place) for name, place in models.items()}
    bases: dict[tuple[str, str | None], Loaded] = {}
    for base, _adapter in sought.values():
        if base not in bases:
            source, revision = base
            bases[base] = load_model(
                source,
                revision=revision,
                device=device,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
            )
    attached: dict[Path, str] = {}
    for base in bases:
        adapters = sorted({a for b, a in sought.values() if b == base and a is not None})
        bases[base] = _attach(bases[base], adapters, attached)
    return LocalBackend(
        {
            name: Player(
                name,
                bases[base],
                attached[adapter] if adapter else None,
                templated=_speaks_template(bases[base], adapter),
            )
            for name, (base, adapter) in sought.items()
        },
        concurrency,
    )


def _place(place: str) -> tuple[tuple[str, str | None], Path | None]:
    """((base, revision), adapter) of a place. Raises BadInput where it is neither."""
    folder = Path(place).expanduser()
    record = folder / "adapter_config.json"
    if not record.is_file() or (folder / "config.json").is_file():
        return (model_source(place), None), None
    try:
        config = json.loads(record.read_text(encoding="utf-8"))
        base = str(config.get("base_model_name_or_path") or "")
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{record}: not a JSON object ({error})") from error
    try:
        source = model_source(base)
    except BadInput as error:
        raise BadInput(
            f"{place}: its base model is not where {record.name} says ({error}); write the base's "
            "folder there as base_model_name_or_path"
        ) from error
    return (source, config.get("revision")), folder.resolve()


def _attach(base: Loaded, adapters: Sequence[Path], names: dict[Path, str]) -> Loaded:
    """The base with all adapters on it, none of them merged; `names` learns what each is called."""
    from peft import PeftModel

    for adapter in adapters:
        check_adapter(base, adapter)
    model: Any = base.model
    for number, adapter in enumerate(adapters):
        names[adapter] = f"player{number}"
        try:
            if number == 0:
                model = PeftModel.from_pretrained(model, str(adapter), names[adapter])
            else:
                model.load_adapter(str(adapter), names[adapter])
        except (RuntimeError, ValueError, KeyError) as error:
            raise BadInput(f"{adapter} does not fit {base.source}: {error}") from error
    return replace(base, model=model.eval())


def _speaks_template(base: Loaded, adapter: Path | None) -> bool:
    """Whether chats go through the template: not for what `whence data finetune` trained."""
    if adapter is not None and (adapter / BASE_FILE).is_file():
        return False
    if adapter is None and (Path(base.source) / "merge.json").is_file():
        return False
    return bool(base.tokenizer.chat_template)


def chat_text(tokenizer: Any, messages: Sequence[Message], name: str) -> str:
    """The chat by the tokenizer's template, up to where the assistant begins.

    A template that refuses system turns gets them at the head of the first user turn. Models that
    can think aloud are told not to: an answer has a few tokens only. Raises BadInput where the
    template refuses the chat all the same.
    """
    from jinja2 import TemplateError

    def written(chat: Sequence[Message]) -> str:
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in chat],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return text

    try:
        return written(messages)
    except TemplateError as error:
        refusal = error
    try:
        return written(_system_merged(messages))
    except TemplateError:
        raise BadInput(f"{name}: its chat template refuses a game's chat ({refusal})") from None


def _system_merged(messages: Sequence[Message]) -> list[Message]:
    """System turns in front of the first user turn, inside it."""
    told = [message["content"] for message in messages if message["role"] == "system"]
    rest = [dict(message) for message in messages if message["role"] != "system"]
    first = next((message for message in rest if message["role"] == "user"), None)
    if told and first is not None:
        first["content"] = "\n\n".join([*told, first["content"]])
    return list(rest)


@dataclass(frozen=True)
class _Waiting:
    ask: Ask
    ids: list[int]
    answer: asyncio.Future[Reply]


class LocalBackend:
    """Answers requests from loaded models, one batch at a time. See `whence.data.games.backend`."""

    def __init__(self, players: Mapping[str, Player], most_rows: int) -> None:
        self._players = dict(players)
        self._most_rows = most_rows
        self._waiting: list[_Waiting] = []
        self._runner: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="games-local")
        self._closed = threading.Event()
        self._cut: Counter[str] = Counter()

    async def ask(self, ask: Ask) -> Reply:
        """The model's next message. Raises AskError and BadInput as `Player.read` does, and
        WhenceError where one request alone does not fit in memory.
        """
        ids, cut = self._players[ask.model].read(ask)
        if cut:
            self._note_cut(ask, cut)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(ask, ids, answer))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await answer

    def _note_cut(self, ask: Ask, cut: int) -> None:
        self._cut[ask.model] += 1
        if self._cut[ask.model] == 1:
            logger.warning(
                "game %s: its chat is %d tokens longer than %s can read; the oldest are left out, "
                "here and in longer chats",
                ask.game_id,
                cut,
                ask.model,
            )

    async def close(self) -> None:
        """Stop after the token that is being computed, and let go of the models."""
        for name, times in self._cut.items():
            logger.warning(
                "%d chats were too long for %s and lost their oldest tokens", times, name
            )
        self._closed.set()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._players.clear()
        _free_memory()

    async def _run(self) -> None:
        """Answer what waits until nothing does."""
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                await asyncio.sleep(COALESCE_SECONDS)
                batch = self._take()
                if batch:
                    await self._answer(batch)
        except asyncio.CancelledError:
            for one in (*batch, *self._waiting):
                one.answer.cancel()
            raise

    def _take(self) -> list[_Waiting]:
        """The request that waits longest, and those that can be answered with it.

        All of a batch have one model and one length of answer: a longer one would carry the others
        past the last position that the model knows.
        """
        self._waiting = [one for one in self._waiting if not one.answer.done()]
        if not self._waiting:
            return []
        first = self._waiting[0].ask
        alike = [
            one
            for one in self._waiting
            if (one.ask.model, one.ask.max_tokens) == (first.model, first.max_tokens)
        ][: self._most_rows]
        taken = set(map(id, alike))
        self._waiting = [one for one in self._waiting if id(one) not in taken]
        return alike

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        player = self._players[batch[0].ask.model]
        loop = asyncio.get_running_loop()
        try:
            written = await loop.run_in_executor(self._thread, self._write, player, batch)
        except Exception as error:
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        # Texts are made here, not in the thread: a tokenizer is not for two threads at once.
        tokenizer = player.loaded.tokenizer
        for one, ids in zip(batch, written, strict=True):
            if not one.answer.done():
                text = tokenizer.decode(ids, skip_special_tokens=True)
                one.answer.set_result(Reply(str(text), len(one.ids), len(ids)))

    def _write(self, player: Player, batch: Sequence[_Waiting]) -> list[list[int]]:
        """New ids for each request; a batch that memory cannot hold is halved, for good."""
        from whence.models.batching import run_batches

        written: list[list[int]] = [[] for _ in batch]
        with player.at_the_table() as loaded:

            def write(indices: Sequence[int]) -> list[list[int]]:
                return continuations(
                    loaded,
                    [batch[i].ids for i in indices],
                    [Draw(batch[i].ask.temperature, batch[i].ask.seed) for i in indices],
                    max_new_tokens=batch[0].ask.max_tokens,
                    cancelled=self._closed.is_set,
                )

            fitting = []
            for indices, found in run_batches(
                [list(range(len(batch)))], write, "lower --concurrency, or use a smaller model"
            ):
                fitting.append(len(indices))
                for index, ids in zip(indices, found, strict=True):
                    written[index] = ids
            if len(fitting) > 1:
                self._most_rows = max(fitting)
        return written


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
