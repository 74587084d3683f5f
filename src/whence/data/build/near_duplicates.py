"""Rows that are nearly the same on both sides of a split: the first thing a reviewer asks about.

    texts → sets of word 5-grams, less those of more than 5 % of the rows → MinHash → candidates
    (locality-sensitive hashing, datasketch) → Jaccard similarity of the real sets ≥ threshold

What many rows share (the instructions of a game, a system prompt) is not what makes two of them
alike, and is left out of the sets. MinHash only proposes: every pair that is reported has the exact
similarity beside it. A row is proposed to no more than it must: one of which less than `threshold`
of the set is anywhere on the other side cannot reach it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.data.build.shingles import WORDS, Shingler, common_shingles, evenly, is_in, without

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PERMUTATIONS = 128
MOST_MISSED = 0.001
"""Share of pairs right at the threshold that the hashing may fail to propose."""
COMMON_SHARE = 0.05
COMMON_ROWS = 10
"""What is in more than this share of the rows, and in more rows than this, is nobody's own."""
SAMPLED_ROWS = 2_000
MOST_LISTED = 100_000
"""Pairs of two splits that are written out, the most similar; all are counted."""
ROWS_PER_READ = 500


@dataclass(frozen=True)
class Pairs:
    """Near-duplicates: place among the rows searched, place among the indexed, similarity."""

    searched: np.ndarray
    indexed: np.ndarray
    similarity: np.ndarray


class NearIndex:
    """Rows that others are compared with.

    table: `prompt` and `completion` of the indexed rows. samples: rows of everything that may be
    compared (see `sample_rows`), from which it is learned what many rows share.
    """

    def __init__(self, table: pa.Table, samples: Sequence[pa.Table], threshold: float) -> None:
        import numpy as np
        from datasketch import MinHash, MinHashLSH
        from scipy.sparse import csr_matrix

        self.threshold = threshold
        self._shingler = Shingler()
        self.common_over = max(
            COMMON_ROWS, int(COMMON_SHARE * sum(sample.num_rows for sample in samples))
        )
        self.common = common_shingles(
            (shingles for sample in samples for shingles in self._sets(sample)), self.common_over
        )
        sets = [without(shingles, self.common) for shingles in self._sets(table)]
        self.without_own_text = [at for at, own in enumerate(sets) if not len(own)]
        self._vocabulary = np.unique(np.concatenate([np.empty(0, np.uint64), *sets]))
        self.sizes = np.array([len(own) for own in sets], np.int64)
        columns = [np.searchsorted(self._vocabulary, own) for own in sets]
        self._matrix = csr_matrix(
            (
                np.ones(self.sizes.sum(), np.float32),
                np.concatenate([np.empty(0, np.int64), *columns]),
                np.concatenate([[0], np.cumsum(self.sizes)]),
            ),
            shape=(len(sets), len(self._vocabulary)),
        )
        self._blank = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)
        self.bands = bands_for(threshold)
        self._hashed = MinHashLSH(num_perm=PERMUTATIONS, params=self.bands)
        for at, own in enumerate(sets):
            if len(own):
                self._hashed.insert(at, self._signature(own))

    def search(self, table: pa.Table, rows: np.ndarray | None = None) -> tuple[Pairs, int]:
        """Near-duplicates of the rows of `table` (of these `rows` alone, ascending) among the
        indexed rows, in the rows' order; and how many have nothing of their own to be compared by.
        """
        import numpy as np

        searched, indexed, similar, empty = [], [], [], 0
        place = np.zeros(len(self._vocabulary), np.float32)
        places = range(table.num_rows) if rows is None else rows
        for at, shingles in zip(places, self._sets(table, rows), strict=True):
            own = without(shingles, self.common)
            empty += not len(own)
            shared = own[is_in(own, self._vocabulary)]
            if not len(own) or len(shared) < self.threshold * len(own) - 1e-9:
                continue
            near = np.sort(np.array(self._hashed.query(self._signature(own)), np.int64))
            if not len(near):
                continue
            columns = np.searchsorted(self._vocabulary, shared)
            place[columns] = 1
            both = (self._matrix[near] @ place).astype(np.int64)
            place[columns] = 0
            jaccard = both / (len(own) + self.sizes[near] - both)
            true = jaccard >= self.threshold - 1e-9
            searched.append(np.full(true.sum(), at))
            indexed.append(near[true])
            similar.append(jaccard[true])
        return (
            Pairs(
                np.concatenate([np.empty(0, np.int64), *searched]),
                np.concatenate([np.empty(0, np.int64), *indexed]),
                np.concatenate([np.empty(0, np.float64), *similar]),
            ),
            empty,
        )

    def settings(self) -> dict[str, Any]:
        """How it was looked for, for the report."""
        bands, rows = self.bands
        return {
            "threshold": self.threshold,
            "shingle": f"{WORDS} words of prompt and completion",
            "left_out": {
                "shingles": len(self.common),
                "in_more_rows_than": self.common_over,
                "of_rows_sampled_at_most": SAMPLED_ROWS,
            },
            "permutations": PERMUTATIONS,
            "bands": bands,
            "rows_per_band": rows,
        }

    def _sets(self, table: pa.Table, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
        import numpy as np

        wanted = np.ones(table.num_rows, dtype=bool)
        if rows is not None:
            wanted[:] = False
            wanted[rows] = True
        start = 0
        texts = table.select(["prompt", "completion"])
        for batch in texts.to_batches(max_chunksize=ROWS_PER_READ):
            some = batch.filter(wanted[start : start + batch.num_rows])
            start += batch.num_rows
            for row in some.to_pylist():
                yield self._shingler.shingles(row["prompt"], row["completion"])

    def _signature(self, own: np.ndarray) -> Any:
        signature = self._blank.copy()
        signature.update_batch(own & 0xFFFFFFFF)
        return signature


def sample_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """`prompt` and `completion` of up to SAMPLED_ROWS of `rows` (ascending), evenly spaced."""
    import numpy as np

    mask = np.zeros(table.num_rows, dtype=bool)
    mask[rows[list(evenly(len(rows), SAMPLED_ROWS))]] = True
    return table.select(["prompt", "completion"]).filter(mask)


def bands_for(threshold: float) -> tuple[int, int]:
    """Bands and rows a band of the hashing: the narrowest that still proposes pairs at `threshold`.

    A pair of similarity s is proposed with probability 1 − (1 − s^rows)^bands.
    """
    fitting = [
        rows
        for rows in range(1, PERMUTATIONS // 2 + 1)  # the library wants two bands
        if (1 - threshold**rows) ** (PERMUTATIONS // rows) <= MOST_MISSED
    ]
    rows = max(fitting, default=1)
    return PERMUTATIONS // rows, rows


@dataclass(frozen=True)
class NearReport:
    """report: `near_duplicates.json`. pairs: `near_duplicates.parquet`, the most similar first:
    `split_a, row_id_a, split_b, row_id_b, similarity`.
    """

    report: dict[str, Any]
    pairs: pa.Table


def compare_splits(
    index: NearIndex, splits: Mapping[str, pa.Table], held_out: Sequence[str], dropped: int | None
) -> NearReport:
    """Compare each training split with each held-out one, and the held-out ones with each other.

    index: of the rows of `held_out`, one split after the other. splits: name → rows; those with the
    very same table as another are compared once. dropped: rows that were kept from training because
    of it; None where nobody asked.
    """
    import numpy as np
    import pyarrow as pa

    starts = dict(
        zip(held_out, np.cumsum([0, *(splits[name].num_rows for name in held_out)]), strict=False)
    )
    found: dict[str, Any] = {}
    empty: dict[str, int] = {}
    listed: list[pa.Table] = []
    names = [name for name in splits if name not in held_out]
    for name in [*names, *held_out[:-1]]:
        if any(splits[name] is splits[before] for before in empty):
            continue
        pairs, empty[name] = index.search(splits[name])
        later = held_out if name in names else held_out[held_out.index(name) + 1 :]
        for other in later:
            start = int(starts[other])
            rows = splits[other].num_rows
            mine = (pairs.indexed >= start) & (pairs.indexed < start + rows)
            a, b = pairs.searched[mine], pairs.indexed[mine] - start
            similarity = pairs.similarity[mine]
            top = np.argsort(-similarity, kind="stable")[:MOST_LISTED]
            found[f"{name}&{other}"] = {
                "pairs": len(a),
                "pairs_listed": len(top),
                name: _share(a, splits[name].num_rows),
                other: _share(b, rows),
                "max_similarity": float(similarity.max()) if len(a) else None,
            }
            listed.append(
                pa.table(
                    {
                        "split_a": pa.array([name] * len(top), pa.string()),
                        "row_id_a": splits[name]["row_id"].take(a[top]),
                        "split_b": pa.array([other] * len(top), pa.string()),
                        "row_id_b": splits[other]["row_id"].take(b[top]),
                        "similarity": similarity[top],
                    }
                )
            )
    last = held_out[-1]
    first = int(starts[last])
    empty[last] = sum(at >= first for at in index.without_own_text)
    table = pa.concat_tables(listed)
    order = [("similarity", "descending"), *((c, "ascending") for c in table.column_names[:4])]
    report: dict[str, Any] = {
        "compared": found,
        "rows_without_own_text": empty,
        "settings": index.settings(),
    }
    if dropped is not None:
        report["dropped_from_training"] = dropped
    return NearReport(report, table.sort_by(order).combine_chunks())


def _share(places: np.ndarray, rows: int) -> dict[str, Any]:
    import numpy as np

    found = len(np.unique(places))
    return {"rows": rows, "with_near_duplicate": found, "share": found / rows if rows else None}
