"""Which rows a split may be drawn from, where whole groups of rows belong on one side.

Two wishes are met here. `--disjoint-by COLUMN` (`--word-disjoint` is that with `target_word`): no
value of the column that eval has is in query, train_base or score_pool. `--query-fraction F`: the
held-out rows are shared out between query and eval group by group, F of the groups to query. Both
at once share out what hangs together by group or value.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.data.build.partition import Candidates
from whence.data.evaluate.guesses import plain_word
from whence.data.splits import seeded
from whence.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Keys = Sequence[str | None]

WORD_COLUMN = "target_word"
"""Its values are the same word where they are the same guess: punctuation does not count either."""


@dataclass(frozen=True)
class Shared:
    """allowed: split → ascending indices that it may be drawn from. policy: for the manifest."""

    allowed: Mapping[str, np.ndarray]
    policy: dict[str, Any]


def keys_of(table: pa.Table, column: str, origin: str, flag: str) -> Keys:
    """The value of every row in `column` as text, such that values that mean the same are equal.

    Case, forms of Unicode and white space do not count, nor does whether a whole number is written
    as 5 or 5.0; None where there is no value. Raises BadInput for a column that is not there or
    that holds lists or objects.
    """
    import difflib

    import pyarrow as pa

    if column not in table.column_names:
        near = difflib.get_close_matches(column, table.column_names, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise BadInput(
            f'{origin}: no column "{column}", which {flag} needs; {hint}it has '
            f"{', '.join(table.column_names)}"
        )
    if pa.types.is_nested(table[column].type):
        raise BadInput(f'{origin}: column "{column}" holds {table[column].type}; {flag} needs text')
    plain = plain_word if column == WORD_COLUMN else _plain
    return [plain(text) or _plain(text) or None for text in map(_text, table[column].to_pylist())]


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None or value != value else str(value)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def hanging_together(keys: Keys, groups: Keys, rows: Sequence[int] | np.ndarray) -> dict[str, str]:
    """Value → the first of all values that it hangs together with.

    Two values do where rows of one group have them, and so do all that are linked by such pairs.
    keys, groups: of every row; only `rows` count.
    """
    parent: dict[str, str] = {}

    def first(value: str) -> str:
        while parent.setdefault(value, value) != value:
            parent[value] = value = parent[parent[value]]
        return value

    of_group: dict[str | None, str] = {}
    for row in rows:
        value = keys[row]
        if value is not None:
            pair = sorted((first(value), first(of_group.setdefault(groups[row], value))))
            parent[pair[1]] = pair[0]
    return {value: first(value) for value in parent}


def share_out(
    train: tuple[Candidates, Keys],
    held_out: tuple[Candidates, Keys] | None,
    sizes: Mapping[str, int | None],
    *,
    seed: int,
    query_fraction: float | None,
    disjoint_by: str | None,
) -> Shared:
    """Decide for every value of the keys whether its rows may evaluate or may not.

    keys: of every row, from `disjoint_by` or else the groups. With `query_fraction` that share of
    the held-out values goes to query and the rest to eval; without, values are drawn for eval until
    it can be filled (where eval takes all that is left: for query). Without `held_out` the training
    rows serve all. Raises BadInput, with the counts, where a side stays too small.
    """
    import numpy as np

    candidates, keys = held_out or train
    known = [int(i) for i in candidates.rows if keys[i] is not None]
    counts = Counter(str(keys[i]) for i in known)
    order = sorted(counts)
    order = [order[i] for i in seeded(seed, "groups of eval").permutation(len(order))]
    if query_fraction is not None:
        of_eval = set(order[_for_query(candidates, len(order), query_fraction) :])
    elif (size := sizes["eval"]) is not None:
        of_eval = _until(order, counts, size)
    else:
        of_eval = set(order) - _until(order, counts, sizes["attr_query"] or 0)

    def rows(side: tuple[Candidates, Keys], wanted: bool) -> np.ndarray:
        of_side, own = side
        return np.array(
            [int(i) for i in of_side.rows if own[i] is not None and (own[i] in of_eval) is wanted],
            dtype=np.int64,
        )

    allowed = {
        "eval": rows((candidates, keys), True),
        "attr_query": rows((candidates, keys), False),
    }
    policy: dict[str, Any] = {"groups_in_eval": len(of_eval), "groups": len(order)}
    if disjoint_by is None:
        return Shared(allowed, policy)
    allowed["train_base"] = allowed["score_pool"] = rows(train, False)
    missing = sum(train[1][i] is None for i in train[0].rows)
    policy |= {
        "disjoint_by": disjoint_by,
        "training_rows_without_value": missing,
        "training_rows_with_a_value_of_eval": len(train[0].rows)
        - missing
        - len(allowed["train_base"]),
        "held_out_rows_without_value": len(candidates.rows) - len(known) if held_out else missing,
    }
    for name in sorted(sizes, key=("eval", "attr_query", "train_base", "score_pool").index):
        size = sizes[name]
        if len(allowed[name]) < (size or 1):
            raise BadInput(
                f"--disjoint-by {disjoint_by}: {name} needs {size or 'some'} rows and has "
                f"{len(allowed[name])}, after {len(of_eval)} of {len(order)} values went to eval "
                f"({len(allowed['eval'])} rows), {policy['training_rows_with_a_value_of_eval']} "
                f"training rows have those too and {missing} have no value; ask for fewer rows "
                "or give more values"
            )
    return Shared(allowed, policy)


def _for_query(candidates: Candidates, groups: int, fraction: float) -> int:
    """How many groups go to query: `fraction` of them, leaving either side one at least."""
    if groups < 2:
        raise BadInput(
            f"{candidates.origin}: --query-fraction {fraction} shares out groups (all that hang "
            f"together by the value of --disjoint-by are one), but its {len(candidates.rows)} rows "
            f"that are left are of {groups} group{'' if groups == 1 else 's'}; give sizes instead, "
            "with --query-fraction none"
        )
    return max(1, min(round(fraction * groups), groups - 1))


def _until(order: Sequence[str], counts: Mapping[str, int], size: int) -> set[str]:
    taken: set[str] = set()
    rows = 0
    for value in order:
        if rows >= size:
            break
        taken.add(value)
        rows += counts[value]
    return taken
