"""`artifacts/impact_heatmap.{png,html}`: what removing each head does, layer by layer.

Imports Altair (about two seconds): import this module inside the function that draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whence.heads.summary import first_scale
from whence.report.figure import figure
from whence.report.heads_charts import heatmap, png
from whence.report.notation import significant
from whence.report.page import Section, render_page
from whence.runs.atomic import whole_file

if TYPE_CHECKING:
    import pyarrow as pa
    from markupsafe import Markup

SURE = 0.05
"""q below which a head is marked."""

_KEPT_SHARE = 99.0


@dataclass(frozen=True)
class Heatmap:
    """Cells of all conditions (`panel, layer, head, delta, sure`) and where the colour is full."""

    cells: pd.DataFrame
    limit: float
    caption: str
    alt_text: str

    def figure(self) -> Markup:
        """The chart with its caption, for a page."""
        return figure(heatmap(self.cells, self.limit), alt_text=self.alt_text, caption=self.caption)


def make_heatmap(conditions: Mapping[str, pa.Table], *, patched: bool = False) -> Heatmap | None:
    """One heatmap of the head_impact tables of all conditions; None where no head was measured.

    Shows delta_logit_diff under the first scale, seeds averaged. The colour scale is symmetric
    around 0 and the same for all conditions: full at the 99th percentile of |delta| or a quarter of
    the largest, whichever is larger; at the largest itself where that is less than twice as large
    or there are under a hundred cells. patched: whether heads were patched, and not ablated.
    """
    parts = [_cells(name, table) for name, table in conditions.items()]
    cells = pd.concat(parts, ignore_index=True)
    if cells.empty:
        return None
    sizes = cells["delta"].abs().to_numpy()
    largest = float(sizes.max())
    # A single huge head would leave all others white, a percentile alone colour noise to the full.
    limit = max(float(np.percentile(sizes, _KEPT_SHARE)), largest / 4)
    beyond = ""
    if len(sizes) < 100 or largest < 2 * limit:
        limit = largest
    else:
        beyond = (
            f" The colour is full at ±{significant(limit, 2)}; the largest change is "
            f"{significant(largest, 2)}."
        )
    where = " One colour scale for all conditions." if len(conditions) > 1 else ""
    sure = int(cells["sure"].sum())
    told = (
        "Change of the logit difference when a head is patched. Blue: it rises; orange: it falls."
        if patched
        else "Change of the logit difference when a head is ablated. Blue: it rises, so the head "
        "held the answer back; orange: it falls, so the head carried it."
    )
    caption = f"{told} A dot: q < {SURE}.{where}{beyond}"
    top = cells.loc[cells["delta"].abs().idxmax()]
    alt_text = (
        f"Heatmap of layers and heads, {len(conditions)} "
        f"{'panel' if len(conditions) == 1 else 'panels'}. The largest change is "
        f"{significant(float(top['delta']))} at head {top['layer']}:{top['head']}; "
        f"{sure} of {len(cells)} cells have q < {SURE}."
    )
    return Heatmap(cells, limit or 1.0, caption, alt_text)


def write_heatmap(folder: Path, drawn: Heatmap, *, title: str) -> list[Path]:
    """Write `impact_heatmap.png` and `impact_heatmap.html` into `folder`, and return both."""
    image, page = folder / "impact_heatmap.png", folder / "impact_heatmap.html"
    with whole_file(image) as temporary:
        temporary.write_bytes(png(heatmap(drawn.cells, drawn.limit)))
    lead = "Every head at its layer, changed by itself."
    render_page(title, [Section("Heads", lead, drawn.figure())], page)
    return [image, page]


def _cells(name: str, table: pa.Table) -> pd.DataFrame:
    rows = first_scale(table.to_pandas())
    means = rows.groupby(["layer", "head"], as_index=False).agg({"delta": "mean", "q": "max"})
    return pd.DataFrame(
        {
            "panel": name,
            "layer": means["layer"].astype(int),
            "head": means["head"].astype(int),
            "delta": means["delta"],
            "sure": (means["q"] < SURE).to_numpy(dtype=bool),
        }
    )
