"""Fixtures of the tests of games: a misbehaving endpoint, and a few words to play with."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import Endpoint


@pytest.fixture(scope="session")
def _endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def endpoint(_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """The server, well-behaved and having seen nothing; no key in the environment."""
    for name in ("OPENROUTER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    _endpoint.set()
    return _endpoint


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt here and in new processes, also where the tests run in the
    background, whose jobs do not hear it.
    """
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


WORDS = ("winter", "river", "garden", "castle", "doctor", "guitar", "window", "candle")


@pytest.fixture
def words_file(tmp_path: Path) -> Path:
    """Eight words in two experiments, without prompts of their own."""
    half = len(WORDS) // 2
    experiments = [
        {
            "name": name,
            "max_turns": 3,
            "game_instances": [
                {"game_id": i, "target_word": word, "related_word": ["cold", "snow"]}
                for i, word in enumerate(words)
            ],
        }
        for name, words in (("high_en", WORDS[:half]), ("low_en", WORDS[half:]))
    ]
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"experiments": experiments}))
    return path
