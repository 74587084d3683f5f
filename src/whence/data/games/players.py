"""Who plays: one describer, some guessers, and for local play where their models lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.errors import BadInput


@dataclass(frozen=True)
class Players:
    """Names as games and tables have them. places: name → folder, hub id or tiny; empty where an
    endpoint knows the names.
    """

    describer: str
    guessers: Sequence[str]
    places: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """What a record keeps of local players: their folders (hashed), or their hub ids.

        Raises BadInput for a place that holds neither a model nor an adapter.
        """
        return {f"model {name}": _identity(place) for name, place in self.places.items()}


def players_of(
    backend: str, model: str | None, describer: str | None, guessers: Sequence[str]
) -> Players:
    """The players that the flags name. model: who plays every part that is not named, locally.

    Raises BadInput for a part that nobody plays, a guesser named twice, and one name for two
    places.
    """
    local = backend == "local"
    if model is not None and not local:
        raise BadInput(
            "--model is for --backend local; an endpoint's players are named with "
            "--describer-model and --guesser-models"
        )
    describer = describer or model
    guessers = tuple(guessers) or ((model,) if model else ())
    or_model = " or --model" if local else ""
    if not describer or not describer.strip():
        raise BadInput(f"nobody describes: give --describer-model{or_model}")
    if not guessers or not all(guesser.strip() for guesser in guessers):
        raise BadInput(f"nobody guesses: give --guesser-models{or_model}")
    parts = [_named(given) if local else (given, given) for given in (describer, *guessers)]
    places: dict[str, str] = {}
    for name, place in parts:
        if places.setdefault(name, place) != place:
            raise BadInput(f"{name} is the name of two models, {places[name]} and {place}")
    names = [name for name, _ in parts]
    for name in names[1:]:
        if names[1:].count(name) > 1:
            raise BadInput(f"--guesser-models: {name} is named twice; once is enough")
    return Players(names[0], tuple(names[1:]), places if local else {})


def _named(given: str) -> tuple[str, str]:
    """(name, place) of NAME=PLACE, or of a place that is its own name."""
    name, equals, place = given.partition("=")
    if equals and name.strip() and place.strip() and "/" not in name:
        return name.strip(), place.strip()
    return given, given


def _identity(place: str) -> Any:
    from whence.models.load import model_source

    folder = Path(place).expanduser()
    if (folder / "adapter_config.json").is_file():
        return folder
    source = model_source(place)
    return Path(source) if Path(source).is_dir() else source
