"""Tables of several sources brought to the same columns, and what each source gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whence.data.build.cut import count
from whence.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

SOURCE_COLUMN = "source"
ROWS_PER_READ = 1_000


def named(table: pa.Table, name: str) -> pa.Table:
    """`table` with the column `source`; one that it had itself becomes `source_source`."""
    import pyarrow as pa

    own = [f"source_{n}" if n == SOURCE_COLUMN else n for n in table.column_names]
    labels = pa.array([name] * table.num_rows, pa.string())
    return table.rename_columns(own).append_column(SOURCE_COLUMN, labels)


def same_columns(tables: Sequence[pa.Table], labels: Sequence[str]) -> list[pa.Table]:
    """Give every table the columns of all, null where it has none, in the order of their coming.

    Numbers of several kinds become the widest. Raises BadInput, naming column, types and sources,
    where types cannot be brought together.
    """
    import pyarrow as pa

    fields: dict[str, pa.Field] = {}
    first: dict[str, str] = {}
    for table, label in zip(tables, labels, strict=True):
        for field in table.schema:
            field = field.with_nullable(True).with_metadata(None)
            before = fields.get(field.name, field)
            try:
                whole = pa.unify_schemas(
                    [pa.schema([before]), pa.schema([field])], promote_options="permissive"
                )
            except pa.ArrowException as error:
                raise BadInput(
                    f'column "{field.name}": {first[field.name]} has {before.type}, {label} has '
                    f"{field.type}; give it one type, or another name in one of them"
                ) from error
            fields[field.name] = whole.field(0)
            first.setdefault(field.name, label)
    return [
        pa.table(
            {
                name: table[name].cast(field.type)
                if name in table.column_names
                else pa.nulls(table.num_rows, field.type)
                for name, field in fields.items()
            }
        )
        for table in tables
    ]


def source_shares(
    splits: Mapping[str, pa.Table], tokenizer: PreTrainedTokenizerBase | None
) -> dict[str, Any]:
    """Split → source → rows and tokens, and their shares of the split; and the unit of tokens.

    All sources are counted alike: in the tokenizer's tokens, or else in words.
    """
    shares: dict[str, Any] = {}
    counted: dict[int, dict[str, list[int]]] = {}
    for split, table in splits.items():
        if id(table) not in counted:
            counted[id(table)] = _per_source(table, tokenizer)
        found = counted[id(table)]
        all_tokens = sum(tokens for _, tokens in found.values())
        shares[split] = {
            source: {
                "rows": rows,
                "row_share": rows / table.num_rows,
                "tokens": tokens,
                "token_share": tokens / all_tokens if all_tokens else 0.0,
            }
            for source, (rows, tokens) in sorted(found.items())
        }
    return {"unit": f"tokens of {tokenizer.name_or_path}" if tokenizer else "words", **shares}


def _per_source(table: pa.Table, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    columns = table.select([SOURCE_COLUMN, "prompt", "completion"])
    for batch in columns.to_batches(max_chunksize=ROWS_PER_READ):
        names, prompts, completions = (column.to_pylist() for column in batch.columns)
        lengths = count(prompts, tokenizer) + count(completions, tokenizer)
        for name, length in zip(names, lengths, strict=True):
            total = found.setdefault(name, [0, 0])
            total[0] += 1
            total[1] += int(length)
    return found
