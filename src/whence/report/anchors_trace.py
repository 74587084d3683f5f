"""A trace as a table of its sentences, coloured by importance and by each probe's score.

Colour stands for rank within the trace and not for size, so that columns with different units can
be told against each other: a sentence is as dark as the smallest top share that it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from whence.report import notation
from whence.report.page import Section, render

SHARES = (0.5, 0.25, 0.1, 0.05)
"""Top shares of a trace, palest first."""


@dataclass(frozen=True)
class Shown:
    """One column. label: its heading. signed: values below 0 have a colour of their own, and rank
    is by size; else rank is by value.
    """

    name: str
    label: str
    signed: bool = False


def masthead(title: str, lead: str, sections: Sequence[Section]) -> Markup:
    """Title, one sentence, the legend of the colours, and links to the traces."""
    return render(
        "anchors_masthead.html", title=title, lead=lead, sections=sections, legend=legend()
    )


def legend() -> Markup:
    """What the colours stand for."""
    return render("anchors_legend.html", shares=[f"{share:.0%}" for share in SHARES])


def trace_section(
    rows: pd.DataFrame, columns: Sequence[Shown], title: str, prompt: str | None = None
) -> Section:
    """rows: `chunk_idx, chunk_text` and the columns, perhaps `function_tag` and `anchor`, of one
    trace in order. prompt: what the model read before the first sentence.
    """
    anchors = _anchors(rows)
    drawn = [_column(rows, each, anchors) for each in columns]
    lines = []
    for at, (place, text) in enumerate(zip(rows["chunk_idx"], rows["chunk_text"], strict=True)):
        cells = [column["cells"][at] for column in drawn]
        lines.append(
            {
                "place": int(place),
                "text": str(text),
                "tag": _tag(rows, at),
                "anchor": bool(anchors[at]) if anchors is not None else False,
                "cells": cells,
                "shade": cells[0]["shade"] if cells else "",
                "told": "; ".join(
                    f"{column['label']} {cell['written']}{cell['rank']}"
                    for column, cell in zip(drawn, cells, strict=True)
                ),
            }
        )
    count = int(anchors.sum()) if anchors is not None else None
    return Section(
        title,
        _lead(len(rows), count),
        render(
            "anchors_trace.html",
            columns=drawn,
            rows=lines,
            anchors=count,
            prompt=prompt,
            title=title,
        ),
    )


def shades(values: np.ndarray, *, signed: bool) -> list[str]:
    """A class a value: `p1` … `p4` for above, `n1` … for below 0 where `signed`, "" for none.

    Ties share the last of their ranks, so that a constant colours nothing; nor does an exact 0 of a
    signed column, nor what is missing.
    """
    size = np.abs(values) if signed else values
    known = np.isfinite(size)
    count = int(known.sum())
    ranks = pd.Series(np.where(known, size, np.nan)).rank(method="max", ascending=False).to_numpy()
    found = []
    for value, rank in zip(values, ranks, strict=True):
        level = 0
        if np.isfinite(rank) and not (signed and value == 0):
            level = sum(rank <= max(1, np.floor(share * count)) for share in SHARES)
        found.append(f"{'n' if signed and value < 0 else 'p'}{level}" if level else "")
    return found


def _column(rows: pd.DataFrame, shown: Shown, anchors: np.ndarray | None) -> dict[str, Any]:
    values = rows[shown.name].to_numpy(dtype=np.float64, na_value=np.nan)
    size = pd.Series(np.abs(values) if shown.signed else values)
    ranks = size.rank(method="min", ascending=False)
    cells = [
        {
            "value": float(value) if np.isfinite(value) else None,
            "written": _written(float(value), shown.signed),
            "rank": f", rank {int(rank)} of {int(size.notna().sum())}" if rank == rank else "",
            "shade": shade,
        }
        for value, rank, shade in zip(
            values, ranks, shades(values, signed=shown.signed), strict=True
        )
    ]
    hits = None
    if anchors is not None and anchors.any():
        top = size.nlargest(int(anchors.sum())).index
        hits = int(anchors[top.to_numpy()].sum())
    return {"label": shown.label, "cells": cells, "hits": hits}


def _anchors(rows: pd.DataFrame) -> np.ndarray | None:
    if "anchor" not in rows.columns or rows["anchor"].isna().all():
        return None
    return np.asarray(rows["anchor"].fillna(0).to_numpy(dtype=np.float64) == 1)


def _tag(rows: pd.DataFrame, at: int) -> str:
    tag = rows["function_tag"].iloc[at] if "function_tag" in rows.columns else None
    return "" if tag is None or pd.isna(tag) or tag == "unknown" else notation.words(tag)


def _written(value: float, signed: bool) -> str:
    if not np.isfinite(value):
        return notation.MISSING
    if signed:
        return notation.Metric("", "").difference(value)
    return notation.column(value)


def _lead(sentences: int, anchors: int | None) -> str:
    said = f"{sentences:,} sentences" if sentences != 1 else "One sentence"
    if anchors is None:
        return f"{said}."
    return f"{said}, {anchors:,} of them {'anchors' if anchors != 1 else 'an anchor'}."
