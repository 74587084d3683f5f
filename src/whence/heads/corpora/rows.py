"""Corpus rows: a clean prompt with its answer, a corrupt prompt with the other answer.

One JSON object a line, `{"clean": …, "corrupt": …, "target": …, "foil": …}`: the clean prompt's
next text is the target, the corrupt prompt's is the foil. Other keys (`truth`, `id`) come along.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pydantic import Field

from whence.errors import BadInput
from whence.heads.corpora.content import read_content
from whence.runs.config import Config


class Fields(Config):
    """Which key of a row holds what."""

    clean_field: str = Field(default="clean", description="Key of the clean prompt.")
    corrupt_field: str = Field(default="corrupt", description="Key of the corrupt prompt.")
    target_field: str = Field(default="target", description="Key of the clean prompt's answer.")
    foil_field: str = Field(default="foil", description="Key of the corrupt prompt's answer.")


@dataclass(frozen=True)
class Row:
    """One row. index: its number in the file, from 0, blank lines not counted.

    clean, corrupt: prompts (corrupt is None in a corpus that has none). target, foil: what follows
    the clean and the corrupt prompt, with the space that leads it. extra: the row's other keys.
    """

    index: int
    clean: str
    corrupt: str | None
    target: str
    foil: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self, fields: Fields) -> dict[str, Any]:
        """The row as it stands in a file, under the keys that `fields` names."""
        texts = {
            fields.clean_field: self.clean,
            fields.corrupt_field: self.corrupt,
            fields.target_field: self.target,
            fields.foil_field: self.foil,
        }
        return {key: text for key, text in texts.items() if text is not None} | dict(self.extra)


def read_corpus(path: Path, fields: Fields = Fields()) -> list[Row]:  # noqa: B008 (frozen)
    """Read every row of a corpus file, in order.

    The corrupt prompt may be null, or its key absent from every row.

    Raises BadInput, naming file, line and key, at a file that is absent, empty or not UTF-8; a line
    that is no JSON object; a key that is missing or holds no text; an empty prompt or answer.
    """
    path = Path(path)
    found = list(_objects(path, read_content(path)))
    if not found:
        raise BadInput(f"{path}: has no rows; one JSON object a line was expected")
    _check_names(path, fields)
    corrupted = any(fields.corrupt_field in keys for _, keys in found)
    if not corrupted and fields.corrupt_field != Fields().corrupt_field:
        _no_key(path, *found[0], fields, "corrupt_field")
    return [
        _row(path, number, index, keys, fields, corrupted)
        for index, (number, keys) in enumerate(found)
    ]


def line_numbers(path: Path) -> list[int]:
    """The line, from 1, of every row of a corpus file: index → line."""
    lines = read_content(Path(path)).split("\n")
    return [number for number, line in enumerate(lines, start=1) if line.strip()]


def _objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, JSON object) of every line that is not blank."""
    # split on "\n" alone: str.splitlines also breaks at U+2028, which JSON allows inside strings
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=_not_a_number)
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{path} line {number}: not JSON ({error.msg} at column {error.colno}); "
                "one JSON object a line was expected"
            ) from None
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path} line {number}: not JSON ({error})") from None
        if not isinstance(value, dict):
            raise BadInput(
                f"{path} line {number}: holds a {type(value).__name__}; "
                'one JSON object a line was expected, as {"clean": …, "target": …, "foil": …}'
            )
        yield number, value


def _row(
    path: Path, line: int, index: int, keys: dict[str, Any], fields: Fields, corrupted: bool
) -> Row:
    def text(setting: str, *, prompt: bool, nullable: bool = False) -> str | None:
        key = getattr(fields, setting)
        if key not in keys:
            _no_key(path, line, keys, fields, setting)
        value = keys[key]
        if value is None and nullable:
            return None
        _check_text(f'{path} line {line}: "{key}"', value, prompt=prompt)
        return str(value)

    clean, target, foil = (
        text("clean_field", prompt=True),
        text("target_field", prompt=False),
        text("foil_field", prompt=False),
    )
    corrupt = text("corrupt_field", prompt=True, nullable=True) if corrupted else None
    names = set(fields.model_dump().values())
    extra = {key: value for key, value in keys.items() if key not in names}
    return Row(index, str(clean), corrupt, str(target), str(foil), extra)


def _check_text(where: str, value: object, *, prompt: bool) -> None:
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise BadInput(f"{where} holds {kind} ({json.dumps(value)[:40]}), text was expected")
    if not value or (prompt and not value.strip()):
        what = "prompt" if prompt else "answer"
        raise BadInput(f"{where} is empty; give the {what}, or delete the line")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{where} holds half a character at position {error.start}") from None


def _no_key(path: Path, line: int, keys: Iterable[str], fields: Fields, setting: str) -> NoReturn:
    key, keys = getattr(fields, setting), list(keys)
    near = difflib.get_close_matches(key, keys, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    flag = f"--{setting.replace('_', '-')}"
    raise BadInput(
        f'{path} line {line}: no key "{key}"; {hint}it has {", ".join(keys) or "no keys"}; '
        f"repair the line, or name the key with {flag}"
    )


def _check_names(path: Path, fields: Fields) -> None:
    named: dict[str, str] = {}
    for setting, key in fields.model_dump().items():
        if key in named:
            raise BadInput(f'{path}: {named[key]} and {setting} are both "{key}"')
        named[key] = setting


def _not_a_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")
