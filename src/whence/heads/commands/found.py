"""What a direct command found, in one sentence and a short table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.runs.finding import Finding

if TYPE_CHECKING:
    import pandas as pd

    from whence.heads.outputs import Tables

SHOWN = 8
FILES = {
    "heads": "metrics/head_impact.parquet",
    "layers": "metrics/layer_impact.parquet",
    "pairs": "metrics/pair_impact.parquet",
    "sets": "metrics/subset_impact.parquet",
    "every example": "metrics/per_example.parquet",
    "summary": "metrics/summary.json",
    "heatmap": "artifacts/impact_heatmap.html",
    "report": "report.html",
}


@dataclass(frozen=True)
class HeadsResult:
    """A finished run of a direct command. tables: its tables and summary, as written."""

    folder: Path
    tables: Tables
    done_before: bool
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, done_before: bool) -> HeadsResult:
        """From an output folder that is whole."""
        from whence.heads.outputs import read_condition

        return cls(folder, read_condition(folder), done_before)

    @property
    def summary(self) -> Mapping[str, Any]:
        return self.tables.summary

    def frame(self, name: str, metric: str = "delta_logit_diff") -> pd.DataFrame:
        """One of the impact tables (head, layer, pair, subset), rows of one metric."""
        table = getattr(self.tables, f"{name}_impact")
        if table is None:
            raise KeyError(f"this run has no {name}_impact")
        frame: pd.DataFrame = table.to_pandas()
        return frame[frame["metric"] == metric].reset_index(drop=True)

    def _joint(self, name: str) -> pd.DataFrame:
        """`frame` over all seeds together, one row per head, layer, pair or set."""
        if len(self.summary["seeds"]["used"]) == 1:
            return self.frame(name)
        table = getattr(self.tables.joint, f"{name}s")
        frame: pd.DataFrame = table.to_pandas()
        return frame[frame["metric"] == "delta_logit_diff"].reset_index(drop=True)

    def finding(self) -> Finding:
        """The strongest effects on the logit difference, with intervals."""
        clean = self.summary["clean"]
        n = self.summary["n_prompts"]
        start = (
            f"{'Already measured' if self.done_before else 'Measured'} on {n} distinct "
            f"prompt{'s' if n != 1 else ''}; clean logit difference {clean['logit_diff']:+.3f}, "
            f"accuracy {clean['accuracy']:.0%}."
        )
        columns, rows, strongest = self._table()
        return Finding(
            headline=" ".join(filter(None, [start, self._undecided(), strongest, self._noise()])),
            columns=columns,
            rows=rows,
            files={
                what: self.folder / name
                for what, name in FILES.items()
                if (self.folder / name).is_file()
            },
        )

    def _undecided(self) -> str:
        """A warning where the model itself does not tell target from foil."""
        ends = self.summary["clean"]["logit_diff_interval"]
        if ends is None or not ends[0] <= 0 <= ends[1]:
            return ""
        return f"The model itself is undecided here: its 95 % interval is {interval(*ends)}."

    def _noise(self) -> str:
        """A warning where the strongest effect is not far above what arithmetic alone does."""
        noise = self.summary.get("noise_logit_diff")
        changes = [abs(one["delta_logit_diff"]) for one in self.summary.get("strongest", ())]
        if noise is None or not changes or max(changes) > 10 * noise:
            return ""
        return (
            f"Mind that arithmetic alone moves one logit difference by up to {noise:.1g}: "
            "use --dtype float32."
        )

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]], str]:
        if self.tables.pair_impact is not None:
            return self._pairs()
        if self.tables.subset_impact is not None:
            return self._rows("subset", "label", "set")
        if self.tables.layer_impact is not None:
            return self._layers()
        return self._heads()

    def _heads(self) -> tuple[Sequence[str], Sequence[Sequence[str]], str]:
        frame = _strongest(self._joint("head"), "delta")
        rows = [
            (
                f"{row.layer}:{row.head}",
                f"{row.delta:+.4f}",
                interval(row.ci_low, row.ci_high),
                number(row.q),
                number(row.percentile_in_layer, "{:.0f}"),
            )
            for row in frame.itertuples()
        ]
        top = rows[0]
        said = f"Strongest head: {top[0]}, Δ logit difference {top[1]} {top[2]}."
        return ("head", "Δ logit diff", "95 % interval", "q", "percentile in layer"), rows, said

    def _rows(
        self, name: str, label: str, title: str
    ) -> tuple[Sequence[str], Sequence[Sequence[str]], str]:
        frame = self._joint(name)
        frame = frame[~frame["kind"].isin(["sham", "random"])]
        rows = [
            (
                str(getattr(row, label)),
                f"{row.delta:+.4f}",
                interval(row.ci_low, row.ci_high),
                number(row.q),
            )
            for row in (frame if len(frame) <= 40 else _strongest(frame, "delta")).itertuples()
        ]
        best = _strongest(frame, "delta").iloc[0]
        said = f"Strongest: {best[label]}, Δ logit difference {best['delta']:+.4f}."
        return (title, "Δ logit diff", "95 % interval", "q"), rows, said

    def _layers(self) -> tuple[Sequence[str], Sequence[Sequence[str]], str]:
        columns, rows, _ = self._rows("layer", "layers", "patched layers")
        frame = self._joint("layer")
        frame = frame[frame["kind"] == "patch"]
        shares = dict(zip(frame["layers"], frame["recovered"], strict=True))
        rows = [(*row, number(shares[row[0]], "{:.0%}")) for row in rows]
        best = _strongest(frame, "delta").iloc[0]
        said = f"Largest change: layer {best['layers']}, {best['delta']:+.4f}."
        return (*columns, "recovered"), rows, said

    def _pairs(self) -> tuple[Sequence[str], Sequence[Sequence[str]], str]:
        frame = _strongest(self._joint("pair"), "synergy")
        rows = [
            (
                f"{row.layer_a}:{row.head_a} + {row.layer_b}:{row.head_b}",
                f"{row.delta:+.4f}",
                f"{row.synergy:+.4f}",
                interval(row.synergy_low, row.synergy_high),
                number(row.synergy_q),
            )
            for row in frame.itertuples()
        ]
        said = f"Strongest synergy: {rows[0][0]}, {rows[0][2]} {rows[0][3]}."
        return ("pair", "Δ logit diff", "synergy", "95 % interval", "q"), rows, said


def interval(low: float | None, high: float | None) -> str:
    """`[-0.12, +0.30]`, or that there is none."""
    if low is None or high is None or low != low:
        return "no interval"
    return f"[{low:+.4f}, {high:+.4f}]"


def number(value: float | None, form: str = "{:.2g}") -> str:
    return "" if value is None or value != value else form.format(value)


def _strongest(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    order = frame[column].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].head(SHOWN)
