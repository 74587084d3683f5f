"""What must hold of every built data set, checked on every build and written into its manifest.

The checks are §14.5 and §14.6 of the user's notes on this experiment. The six of §14.6 stand
under their numbers, as `checks.required`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whence.data.build.cut import count
from whence.data.build.disjoint import keys_of
from whence.errors import BadInput
from whence.runs.fingerprint import text_digest
from whence.runs.manifest import ROW_COLUMNS, blank_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

MOST_VALUES = 50
"""Columns with more distinct values than this are not counted value by value."""

DISJOINT = (
    ("train_base", "attr_query"),
    ("train_base", "eval"),
    ("attr_query", "eval"),
    ("score_pool", "attr_query"),
    ("score_pool", "eval"),
)


def check_splits(
    splits: Mapping[str, pa.Table],
    sizes: Mapping[str, int],
    *,
    reported: Sequence[str] = (),
    tokenizer: PreTrainedTokenizerBase | None = None,
    disjoint_by: str | None = None,
) -> dict[str, Any]:
    """Check built splits against the sizes asked for.

    reported: columns whose distribution the manifest has. disjoint_by: the column of which eval
    shares no value with what is learned from. Returns name → what was found, `required` being the
    list of the six numbered checks (`check, what, found, passed`); raises BadInput at the first
    that fails. The sixth is `eval-loss`'s, which has the model; what can be said here is that there
    are tokens to learn, by `tokenizer`, or else words.
    """
    import pyarrow.compute as pc

    ids = {name: _distinct(table, "row_id") for name, table in splits.items()}
    texts = {name: _distinct(table, "prompt", "completion") for name, table in splits.items()}
    rows = {name: table.num_rows for name, table in splits.items()}
    blanks = {
        column: sum(len(blank_rows(table[column])) for table in splits.values())
        for column in ("prompt", "completion")
    }
    words = {
        name: int(pc.sum(pc.count_substring_regex(table["completion"], r"\S+")).as_py() or 0)
        for name, table in splits.items()
    }
    metadata = {
        name: [column for column in table.column_names if column not in ROW_COLUMNS]
        for name, table in splits.items()
    }
    overlaps, doubles = _shared(ids), _shared(texts)
    values = _shared_values(splits, disjoint_by) if disjoint_by else None
    supervised = words["eval"]
    if tokenizer is not None:
        supervised = int(count(splits["eval"]["completion"].to_pylist(), tokenizer).sum())
    _require(not any(overlaps.values()), f"splits share row ids: {overlaps}")
    _require(not any(doubles.values()), f"splits share prompt and completion: {doubles}")
    _require(not any(blanks.values()), f"rows have empty text: {blanks}")
    _require(rows == dict(sizes), f"sizes are {rows}, but {dict(sizes)} were asked for")
    _require(all(len(ids[name]) == rows[name] for name in rows), "a row_id stands twice")
    _require(all(words.values()), f"there is nothing to learn: {words} words in completions")
    _require(
        len({frozenset(columns) for columns in metadata.values()}) == 1,
        f"splits have different metadata columns: {metadata}",
    )
    _require(not any((values or {}).values()), f"values of {disjoint_by} are shared: {values}")
    _require(supervised > 0, "eval has no token to learn")
    found = [
        ("train_base and attr_query share no row_id", overlaps["train_base&attr_query"]),
        ("train_base and eval share no row_id", overlaps["train_base&eval"]),
        ("attr_query and eval share no row_id", overlaps["attr_query&eval"]),
        ("no completion is empty", blanks["completion"]),
        ("the make-up of every split is reported, under distribution", list(reported)),
        (
            f"eval has {'tokens' if tokenizer else 'words'} to learn"
            + ("" if tokenizer else "; eval-loss counts its supervised tokens"),
            supervised,
        ),
    ]
    # What does not hold has been raised by now: `passed` is for who reads the file.
    return {
        "required": [
            {"check": number, "what": what, "found": value, "passed": True}
            for number, (what, value) in enumerate(found, start=1)
        ],
        "shared_row_ids": overlaps,
        "shared_prompt_and_completion": doubles,
        "empty_texts": blanks,
        "rows": rows,
        "completion_words": words,
        "metadata_columns": metadata["train_base"],
        **({} if values is None else {"shared_values": {str(disjoint_by): values}}),
        # No failures: a prompt may have several right completions, a group may be meant to recur.
        "shared_prompts": _shared({n: _distinct(t, "prompt") for n, t in splits.items()}),
        "shared_groups": _shared({n: _distinct(t, "group_id") for n, t in splits.items()}),
    }


def distribution(
    splits: Mapping[str, pa.Table], always: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """Split → column → value → rows, for metadata with few values; `always` are never left out."""
    import pyarrow as pa

    counted: dict[str, dict[str, dict[str, int]]] = {name: {} for name in splits}
    schema = splits["train_base"].schema
    for field in schema:
        if field.name in ROW_COLUMNS or pa.types.is_nested(field.type):
            continue
        counts = {
            name: Counter("(missing)" if value is None else str(value) for value in column)
            for name, column in (
                (name, table[field.name].to_pylist()) for name, table in splits.items()
            )
        }
        few = len(set().union(*counts.values())) <= MOST_VALUES
        if field.name in always or (few and not pa.types.is_floating(field.type)):
            for name, values in counts.items():
                counted[name][field.name] = dict(sorted(values.items()))
    return counted


def _shared_values(splits: Mapping[str, pa.Table], column: str) -> dict[str, int]:
    found = {name: set(keys_of(table, column, name, column)) for name, table in splits.items()}
    return {
        f"{name}&eval": len((found[name] & found["eval"]) - {None})
        for name in splits
        if name != "eval"
    }


def _distinct(table: pa.Table, *columns: str) -> set[bytes]:
    # Digests, because the texts themselves would be held several times over.
    return {
        text_digest(*row.values())
        for batch in table.select(columns).to_batches(max_chunksize=1_000)
        for row in batch.to_pylist()
    }


def _shared(found: Mapping[str, set[bytes]]) -> dict[str, int]:
    return {f"{a}&{b}": len(found[a] & found[b]) for a, b in DISJOINT}


def _require(holds: bool, failure: str) -> None:
    if not holds:
        raise BadInput(f"the splits fail a check: {failure}")
