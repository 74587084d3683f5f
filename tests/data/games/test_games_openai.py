"""The client against a real endpoint on loopback: what is retried, refused and said."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fault_server import Endpoint
from pydantic import SecretStr

from whence.data.games import openai
from whence.data.games.backend import Ask, AskError, Reply
from whence.data.games.ledger import Ledger
from whence.data.games.obtain import obtain_instances
from whence.data.games.openai import OpenAIBackend, check_base_url, is_loopback, key_for
from whence.errors import BadInput

DESCRIBE = [{"role": "user", "content": "The target word is:\n\nwinter\n"}]


def ask_for(model: str = "describer", seed: int = 1, game: str = "g") -> Ask:
    return Ask(game, model, DESCRIBE, 40, 0.7, seed)


@pytest.fixture
def asked(
    endpoint: Endpoint, tmp_path: Path
) -> Callable[..., tuple[list[Reply | BaseException], Ledger]]:
    """Replies (or errors) of requests sent at once, and the ledger of it."""

    def send(
        asks: Sequence[Ask], url: str | None = None, key: str | None = None, **settings: Any
    ) -> tuple[list[Reply | BaseException], Ledger]:
        ledger = Ledger(tmp_path / "ledger.tsv", most=settings.pop("most", 99))

        async def run() -> list[Reply | BaseException]:
            given = {"concurrency": 8, "request_timeout": 5.0, "max_attempts": 6, **settings}
            secret = None if key is None else SecretStr(key)
            backend = OpenAIBackend(url or endpoint.url, secret, ledger, **given)
            try:
                return await asyncio.gather(*map(backend.ask, asks), return_exceptions=True)
            finally:
                await backend.close()

        return asyncio.run(run()), ledger

    return send


def test_a_reply_and_its_tokens(asked: Any, endpoint: Endpoint) -> None:
    (reply,), ledger = asked([ask_for()])
    assert reply.text.startswith("CLUE: riddle ")
    total = ledger.total()
    assert (total.sent, total.retries, total.answered) == (1, 0, 1)
    assert endpoint.stats()["tokens"] == {
        "describer": [reply.prompt_tokens, reply.completion_tokens]
    }


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("http_500", "500"),
        ("error_in_200", "502"),
        ("drop", "connection"),
        ("not_json", "bad_reply"),
        ("no_choices", "bad_reply"),
        ("stall", "timeout"),
    ],
)
def test_what_passes_is_sent_again(asked: Any, endpoint: Endpoint, kind: str, label: str) -> None:
    endpoint.set(faults={kind: 1.0}, most_in_a_row=1, stall=1.0)
    (reply,), ledger = asked([ask_for()], request_timeout=0.5)
    assert isinstance(reply, Reply), reply
    assert (ledger.total().sent, ledger.total().retries) == (2, 1)
    assert ledger.failures == {label: 1}
    assert endpoint.stats()["requests"] == 2


def test_an_answer_that_only_drips_is_given_up(tmp_path: Path) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
        for _ in range(60):
            writer.write(b" ")
            await asyncio.sleep(0.05)
        writer.close()

    async def run() -> None:
        ledger = Ledger(tmp_path / "ledger.tsv", most=9)
        async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            backend = OpenAIBackend(
                url, None, ledger, concurrency=1, request_timeout=0.3, max_attempts=1
            )
            with pytest.raises(AskError, match=r"^timeout: .* no answer within 0.3 s"):
                await backend.ask(ask_for())
            await backend.close()

    asyncio.run(run())


def test_retry_after_is_waited_for(asked: Any, endpoint: Endpoint) -> None:
    endpoint.set(faults={"http_429": 1.0}, most_in_a_row=1, retry_after=0.7)
    replies, ledger = asked([ask_for(seed=i) for i in range(4)])
    assert all(isinstance(reply, Reply) for reply in replies)
    waits = endpoint.stats()["waits"]
    assert len(waits) == 4
    assert all(0.7 <= wait < 3 for wait in waits), waits
    assert ledger.failures == {"429": 4}


def test_after_the_last_attempt_the_game_is_given_up_not_the_run(
    asked: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whence.data.games.waiting.FIRST", 0.01)
    endpoint.set(faults={"http_500": 1.0}, most_in_a_row=99)
    (error,), ledger = asked([ask_for()], max_attempts=3)
    assert isinstance(error, AskError)
    assert str(error) == "server_error: describer: HTTP 500 (Internal Server Error)"
    assert (ledger.total().sent, ledger.total().retries) == (3, 2)


def test_this_machine_is_asked_past_any_proxy(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (reply,), _ = asked([ask_for()], max_attempts=1)
    assert isinstance(reply, Reply), reply


def test_an_empty_message_is_a_reply(asked: Any, endpoint: Endpoint) -> None:
    endpoint.set(faults={"null": 1.0})
    (reply,), _ = asked([ask_for()])
    assert reply == Reply("", reply.prompt_tokens, reply.completion_tokens)


def test_a_games_requests_are_spent_in_the_middle_of_retries(
    asked: Any, endpoint: Endpoint
) -> None:
    endpoint.set(faults={"http_429": 1.0}, most_in_a_row=99, retry_after=0.01)
    (error,), ledger = asked([ask_for()], most=2)
    assert isinstance(error, AskError)
    assert error.cause == "budget_requests"
    assert ledger.total().sent == endpoint.stats()["requests"] == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 301])
def test_refusals_end_the_run_in_one_line_without_the_key(
    asked: Any, endpoint: Endpoint, status: int
) -> None:
    endpoint.set(status={"describer": status})
    (error,), _ = asked([ask_for()], key="sk-very-secret")
    assert isinstance(error, BadInput)
    assert "describer" in str(error)
    assert endpoint.url in str(error)
    assert str(status) in str(error)
    assert "secret" not in str(error)
    assert "\n" not in str(error)
    assert endpoint.stats()["requests"] == 1


def test_a_model_that_has_answered_may_refuse_one_chat(endpoint: Endpoint, tmp_path: Path) -> None:
    async def run() -> None:
        ledger = Ledger(tmp_path / "ledger.tsv", 9)
        backend = OpenAIBackend(
            endpoint.url, None, ledger, concurrency=1, request_timeout=1, max_attempts=1
        )
        await backend.ask(ask_for())
        endpoint.set(status={"describer": 400})
        with pytest.raises(AskError, match=r"^refused: describer: HTTP 400"):
            await backend.ask(ask_for())
        endpoint.set(status={"describer": 401})
        with pytest.raises(BadInput, match="key is not accepted"):
            await backend.ask(ask_for())
        await backend.close()

    asyncio.run(run())


def test_a_server_that_is_not_there(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whence.data.games.waiting.FIRST", 0.01)
    (error,), ledger = asked([ask_for()], url="http://127.0.0.1:9/v1", max_attempts=3)
    assert isinstance(error, BadInput)
    assert "cannot reach http://127.0.0.1:9/v1" in str(error)
    assert ledger.total().sent == 0, "what never left this machine is no request"
    assert ledger.failures == {"unreachable": 3}


def test_the_key_is_sent_and_shown_nowhere(
    asked: Any, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.set(key="sk-right", faults={"http_500": 0.5}, most_in_a_row=1)
    replies, ledger = asked([ask_for(seed=i) for i in range(4)], key="sk-right")
    assert all(isinstance(reply, Reply) for reply in replies)
    assert endpoint.stats()["keys"] == ["Bearer sk-right"]
    (error,), _ = asked([ask_for()], key="sk-wrong")
    assert "[key]" in str(error), "the server repeated it"
    assert "sk-" not in caplog.text + ledger.path.read_text() + str(error) + repr(error)


def test_a_traceback_that_shows_variables_shows_no_key(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    given = key_for("https://api.openai.com/v1")
    assert "sk-" not in f"{given!r} {given}"
    monkeypatch.setattr("whence.data.games.waiting.FIRST", 0.01)
    (error,), _ = asked([ask_for()], url="http://127.0.0.1:1/v1", key="sk-right", max_attempts=2)
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    written = "".join(shown.format())
    assert "    ask = Ask(" in written, "variables are shown"
    assert "sk-" not in written


def test_a_key_that_is_no_secret_spoils_no_message(asked: Any, endpoint: Endpoint) -> None:
    endpoint.set(key="sk-right")
    (error,), _ = asked([ask_for()], key="e")
    assert "(Incorrect API key provided: e)" in str(error)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "what://me:secret@127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_said(
    asked: Any, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(
        BadInput, match=r"the proxy that .* ALL_PROXY names cannot be used"
    ) as caught:
        asked([ask_for()], url="https://192.0.2.1/v1", key="sk-right")
    assert "secret@" not in str(caught.value)
    with pytest.raises(BadInput, match="cannot be fetched") as caught:
        obtain_instances("https://192.0.2.1/i.json", Path("G"))
    assert "secret@" not in str(caught.value)


def replied(content: bytes, status: int = 200) -> Any:
    """What the client makes of a response with this body."""
    backend = object.__new__(OpenAIBackend)
    backend._base_url, backend._key, backend._answered = "http://x/v1", None, set()
    return backend._read(httpx.Response(status, content=content), ask_for())


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "a"}, "a"),
        ({"content": None}, ""),
        ({"content": None, "reasoning": "hm"}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}, "ab"),
        ({}, ""),
        ({"content": "half a character \ud83d"}, "half a character ?"),
    ],
)
def test_contents_of_all_kinds(message: Any, text: str) -> None:
    body = json.dumps({"choices": [{"message": message}], "usage": None}).encode()
    assert replied(body) == Reply(text, 0, 0)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'"x"', b'{"choices": null}', b'{"choices": [null]}', b"\xff\xfe",
     b'{"choices": [{"message": {"content": 5}}]}', b"[" * 100_000],
)  # fmt: skip
def test_answers_that_are_none(body: bytes) -> None:
    with pytest.raises(openai.FailedRequest) as caught:
        replied(body)
    assert caught.value.cause == "bad_reply"


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]:8000/v1", True),
        ("https://openrouter.ai/api/v1", False),
        ("http://127.0.0.1.example.com/v1", False),
        ("http://10.0.0.1/v1", False),
    ],
)
def test_loopback(url: str, ours: bool) -> None:
    assert is_loopback(url) is ours


@pytest.mark.parametrize(
    "url",
    ["openrouter.ai/api", "ftp://x/v1", "http://", "", "http://x:port/v1", "https://u:secret@x/v1",
     "https://x/v1?key=secret", "https://secret@x/v1", "https://x/v1#secret"],
)  # fmt: skip
def test_addresses_that_are_none_or_hold_a_secret(url: str) -> None:
    with pytest.raises(BadInput, match=r"^--base-url") as caught:
        check_base_url(url)
    assert "secret" not in str(caught.value)


def test_an_address_loses_its_last_slash() -> None:
    assert check_base_url(" http://x:1/v1/ ") == "http://x:1/v1"


def test_which_key_is_taken() -> None:
    def taken(url: str, environment: dict[str, str]) -> str:
        key = key_for(url, environment)
        assert key is not None
        return key.get_secret_value()

    both = {"OPENROUTER_API_KEY": "router", "OPENAI_API_KEY": "open"}
    assert taken("https://openrouter.ai/api/v1", both) == "router"
    assert taken("https://my.server/v1", both) == "router"
    assert taken("https://api.openai.com/v1", both) == "open"
    assert taken("https://my.server/v1", {"OPENAI_API_KEY": " open\n"}) == "open"
    assert key_for("http://127.0.0.1:1/v1", {}) is None
    with pytest.raises(BadInput, match=r"no key for https://my.server/v1"):
        key_for("https://my.server/v1", {"OPENROUTER_API_KEY": " "})
    with pytest.raises(BadInput, match="OPENAI_API_KEY in the environment") as caught:
        key_for("https://api.openai.com/v1", {"OPENROUTER_API_KEY": "router"})
    assert "router" not in str(caught.value)
    with pytest.raises(BadInput, match="characters that no key has") as caught:
        key_for("https://my.server/v1", {"OPENAI_API_KEY": "sk-a\nb"})
    assert "sk-a" not in str(caught.value)
