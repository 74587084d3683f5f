"""Sweeps over any command with an output folder: each configuration is a task, run whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.runs.config import OutputConfig, not_identity, read_by_content, resolved
from whence.sweep.campaigns.campaign import Check, Cost, Effect
from whence.sweep.campaigns.contents import Contents, deciding, settled
from whence.sweep.campaigns.trial import Sample
from whence.sweep.settings import RankSettings
from whence.sweep.tasks import Task

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel


INSTRUMENTS = {
    "anchors train": "anchors",
    "anchors cv": "anchors",
    "heads sweep": "heads",
    "heads pairs": "heads",
    "heads partial": "heads",
    "heads patch": "heads",
}
"""Commands whose numbers the sweep reads without being told where they are."""


class Plain:
    """The campaign of a command of which the sweep knows only its settings.

    What decides is every setting that the command itself calls part of a run, and the content of
    every file and folder that they name. Numbers are read as `rank` says (`table` or `file`), or
    as the instrument writes them (`INSTRUMENTS`).
    """

    def __init__(self, command: str, rank: RankSettings) -> None:
        from whence.commands import COMMANDS, load

        self.command = command
        self._entry = COMMANDS[command]
        self.shape: type[BaseModel] = load(self._entry.config)
        if not issubclass(self.shape, OutputConfig):
            raise BadInput(
                f"command: `{command}` has no output_dir, which every configuration of a sweep "
                "needs one of"
            )
        by_table = rank.table is not None or rank.file is not None
        self._instrument = None if by_table else INSTRUMENTS.get(command)
        if not by_table and self._instrument is None:
            raise BadInput(
                f"rank: `{command}` is no command whose numbers the sweep knows; say rank.table or "
                "rank.file, its value, and higher_is_better"
            )
        self._contents = Contents()

    def values(self, key: str, word: str, base: Mapping[str, Any]) -> list[Any]:
        """No word stands for values here."""
        raise BadInput(f"{key}: {word!r} stands for no values of `{self.command}`; give a list")

    def expand(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """The settings as they are."""
        return settings

    def share_problems(
        self, configs: Sequence[Any], home: Path, overwrite: bool
    ) -> tuple[list[Any], Mapping[str, Any]]:
        """Refused: it takes a command that knows problems."""
        raise BadInput(f"share: `{self.command}` knows no problems that could be shared")

    def prepare(self, configs: Sequence[Any], home: Path, overwrite: bool) -> None:
        """Nothing."""

    def effect(self, config: Any) -> Effect:
        """Settings, and the content of what they name. Raises BadInput for what is not there."""
        shape = type(config)
        places = {name: getattr(config, name) for name in shape.model_fields}
        written = set(not_identity(config)) - read_by_content(shape)
        inputs: dict[str, Any] = {}
        read: set[str] = set()
        for name, value in places.items():
            if name in written:
                continue
            for path in _paths(value):
                if not path.exists():
                    raise BadInput(f"{name}: {path}: no such file or folder")
                inputs[f"{name} {len(inputs)}"] = self._content(name, path)
                read.add(str(path.absolute()))
            for word, path in _named(name, value):
                inputs[f"{name} {len(inputs)}"] = self._contents.of(path)
                read.add(word)
        return Effect({"settings": _by_content(deciding(config), read), "inputs": inputs})

    def tasks(self, runs: Mapping[str, Any], home: Path) -> list[Task]:
        """One a run, of the kind that is the command's last word."""
        return settled(
            [
                Task(
                    id=name,
                    label=f"{self.command} {name}",
                    kind=self.command.split()[-1],
                    config=self._entry.config,
                    function=self._entry.run,
                    settings=resolved(_from_anywhere(config)),
                    output=f"runs/{name}",
                )
                for name, config in runs.items()
            ],
            home,
        )

    def cost(self, configs: Sequence[Any], runs: Mapping[str, Any]) -> Cost:
        """Nothing but the number of runs is known."""
        return Cost(notes=(f"forward passes and trainings of `{self.command}`",))

    def samples(self, tasks: Sequence[Task], done: Set[str], folder: Path) -> list[Sample]:
        """None: a run of an unknown command cannot be tried in part."""
        return []

    def measured(self, output: Path, rank: RankSettings) -> pd.DataFrame:
        """By `rank.table` or `rank.file`; of commands of `INSTRUMENTS` by what they write."""
        if self._instrument == "anchors":
            from whence.sweep.campaigns.measures_anchors import measured_anchors

            return measured_anchors(output, rank)
        if self._instrument == "heads":
            from whence.sweep.campaigns.measures_heads import measured_heads

            return measured_heads(output, rank)
        from whence.sweep.campaigns.measures_table import measured_table

        return measured_table(output, rank)

    def checks(self, output: Path) -> list[Check]:
        """Those of the instrument, where the command is one of `INSTRUMENTS`."""
        if self._instrument == "anchors":
            from whence.sweep.campaigns.checks_anchors import checks_anchors

            return checks_anchors(output)
        if self._instrument == "heads":
            from whence.sweep.campaigns.checks_heads import checks_heads

            return checks_heads(output)
        return []

    def _content(self, name: str, path: Path) -> Any:
        """The content of an input; also of the rows that a manifest points to, and of the split
        file that `whence heads` finds beside a corpus."""
        if name == "corpus":
            split = path.parent.parent / "splits" / f"{path.stem}.split.json"
            return [self._contents.of(each) for each in (path, split) if each.is_file()]
        if name != "manifest":
            return self._contents.of(path)
        from whence.runs.manifest import load_manifest

        manifest = load_manifest(path)
        splits = {split.name: self._contents.of(split.path) for split in manifest.splits.values()}
        return {"manifest": self._contents.of(manifest.path), "splits": splits}


MODELS = ("model", "base_model", "model_name", "embedding_model")
"""Settings by which commands name a model: `tiny`, a folder, or a hub id."""
WORDS = (*MODELS, "encoder", "text_encoder", "tokenizer", "sae_path", "instances")
"""All settings that are words and may name a file or folder, whose content counts there too."""


def _named(name: str, value: Any) -> list[tuple[str, Path]]:
    """(word, what is there) of a setting of `WORDS`. Raises BadInput for a model's folder that is
    not there."""
    from whence.models.load import model_source

    found = []
    for word in _words(value) if name in WORDS else ():
        place = Path(model_source(word) if name in MODELS else word).expanduser()
        if place.exists():
            found.append((word, place))
    return found


def _from_anywhere(config: BaseModel) -> BaseModel:
    """The same, with words that name a folder or file here as absolute paths."""
    update: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        words = [_absolute(word) for word in _words(value)] if name in WORDS else []
        if words:
            update[name] = words[0] if isinstance(value, str) else tuple(words)
    return config.model_copy(update=update)


def _absolute(word: str) -> str:
    place = Path(word).expanduser()
    return str(place.absolute()) if word != "tiny" and place.exists() else word


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [word for word in value if isinstance(word, str)] if isinstance(value, tuple) else []


def _paths(value: Any) -> list[Path]:
    """Every path in a setting, nested models, lists and mappings included."""
    if isinstance(value, Path):
        return [value]
    if isinstance(value, Mapping):
        return [path for item in value.values() for path in _paths(item)]
    if isinstance(value, list | tuple):
        return [path for item in value for path in _paths(item)]
    if hasattr(type(value), "model_fields"):
        return [path for name in type(value).model_fields for path in _paths(getattr(value, name))]
    return []


def _by_content(value: Any, read: set[str]) -> Any:
    """Settings, with `path` for what is `read`: its content says more, and moves with it."""
    if isinstance(value, Mapping):
        return {key: _by_content(item, read) for key, item in value.items()}
    if isinstance(value, list):
        return [_by_content(item, read) for item in value]
    return "path" if isinstance(value, str) and value in read else value
