"""From a source's own columns to `prompt`, `completion` and metadata."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from whence.data.sources.chat import flatten
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.runs.manifest import blank_rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Format = Literal["messages", "prompt_completion"]


@dataclass(frozen=True)
class Fields:
    """Which columns hold the text.

    Without prompt and completion, `messages` is used where there is such a column, else the columns
    called `prompt` and `completion`; these not where `messages` names a column of its own.

    max_unanswered_share: chats that may end without an assistant turn. drop_empty: drop rows of
    plain data whose prompt or completion is empty, where otherwise the first one is refused.
    """

    prompt: str | None = None
    completion: str | None = None
    messages: str = "messages"
    max_unanswered_share: float = 0.1
    drop_empty: bool = False


@dataclass(frozen=True)
class Rows:
    """One source as `prompt`, `completion` and its other columns untouched, row for row.

    usable: ascending indices of the rows that have both texts. no_assistant_turn, empty: how many
    have not, because a chat has no assistant turn, or because a text is blank.
    """

    source: Source
    table: pa.Table
    usable: np.ndarray
    format: Format
    no_assistant_turn: int
    empty: int


def to_rows(source: Source, fields: Fields) -> Rows:
    """Read prompts and completions out of a source.

    A chat without a usable last turn is left out and counted, because chat collections have such
    rows; in plain prompt/completion data an empty text is a mistake, and refused unless
    `drop_empty`. A metadata column that is itself called `prompt` or `completion` is kept as
    `source_prompt`, `source_completion`. Raises BadInput naming the source and the row or column.
    """
    import numpy as np
    import pyarrow as pa

    columns = source.table.column_names
    plain = bool(fields.prompt or fields.completion)
    chat = not plain and fields.messages in columns
    if chat:
        flat = flatten(source.table[fields.messages], source.origin)
        _check_answered(source, flat.unanswered, fields.max_unanswered_share)
        prompts, completions, unusable = flat.prompts, flat.completions, flat.no_assistant_turn
        used = {fields.messages}
    elif not plain and fields.messages != Fields.messages:
        near = difflib.get_close_matches(fields.messages, columns, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise BadInput(
            f'{source.origin}: no column "{fields.messages}" with chats; {hint}it has '
            f"{', '.join(columns)}; name the right one with --messages-field"
        )
    else:
        names = (fields.prompt or "prompt", fields.completion or "completion")
        for name, flag in zip(names, ("--prompt-field", "--completion-field"), strict=True):
            _check_column(source, name, flag, fields.messages)
        prompts, completions = (_texts(source, name) for name in names)
        used, unusable = set(names), 0
    blank = np.union1d(blank_rows(prompts), blank_rows(completions)).astype(np.int64)
    if len(blank) and not chat and not fields.drop_empty:
        empty_prompt = int(blank[0]) in blank_rows(prompts)
        which, name = ("prompt", names[0]) if empty_prompt else ("completion", names[1])
        raise BadInput(
            f'{source.origin}, row {blank[0] + 1}: the {which} (column "{name}") is empty; '
            f"repair the row, or use --drop-empty to leave out the {len(blank)} such rows"
        )
    usable = np.setdiff1d(np.arange(source.table.num_rows), blank)
    if not len(usable):
        raise BadInput(f"{source.origin}: none of its {source.table.num_rows} rows can be used")
    table = pa.table(
        {
            "prompt": prompts,
            "completion": completions,
            **{
                f"source_{name}" if name in ("prompt", "completion") else name: source.table[name]
                for name in columns
                if name not in used
            },
        }
    )
    form: Format = "messages" if chat else "prompt_completion"
    return Rows(source, table, usable, form, unusable, len(blank) - unusable)


def _check_answered(source: Source, unanswered: int, limit: float) -> None:
    if unanswered > limit * source.table.num_rows:
        raise BadInput(
            f"{source.origin}: {unanswered} of {source.table.num_rows} chats end without an "
            f"assistant turn, more than the {limit:.0%} allowed; "
            "repair them or raise --max-unanswered-share"
        )


def _check_column(source: Source, name: str, flag: str, messages: str) -> None:
    columns = source.table.column_names
    if name in columns:
        return
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    raise BadInput(
        f'{source.origin}: no column "{name}" (and no "{messages}"); {hint}it has '
        f"{', '.join(columns)}; name the right one with {flag}"
    )


def _texts(source: Source, name: str) -> pa.ChunkedArray:
    import pyarrow as pa

    column = source.table[name]
    kind = column.type
    if not (pa.types.is_primitive(kind) or pa.types.is_null(kind) or _is_text(kind)):
        raise BadInput(f'{source.origin}: column "{name}" holds {kind}, text was expected')
    return column.cast(pa.string())


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or (pa.types.is_dictionary(kind) and _is_text(kind.value_type))
    )
