"""`whence heads pairs`: which heads do together what neither does alone."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from whence.errors import BadInput
from whence.heads.battery import HeadsPairZero, HeadsZero, Pair, Positions, parse_head, spell_head
from whence.heads.commands.found import HeadsResult
from whence.heads.commands.single import AblationConfig, Bench, measure

if TYPE_CHECKING:
    from whence.heads.battery import Head
    from whence.runs.store import Run


class PairsConfig(AblationConfig):
    """Ablate pairs of heads: synergy is what a pair does beyond the sum of its two heads."""

    top: int = Field(
        default=8,
        ge=2,
        description="All pairs among this many heads with the strongest effects of their own.",
    )
    heads: tuple[str, ...] = Field(
        default=(), description="All pairs among these heads instead, as 0:2 0:4."
    )
    sweep: Path | None = Field(
        default=None, description="Take the strongest heads from this output of heads sweep."
    )
    random_control: int = Field(
        default=0, ge=0, description="Random pairs of the same layers to compare each pair with."
    )


def pairs(config: PairsConfig) -> HeadsResult:
    """Ablate the pairs and each of their heads, and write `metrics/pair_impact.parquet`.

    Without `heads` or `sweep` every head is ablated first, on the same prompts: the choice of pairs
    then favours heads that these prompts make look strong, and the summary says so. Synergy is not
    what they were chosen by.

    Raises BadInput for whatever of model, corpus or settings does not fit.
    """
    named = [parse_head(head) for head in config.heads]
    if len(set(named)) == 1:
        raise BadInput("--heads: a pair needs two different heads")
    with config.opened("heads pairs", sweep=config.sweep) as run:
        if not run.done:
            bench = config.bench()
            chosen = sorted(set(named)) or _strongest(config, bench, run)
            battery = HeadsPairZero(
                pairs=tuple(Pair(a=a, b=b) for a, b in combinations(chosen, 2)),
                method=config.ablation,
                positions=Positions(config.positions),
                random_control=config.random_control,
            )
            by = "named" if named else "given sweep" if config.sweep else "effect on these prompts"
            told = {"chosen": {"heads": [spell_head(head) for head in chosen], "by": by}}
            measure(config, bench, battery, run, label="heads pairs", notes=told)
    return HeadsResult.read(config.output_dir, run.done)


def _strongest(config: PairsConfig, bench: Bench, run: Run) -> list[Head]:
    """The heads with the largest mean |Δ logit difference|, from a sweep made now or before."""
    if config.sweep is not None:
        frame = HeadsResult.read(config.sweep, done_before=True).frame("head")
        effects = {
            (int(row.layer), int(row.head)): abs(float(row.delta)) for row in frame.itertuples()
        }
    else:
        battery = HeadsZero(method=config.ablation, positions=Positions(config.positions))
        result = bench.run(config, battery, run, "heads sweep")
        table = result.per_example.to_pandas()
        change = (table["logit_diff"] - table["clean_logit_diff"]).groupby(
            [table["layer"], table["head"]]
        )
        effects = {(int(at[0]), int(at[1])): abs(float(v)) for at, v in change.mean().items()}
    if len(effects) < config.top:
        raise BadInput(f"--top {config.top}: there are {len(effects)} heads")
    return sorted(sorted(effects, key=lambda head: -effects[head])[: config.top])
