"""`whence games generate`: models play taboo, and every game becomes a training row.

    instances → schedule → games, many at once → games.jsonl → rows, summary

A game is one line of `games.jsonl`, written when it ends; a run that is killed goes on with the
games that have none. The players answer through an OpenAI-compatible endpoint, or run here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.evaluate.guesses import plain_word
from whence.data.games.backend import Backend
from whence.data.games.checkpoints import GAMES, ROWS, ROWS_FOLDER, SUMMARY, Books
from whence.data.games.obtain import KEPT, obtain_instances
from whence.data.games.openai import OpenAIBackend, check_base_url, key_for
from whence.data.games.play import Asking, Manner
from whence.data.games.players import Players, players_of
from whence.data.games.schedule import Game, schedule
from whence.data.games.settings import GenerateConfig
from whence.data.games.tournament import Limits, counted, play_games, to_the_end
from whence.errors import BadInput, WhenceError
from whence.runs.atomic import write_text
from whence.runs.config import not_identity, resolved
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json
from whence.runs.progress import Progress
from whence.runs.store import open_run

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["GenerateConfig", "GenerateResult", "Stopped", "generate"]


class Stopped(WhenceError):  # noqa: N818 (the run stopped; what stopped it is its message)
    """The endpoint or a model refused in the middle of a run, whose games are kept."""

    exit_code = 2


@dataclass(frozen=True)
class GenerateResult:
    """folder: where everything is. summary: `summary.json`."""

    folder: Path
    summary: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """How often the word was guessed, guesser by guesser, and what it took."""
        found = self.summary
        state = "already played" if self.done_before else "played"
        counts = found["outcome_counts"]
        errors = f" {counts['error']:,} failed by errors and are not counted." * bool(
            counts["error"]
        )
        files = {
            "training rows": self.folder / ROWS,
            "games": self.folder / GAMES,
            "summary": self.folder / SUMMARY,
        }
        if (self.folder / ROWS_FOLDER).is_dir():
            files["data set"] = self.folder / ROWS_FOLDER
        return Finding(
            headline=f"{found['games_written']:,} games {state}, {found['rows_written']:,} rows; "
            f"the word was guessed in {_said(found, 'success_rate')} of "
            f"{found['success_rate_of']:,}.{errors} {found['requests']:,} requests, "
            f"{found['retries']:,} of them repeated.",
            columns=("guesser", "games", "guessed", "turns", "failed", "aborted", "errors"),
            rows=[
                (
                    name,
                    f"{one['games']:,}",
                    _said(one, "success_rate"),
                    _said(one, "mean_turns"),
                    *(f"{one['outcome_counts'][o]:,}" for o in ("failure", "aborted", "error")),
                )
                for name, one in found["by_guesser"].items()
            ],
            files=files,
        )


def generate(config: GenerateConfig) -> GenerateResult:
    """Play the games that are not played yet, and write rows and summary when all are.

    Raises BadInput, before anything is played, for players, instances, an address or a key that
    will not do, and for an endpoint that refuses them or cannot be reached; Stopped where it does
    so later, Outage where it answers no more. After these two the same command goes on.
    """
    players = players_of(
        config.backend, config.model, config.describer_model, config.guesser_models
    )
    key = None
    if config.backend == "openai":
        config = config.model_copy(update={"base_url": check_base_url(config.base_url)})
        key = key_for(config.base_url)
    home = config.output_dir
    obtained = obtain_instances(config.instances, home)
    games = schedule(
        obtained.instances,
        describer=players.describer,
        guessers=players.guessers,
        games_per_guesser=config.games_per_guesser,
        max_turns=config.max_turns,
        seed=config.seed,
    )
    with open_run(
        home,
        command="games generate",
        config=config,
        inputs={"instances": obtained.recorded, **players.identity()},
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            if obtained.text is not None:
                write_text(run.folder / KEPT, obtained.text)
            books = Books(
                run.folder,
                run.scratch,
                games,
                _settings(config),
                most_requests=config.max_requests_per_game,
                every=config.checkpoint_every,
            )
            try:
                _play(config, players, key, books)
                books.finish(save_dataset=config.save_hf_dataset)
            except BadInput as error:
                if not books.finished:
                    raise
                raise Stopped(f"{error}; {books.finished:,} finished games are kept") from None
            finally:
                books.close()
    return GenerateResult(home, read_json(home / SUMMARY), run.done)


def _play(config: GenerateConfig, players: Players, key: SecretStr | None, books: Books) -> None:
    """Play what is left."""
    left = books.left
    if not left:
        return
    total = books.finished + len(left)
    with Progress("games", total, "games", books.finished) as progress:

        def finished(record: dict[str, Any]) -> None:
            books.enter(record)
            progress.advance()

        to_the_end(_play_left(config, players, key, books, left, finished))
    failed = books.failed_wholly()
    if failed is not None:
        raise WhenceError(
            f"every game failed, the first by {failed['error']}; run the same command again once "
            "the endpoint answers"
        )


async def _play_left(
    config: GenerateConfig,
    players: Players,
    key: SecretStr | None,
    books: Books,
    left: Sequence[Game],
    finished: Any,
) -> None:
    backend: Backend
    ask: Asking
    if config.backend == "openai":
        backend = OpenAIBackend(
            config.base_url,
            key,
            books.ledger,
            concurrency=config.concurrency,
            request_timeout=config.request_timeout,
            max_attempts=config.max_attempts,
        )
        ask = backend.ask
    else:
        from whence.data.games.local import open_local

        backend = open_local(
            players.places,
            device=config.device,
            dtype=config.dtype,
            trust_remote_code=config.trust_remote_code,
            concurrency=config.concurrency,
        )
        ask = counted(backend, books.ledger)
    limits = Limits(config.concurrency, config.max_seconds_per_game)
    try:
        await play_games(left, ask, books.ledger, _manner(config), limits, finished)
    finally:
        await backend.close()


def _manner(config: GenerateConfig) -> Manner:
    return Manner(
        seed=config.seed,
        strict=config.strict_taboo_rules,
        describer_temperature=config.describer_temperature,
        guesser_temperature=config.guesser_temperature,
        describer_tokens=config.describer_max_output_tokens,
        guesser_tokens=config.guesser_max_output_tokens,
        describer_repairs=config.describer_repair_attempts,
        guesser_repairs=config.guesser_repair_attempts,
        placeholders=frozenset(map(plain_word, config.placeholder_guess_words)),
    )


def _settings(config: GenerateConfig) -> dict[str, Any]:
    """What the games depend on, for the summary; no key is ever part of a configuration."""
    ignored = {*not_identity(config)} - {"base_url", "instances"}
    return {name: value for name, value in resolved(config).items() if name not in ignored}


def _said(found: Mapping[str, Any], name: str) -> str:
    """A mean with its interval, as people write it."""
    value, interval = found[name], found[f"{name}_interval"]
    if value is None:
        return "none"
    said = f"{value:.2f}"
    return said if interval is None else f"{said} [{interval[0]:.2f}, {interval[1]:.2f}]"
