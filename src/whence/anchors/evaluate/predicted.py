"""`predictions.parquet`: every judged sentence with every probe's score.

`whence.anchors.predictions` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.anchors.probes.data import Floats
from whence.anchors.sentences import ids_for_disk
from whence.anchors.targets import target_of
from whence.runs.atomic import whole_file
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import pandas as pd


def prediction_rows(
    frame: pd.DataFrame,
    percentile: float,
    columns: Mapping[str, object],
    scores: Mapping[str, Floats],
    seed: int,
) -> pd.DataFrame:
    """Rows of one seed: the table's columns, `anchor`, `columns`, `seed`, `run_name`, scores.

    frame: the rows that were scored. `anchor` is 1, 0, or empty where the label is missing.
    """
    anchor = target_of(frame, "anchor_binary", percentile)
    if np.isfinite(anchor).all():
        whole: object = anchor.astype(np.int64)
    else:
        import pandas as pd

        whole = pd.array(np.where(np.isfinite(anchor), anchor, np.nan), dtype="Int64")
    return frame.assign(
        problem_id=ids_for_disk(frame["problem_id"].tolist()),
        anchor=whole,
        **columns,
        seed=seed,
        run_name=f"seed_{seed}",
        **{name: values.astype(np.float32) for name, values in scores.items()},
    )


def write_predictions(blocks: Sequence[pd.DataFrame], path: Path) -> None:
    """Write the blocks of all seeds one below the other."""
    import pandas as pd
    import pyarrow as pa

    table = pa.Table.from_pandas(pd.concat(blocks, ignore_index=True), preserve_index=False)
    with whole_file(path) as temporary:
        write_parquet(table, temporary)
