"""Per prompt numbers of finished `heads run`, `sweep`, `pairs` and `patch` runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.runs.validation import nearest
from whence.sweep.campaigns.measured_rows import NO_SEED, measured_rows, need_columns
from whence.sweep.settings import RankSettings

if TYPE_CHECKING:
    import pandas as pd

TABLE = Path("metrics") / "per_example.parquet"
LOWER_IS_BETTER = ("logit_diff", "delta_logit_diff", "seq_logprob_diff")
"""The strongest intervention takes most of these away; of all others it adds most."""
CONTROLS = ("random", "sham")


def measured_heads(output: Path, rank: RankSettings) -> pd.DataFrame:
    """Every intervention's metric per distinct prompt and seed; see `Campaign.measured`.

    The unit is the prompt, its value the mean over its examples; the question is the condition.
    Random controls and shams are baselines. primary: the change of the logit difference, and the
    best is the one that takes most of it away. Raises BadInput for a metric that cannot be had.
    """
    from whence.heads.metrics import HEADLINE, METRICS, derive
    from whence.runs.tables import read_table

    table = read_table(output / TABLE)
    need_columns(output / TABLE, table.column_names, ("label", "kind", "prompt", "seed"))
    metric = HEADLINE if rank.metric == "primary" else rank.metric
    if metric not in METRICS:
        raise BadInput(f"rank.metric: no metric {metric} of heads{nearest(metric, list(METRICS))}")
    text = ("condition", "kind", "label", "heads")
    columns: dict[str, Any] = {
        name: table[name].to_numpy() for name in table.column_names if name not in text
    }
    try:
        value = derive(columns, metric)[0]
    except KeyError as error:
        raise BadInput(f"{output / TABLE}: {metric} needs the column {error}") from None
    frame = table.select([n for n in text if n in table.column_names]).to_pandas()
    label = _told_apart(frame)
    if "scale" in columns and len(set(table["scale"].drop_null().to_pylist())) > 1:
        label = label + " ×" + table["scale"].to_pandas().map("{:g}".format)
    frame = frame.assign(
        label=label,
        question=frame.get("condition", ""),
        unit=columns["prompt"],
        seed=columns["seed"],
        value=value,
    )
    keys = ["question", "label", "kind", "unit", "seed"]
    means = frame.groupby(keys, sort=False, as_index=False)["value"].mean()
    one_seed = means.groupby("question")["seed"].transform("nunique") == 1
    return measured_rows(
        series=means["label"],
        baseline=means["kind"].isin(CONTROLS),
        unit=means["unit"],
        # A battery that no seed changes runs under the first one alone.
        seed=means["seed"].where(~one_seed | _seeds_vary(output), NO_SEED),
        value=means["value"],
        metric=metric,
        higher_is_better=metric not in LOWER_IS_BETTER,
        question=means["question"],
    )


def _told_apart(frame: pd.DataFrame) -> pd.Series[str]:
    """Labels of which no two interventions of a condition share one.

    A sham is called as its patch is, and a window of layers the same for every head.
    """
    label = frame["label"].mask(frame["kind"] == "sham", "sham " + frame["label"])
    if "heads" not in frame.columns:
        return label
    own = [name for name in ("condition",) if name in frame.columns]
    sets = frame.groupby([*own, "kind", "label"])["heads"].transform("nunique")
    return label.mask(sets > 1, label + " (" + frame["heads"].fillna("") + ")")


def _seeds_vary(output: Path) -> bool:
    """Whether the battery draws anything, by the run's own summary."""
    from whence.runs.jsonfile import read_json

    summary = read_json(output / "metrics" / "summary.json")
    parts = summary.get("conditions", {"": summary}).values()
    return any(not str(part["seeds"]["vary"]).startswith("nothing") for part in parts)
