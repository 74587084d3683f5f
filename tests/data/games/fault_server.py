"""An OpenAI-compatible endpoint that plays taboo and misbehaves, in a process of its own.

    python fault_server.py '{"latency": 0.2, "faults": {"http_429": 0.05}}'

prints its port and serves until it is killed. Models `describer…` describe, `guesser…` guess; what
they say depends on the messages and the seed alone, what goes wrong on how often the very same
request was seen. `GET /stats` returns what was seen, `POST /settings` changes the settings.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TRANSPORT = ("http_429", "http_500", "drop", "not_json", "no_choices", "stall", "error_in_200")
SPOKEN = ("empty", "null", "no_prefix", "violation", "placeholder", "sentence")
DEFAULTS: dict[str, Any] = {
    "latency": 0.0,
    "faults": {},  # kind → share of requests
    "most_in_a_row": 3,  # transport faults of one request before it is answered
    "retry_after": 0.2,
    "stall": 2.0,
    "skill": {},  # model → share of right guesses; 0.5 else
    "stall_word": None,  # requests about this target stall, once each
    "status": {},  # model → HTTP status that it always gets
    "key": None,  # refuse requests that do not bear it
    "down_after": None,  # requests after which every one gets 500
}


class State:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = DEFAULTS | settings
        self.lock = threading.Lock()
        self.requests = 0
        self.repeated = 0
        self.open = 0
        self.most_open = 0
        self.kinds: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.tokens: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.seen: Counter[str] = Counter()
        self.clues: dict[str, str] = {}
        self.asked: dict[str, float] = {}
        self.waits: list[float] = []
        self.keys: set[str] = set()


def chance(*parts: object) -> float:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def answer(state: State, body: dict[str, Any], spoken: str | None) -> str:
    """What the model says. spoken: how it goes wrong, if it does."""
    messages, model, seed = body["messages"], body["model"], body["seed"]
    first = messages[0]["content"]
    if model.startswith("describer"):
        found = re.search(
            r"(?:need to describe|target word is)[^\n]*\n+(?:[^\n]*guess:\n+)?(\S+)", first
        )
        target = found.group(1) if found else "unknown"
        clue = f"riddle {int(chance(seed, target) * 10**7):07d}"
        state.clues[clue] = target
        if spoken == "violation":
            return f"CLUE: it is a kind of {target}s"
        if spoken == "empty":
            return ""
        return clue if spoken == "no_prefix" else f"CLUE: {clue}"
    clue = re.findall(r"riddle \d{7}", " ".join(m["content"] for m in messages))[-1]
    target = state.clues.get(clue, "unknown")
    right = chance(model, target, seed) < state.settings["skill"].get(model, 0.5)
    word = target if right else f"wrong{'abcdefghij'[int(chance(seed) * 10)]}"
    if spoken == "placeholder":
        return "GUESS: word" if target != "word" else "GUESS: guess"
    if spoken == "sentence":
        return "GUESS: I really cannot say"
    if spoken == "empty":
        return "  "
    return f"**{word.upper()}**" if spoken == "no_prefix" else f"GUESS: {word}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: sent apart, the second waits 40 ms for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    state: State

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        s = self.state
        with s.lock:
            found = {
                "requests": s.requests, "repeated": s.repeated, "kinds": s.kinds,
                "models": s.models, "tokens": s.tokens, "waits": s.waits,
                "most_open": s.most_open, "keys": sorted(s.keys),
            }  # fmt: skip
            self._send(200, json.dumps(found).encode())

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/settings":
            self.state.__init__(json.loads(content))  # type: ignore[misc]
            self._send(200, b"{}")
            return
        arrived = time.monotonic()
        body = json.loads(content)
        s, settings = self.state, self.state.settings
        digest = hashlib.sha256(content).hexdigest()
        with s.lock:
            s.requests += 1
            s.models[body["model"]] += 1
            number, s.seen[digest] = s.seen[digest], s.seen[digest] + 1
            s.repeated += number > 0
            s.open += 1
            s.most_open = max(s.most_open, s.open)
            s.keys.add(self.headers.get("Authorization", ""))
            if digest in s.asked:
                s.waits.append(arrived - s.asked.pop(digest))
            requests = s.requests
        try:
            self._misbehave_or_answer(body, digest, number, requests, settings)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with s.lock:
                s.open -= 1

    def _misbehave_or_answer(
        self,
        body: dict[str, Any],
        digest: str,
        number: int,
        requests: int,
        settings: dict[str, Any],
    ) -> None:
        s = self.state
        time.sleep(settings["latency"])
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if settings["key"] is not None and key != settings["key"]:
            self._fail(401, "401", f"Incorrect API key provided: {key}")
            return
        always = settings["status"].get(body["model"])
        if always:
            self._fail(always, str(always), f"no {body['model']} here; your key was {key}")
            return
        if settings["down_after"] is not None and requests > settings["down_after"]:
            self._fail(500, "down", "down")
            return
        word = settings["stall_word"]
        if word and number == 0 and f"\n{word}\n" in body["messages"][0]["content"]:
            time.sleep(settings["stall"])
        kind = self._kind(digest, number, settings)
        with s.lock:
            s.kinds[kind or "answered"] += 1
        if kind in TRANSPORT:
            self._transport_fault(kind, digest, settings)
            return
        text: Any = answer(s, body, kind)
        tokens = (sum(len(m["content"]) for m in body["messages"]) // 4, len(text) // 4)
        with s.lock:
            total = s.tokens[body["model"]]
            total[0] += tokens[0]
            total[1] += tokens[1]
        if kind == "null":
            text = None
        elif number % 2:
            text = [{"type": "text", "text": text}]
        reply = {
            "choices": [{"message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]},
        }
        self._send(200, json.dumps(reply).encode())

    def _kind(self, digest: str, number: int, settings: dict[str, Any]) -> str | None:
        draw, edge = chance(digest, number), 0.0
        for kind, share in settings["faults"].items():
            edge += share
            if draw < edge:
                return None if kind in TRANSPORT and number >= settings["most_in_a_row"] else kind
        return None

    def _transport_fault(self, kind: str, digest: str, settings: dict[str, Any]) -> None:
        if kind == "http_429":
            with self.state.lock:
                self.state.asked[digest] = time.monotonic()
            error = json.dumps({"error": {"message": "slow down", "code": 429}}).encode()
            self._send(429, error, {"Retry-After": str(settings["retry_after"])})
        elif kind == "http_500":
            self._send(500, b"<html>oops</html>")
        elif kind == "drop":
            self.close_connection = True
            self.connection.close()
        elif kind == "not_json":
            self._send(200, b"<html>busy</html>")
        elif kind == "no_choices":
            self._send(200, b'{"id": "x", "choices": []}')
        elif kind == "error_in_200":
            self._send(200, b'{"error": {"message": "upstream overloaded", "code": 502}}')
        elif kind == "stall":
            time.sleep(settings["stall"])
            self._send(500, b"{}")

    def _fail(self, status: int, kind: str, message: str) -> None:
        with self.state.lock:
            self.state.kinds[kind] += 1
        self._send(status, json.dumps({"error": {"message": message}}).encode())

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Endpoint:
    """The fault server in a process of its own. url: the --base-url."""

    def __init__(self) -> None:
        script = Path(__file__)
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.root = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.url = f"{self.root}/v1"

    def set(self, **settings: Any) -> None:
        """Forget what was seen, and behave like this from now on."""
        data = json.dumps(settings).encode()
        urllib.request.urlopen(f"{self.root}/settings", data=data).close()

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.root}/stats") as response:
            found: dict[str, Any] = json.load(response)
        return found


def main() -> None:
    Handler.state = State(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
