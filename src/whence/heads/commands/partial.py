"""`whence heads partial`: zero a set of heads, restore one, and see how much comes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from whence.errors import BadInput
from whence.heads.battery import Group, HeadsSubsetZero, Positions, parse_head, spell_head
from whence.heads.commands.found import HeadsResult, interval
from whence.heads.commands.single import AblationConfig, measure
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

FILE = Path("metrics") / "partial.json"
WHOLE = "all zeroed"


class PartialConfig(AblationConfig):
    """Ablate a set of heads, then the set without one of them, for each of them."""

    heads: tuple[str, ...] = Field(description="The set, as 0:2 0:4 0:7.")
    random_control: int = Field(
        default=0, ge=0, description="Random sets of the same layers to compare with."
    )


@dataclass(frozen=True)
class PartialResult(HeadsResult):
    """restored: head → logit difference with that head put back, and its share of the harm."""

    @property
    def restored(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / FILE)
        return found

    def finding(self) -> Finding:
        plain, found = super().finding(), self.restored
        rows = [
            (
                head,
                f"{one['logit_diff']:+.4f}",
                f"{one['recovered']:+.4f}",
                interval(*(one["recovered_interval"] or (None, None))),
                "" if one["share"] is None else f"{one['share']:.0%}",
            )
            for head, one in found["restored"].items()
        ]
        return Finding(
            headline=f"Logit difference {found['baseline']['logit_diff']:+.4f} clean, "
            f"{found['zero']['logit_diff']:+.4f} with {len(rows)} heads ablated.",
            columns=("restored", "logit diff", "recovered", "95 % interval", "share"),
            rows=rows,
            files={"restored heads": self.folder / FILE, **plain.files},
        )


def partial(config: PartialConfig) -> PartialResult:
    """Ablate the set, and the set but one; write `metrics/partial.json` beside the usual tables.

    recovered = logit difference with the head put back − with the whole set ablated, paired over
    prompts; share = recovered / (clean − whole set ablated). Shares need not add up to one.

    Raises BadInput for whatever of model, corpus or settings does not fit.
    """
    heads = list(dict.fromkeys(parse_head(head) for head in config.heads))
    if len(heads) < 2:
        raise BadInput("--heads: two different heads are needed to restore one of them")
    groups = [Group(heads=tuple(heads), label=WHOLE)]
    for head in heads:
        rest = tuple(other for other in heads if other != head)
        groups.append(Group(heads=rest, label=f"{spell_head(head)} restored"))
    battery = HeadsSubsetZero(
        groups=tuple(groups),
        method=config.ablation,
        positions=Positions(config.positions),
        random_control=config.random_control,
    )
    with config.opened("heads partial") as run:
        if not run.done:
            result = measure(config, config.bench(), battery, run, label="heads partial")
            table = result.per_example.to_pandas()
            names = [spell_head(head) for head in heads]
            write_json(run.folder / FILE, restored_heads(table, names))
    done = HeadsResult.read(config.output_dir, run.done)
    return PartialResult(done.folder, done.tables, done.done_before)


def restored_heads(table: pd.DataFrame, heads: list[str]) -> dict[str, Any]:
    """`{"baseline", "zero", "restored": {head: …}}` from the rows of every example."""
    from whence.stats.paired import paired_difference

    def of(label: str) -> pd.DataFrame:
        keys = ["seed", "example"]
        return table[table["label"] == label].sort_values(keys).reset_index(drop=True)

    whole = of(WHOLE)
    harm = float((whole["clean_logit_diff"] - whole["logit_diff"]).mean())
    restored = {}
    for head in heads:
        back = of(f"{head} restored")
        found = paired_difference(back["logit_diff"], whole["logit_diff"], whole["prompt"])
        ends = found.interval
        restored[head] = {
            "logit_diff": float(back["logit_diff"].mean()),
            "recovered": found.effect,
            "recovered_interval": None if ends is None else [ends.low, ends.high],
            "p": found.p,
            "share": found.effect / harm if harm else None,
        }
    return {
        "baseline": {"logit_diff": float(whole["clean_logit_diff"].mean())},
        "zero": {"logit_diff": float(whole["logit_diff"].mean())},
        "restored": restored,
    }
