"""Players behind an OpenAI-compatible endpoint: `POST {base_url}/chat/completions`.

Failures that pass (408, 409, 425, 429, 5xx, dropped connections, silence, answers that are no
answer) are tried again after a wait; those that do not pass end the run at once, in one line. The
key is read from the environment, goes into one header, and is cut out of whatever the server says.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from whence.data.games.backend import Ask, AskError, Backend, Reply
from whence.data.games.ledger import UNREACHABLE, Ledger
from whence.data.games.waiting import retry_after, wait_before_retry
from whence.errors import BadInput

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

KEYS = ("OPENROUTER_API_KEY", "OPENAI_API_KEY")
PASSING = frozenset({408, 409, 425, 429})
OF_ONE_REQUEST = frozenset({400, 403, 413, 422})
"""Refusals that may be about this chat alone (its length, its content) once the model answered."""
ADVICE = {
    401: "the key is not accepted",
    402: "there is no credit left",
    403: "the key may not use it",
    404: "there is no such model or address",
}
SHOWN = 200
"""Characters of a server's own words that are shown."""
SHORTEST_SECRET = 8
"""Characters from which on a key is cut out of what is shown; a shorter one ("none", "x") is there
to fill the header, and may be part of any word.
"""


class FailedRequest(Exception):  # noqa: N818 (as AskError, it is of one request)
    """One attempt that may be tried again. label: what it is counted as. cause: an AskError's."""

    def __init__(self, cause: str, label: str, detail: str, wait: float | None = None) -> None:
        super().__init__(detail)
        self.cause, self.label, self.detail, self.retry_after = cause, label, detail, wait


def check_base_url(base_url: str) -> str:
    """The address, no slash at its end. Raises BadInput for what is none or holds a secret."""
    parts = urlsplit(base_url.strip())
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadInput(
            "--base-url holds a user, a password or a query, and would be written into the record; "
            f"give the plain address and the key in {KEYS[0]} or {KEYS[1]}"
        )
    try:
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = False
    if not valid:
        raise BadInput(
            f"--base-url {base_url}: expected http://… or https://…, as https://openrouter.ai/api/v1"
        )
    return base_url.strip().rstrip("/")


def is_loopback(base_url: str) -> bool:
    """Whether the address is this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def key_for(base_url: str, environment: Mapping[str, str] | None = None) -> SecretStr | None:
    """The key from the environment; None where there is none and this machine is asked.

    OpenAI's own address takes OPENAI_API_KEY alone: another house's key is not shown to it. Raises
    BadInput where a key is needed and absent, or cannot be sent. It is wrapped so that a traceback
    that shows variables does not show it.
    """
    from pydantic import SecretStr

    given = os.environ if environment is None else environment
    host = urlsplit(base_url).hostname or ""
    names = KEYS[1:] if host == "api.openai.com" else KEYS
    for name in names:
        key = given.get(name, "").strip()
        if key:
            if not key.isascii() or not key.isprintable() or " " in key:
                raise BadInput(f"{name}: holds characters that no key has; set it again")
            return SecretStr(key)
    if is_loopback(base_url):
        return None
    raise BadInput(
        f"no key for {base_url}: set {' or '.join(names)} in the environment "
        "(to any text where the server asks for none)"
    )


class OpenAIBackend(Backend):
    """An endpoint that is asked by `concurrency` games at a time. Close it when done."""

    def __init__(
        self,
        base_url: str,
        key: SecretStr | None,
        ledger: Ledger,
        *,
        concurrency: int,
        request_timeout: float,
        max_attempts: int,
    ) -> None:
        """request_timeout: seconds for one request, first byte to last. ledger: counts them.

        Raises BadInput for a proxy in the environment that cannot be used.
        """
        import httpx

        self._base_url, self._ledger = base_url, ledger
        self._seconds, self._max_attempts = request_timeout, max_attempts
        self._key = key
        self._reached = False
        self._answered: set[str] = set()
        limits = httpx.Limits(
            max_connections=concurrency + 4, max_keepalive_connections=concurrency + 4
        )
        try:
            self._client = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
                timeout=request_timeout,
                limits=limits,
                trust_env=not is_loopback(base_url),
            )
        except (ImportError, ValueError) as error:
            raise BadInput(
                f"{base_url}: the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names cannot be "
                f"used ({self._clean(error)}); unset it, or name an http:// one"
            ) from None

    async def ask(self, ask: Ask) -> Reply:
        """The model's next message.

        Raises AskError after the last attempt, or when the game's requests are spent; BadInput
        where the endpoint refuses the key or the model, or was never reached.
        """
        import tenacity

        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._max_attempts),
            wait=wait_before_retry,
            retry=tenacity.retry_if_exception_type(FailedRequest),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    return await self._once(ask, attempt.retry_state.attempt_number)
        except FailedRequest as failed:
            if failed.label == UNREACHABLE and not self._reached:
                raise BadInput(
                    f"cannot reach {self._base_url} ({failed.detail}, {self._max_attempts} "
                    "attempts); is the server running, and --base-url right?"
                ) from None
            raise AskError(failed.cause, f"{ask.model}: {failed.detail}") from None
        raise AssertionError("tenacity ended without a result")

    async def close(self) -> None:
        await self._client.aclose()

    async def _once(self, ask: Ask, attempt: int) -> Reply:
        self._ledger.sent(ask, attempt)
        try:
            response = await self._post(ask)
            self._reached = True
            reply = self._read(response, ask)
        except FailedRequest as failed:
            self._ledger.failed(ask, attempt, failed.label)
            raise
        except (AskError, BadInput) as refused:
            self._ledger.failed(ask, attempt, "refused")
            raise refused
        self._answered.add(ask.model)
        self._ledger.answered(ask, reply)
        return reply

    async def _post(self, ask: Ask) -> httpx.Response:
        import httpx

        body = {
            "model": ask.model,
            "messages": list(ask.messages),
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
            "seed": ask.seed,
        }
        try:
            async with asyncio.timeout(self._seconds):
                return await self._client.post(f"{self._base_url}/chat/completions", json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise FailedRequest("connection", UNREACHABLE, self._clean(error)) from None
        except (TimeoutError, httpx.TimeoutException):
            raise FailedRequest(
                "timeout", "timeout", f"no answer within {self._seconds:g} s"
            ) from None
        except httpx.TransportError as error:
            raise FailedRequest("connection", "connection", self._clean(error)) from None
        except httpx.RequestError as error:
            raise FailedRequest("bad_reply", "bad_reply", self._clean(error)) from None

    def _read(self, response: httpx.Response, ask: Ask) -> Reply:
        """The message in a response. Raises what its status, or the error in its body, means."""
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        status = response.status_code
        error = _error_in(body)
        if status == 200 and error is not None:
            code = error.get("code")
            status = code if isinstance(code, int) and 400 <= code < 600 else 502
        if status != 200:
            said = self._clean((error or {}).get("message") or response.reason_phrase)
            self._refuse(status, said, ask, retry_after(response.headers))
        try:
            message = body["choices"][0]["message"]
            text = _text(message.get("content"))
        except (TypeError, KeyError, IndexError, AttributeError):
            raise FailedRequest(
                "bad_reply", "bad_reply", "an answer that is no chat completion"
            ) from None
        usage = body.get("usage")
        return Reply(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))

    def _refuse(self, status: int, said: str, ask: Ask, wait: float | None) -> None:
        """Raise what a status other than 200 means for the request, the game or the run."""
        detail = f"HTTP {status}" + (f" ({said})" if said else "")
        if status in PASSING or status >= 500:
            cause = {408: "timeout", 429: "rate_limit"}.get(status, "server_error")
            raise FailedRequest(cause, str(status), detail, wait)
        if status in OF_ONE_REQUEST and ask.model in self._answered:
            raise AskError("refused", f"{ask.model}: {detail}")
        advice = ADVICE.get(status, "the request is refused")
        raise BadInput(f"{self._base_url}, model {ask.model}: {advice}; {detail}")

    def _clean(self, said: object) -> str:
        """A server's or library's words, short, on one line, and without the key."""
        text = " ".join(str(said).split()) or type(said).__name__
        if self._key is not None and len(self._key) >= SHORTEST_SECRET:
            text = text.replace(self._key.get_secret_value(), "[key]")
        return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _error_in(body: Any) -> Mapping[str, Any] | None:
    """The error object of a body, at its top or in its first choice; OpenRouter sends both."""
    if not isinstance(body, Mapping):
        return None
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, Sequence) and choices else None
    for place in (body, first):
        found = place.get("error") if isinstance(place, Mapping) else None
        if isinstance(found, Mapping):
            return found
        if isinstance(found, str) and found:
            return {"message": found}
    return None


def _text(content: Any) -> str:
    """Content as text: a string, a list of parts, or nothing. Raises TypeError for others."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = (part.get("text", "") if isinstance(part, Mapping) else "" for part in content)
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise TypeError
    # JSON can hold half a character (a lone surrogate), which no file can.
    return content.encode("utf-8", "replace").decode()


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and value > 0 else 0
