"""The section that shows the ranking: its scores, what it found, and the rows themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from whence.report import charts, notation
from whence.report.figure import SERIES, figure
from whence.report.page import Section, render

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 8
# Keys of the planted table that the composition tables, the curve or the baselines already tell.
SHOWN_ELSEWHERE = {"useful", "composition", "useful_share", "k", "precision_at_k"}
_HEAD, _TAIL = 250, 750  # characters of a long text that are shown, from its start and its end


def ranking_section(
    ranking: pd.DataFrame, planted: Mapping[str, Any] | None, top_k: int | None = None
) -> Section:
    """How the scores lie, what of the planted truth they found, and the first and last rows.

    ranking: `row_id, score, rank` (1 is best), `length_tokens, loss, prompt, completion`, and
    `kind` where the truth was planted.
    planted: verdict.json's table; its `useful` names the kinds that teach what is evaluated, its
    `composition` the share of each kind in what an arm trained on.
    top_k: how many rows the leading arm took, marked in the curve.
    """
    rows = ranking.sort_values("rank").reset_index(drop=True)
    useful = _useful_kinds(planted) if "kind" in rows else []
    kinds = _kind_order(rows["kind"], useful) if "kind" in rows else []
    colours = {kind: SERIES[position % len(SERIES)] for position, kind in enumerate(kinds)}
    plots = [_distribution(rows, colours)]
    found = rows["kind"].isin(useful).to_numpy() if useful else np.zeros(len(rows), dtype=bool)
    marks = {f"top {top_k}": top_k} if top_k and top_k < len(rows) else {}
    if found.any():
        plots.append(_cumulative(found, marks))
    return Section(
        "Ranking",
        f"{notation.count(len(rows))} pool rows, ranked by attribution score. "
        + ("No method saw a row's kind; only this page does." if kinds else ""),
        render(
            "ranking.html",
            plots=plots,
            cuts=_cuts(rows, kinds, top_k) if kinds else [],
            taken=_taken(planted, kinds),
            kinds=kinds,
            facts={k: v for k, v in (planted or {}).items() if k not in SHOWN_ELSEWHERE},
            ends=[
                ("highest", _shown(rows.head(SHOWN_ROWS))),
                ("lowest", _shown(rows.tail(SHOWN_ROWS).iloc[::-1])),
            ],
        ),
    )


def _useful_kinds(planted: Mapping[str, Any] | None) -> list[str]:
    useful = (planted or {}).get("useful", [])
    return [useful] if isinstance(useful, str) else list(useful)


def _kind_order(kinds: pd.Series[str], useful: Sequence[str]) -> list[str]:
    present = sorted(kinds.dropna().unique())
    return [k for k in useful if k in present] + [k for k in present if k not in useful]


def _distribution(rows: pd.DataFrame, colours: Mapping[str, str]) -> Markup:
    kinds = rows["kind"] if colours else None
    medians = (
        rows.groupby("kind")["score"].median() if colours else {"all rows": rows["score"].median()}
    )
    told = "; ".join(f"{k}: median {notation.significant(float(v))}" for k, v in medians.items())
    by_kind = " by planted kind" if colours else ""
    return figure(
        charts.score_distribution(rows["score"], kinds, colours),
        alt_text=f"Histogram of attribution scores{by_kind}. {told}.",
        caption=f"Attribution scores{by_kind}; the upright line is the median."
        + (" Each histogram is scaled to its own height." if colours else ""),
    )


def _cumulative(found: np.ndarray, marks: Mapping[str, int]) -> Markup:
    told = "; ".join(
        f"within the {name}: {found[:rank].sum()} of {found.sum()}" for name, rank in marks.items()
    )
    return figure(
        charts.cumulative_found(found, marks),
        alt_text=f"Planted useful rows found against rank. {told or 'See the table below'}.",
        caption="Share of the planted useful rows among the first rows of the ranking. The dashed "
        "line is a random order, the thin one a perfect order.",
    )


def _cuts(
    rows: pd.DataFrame, kinds: Sequence[str], top_k: int | None
) -> list[tuple[str, list[float]]]:
    """Share of each kind among the top 50, 100, 200, k, and in the whole pool."""
    cuts = sorted({cut for cut in (50, 100, 200, top_k) if cut and cut < len(rows)})
    parts = [(f"top {cut}", rows.head(cut)) for cut in cuts]
    parts.append((f"whole pool ({notation.count(len(rows))})", rows))
    return [
        (name, [float((part["kind"] == kind).mean()) for kind in kinds]) for name, part in parts
    ]


def _taken(
    planted: Mapping[str, Any] | None, kinds: Sequence[str]
) -> list[tuple[str, list[float]]]:
    """Share of each kind among the rows that each arm trained on."""
    composition: Mapping[str, Mapping[str, float]] = (planted or {}).get("composition", {})
    return [(arm, [own.get(kind, 0.0) for kind in kinds]) for arm, own in composition.items()]


def _shown(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        row | {"prompt": _clipped(row["prompt"]), "completion": _clipped(row["completion"])}
        for row in rows.to_dict("records")
    ]


def _clipped(text: str) -> str:
    """A long text without its middle: the end of a prompt is what the completion answers."""
    left_out = len(text) - _HEAD - _TAIL
    if left_out < 100:
        return text
    return f"{text[:_HEAD]} […{notation.count(left_out)} characters…] {text[-_TAIL:]}"
