"""`whence heads rebuild DIR…`: runs made one by one, put together as conditions of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from whence.errors import BadInput
from whence.heads.stitch import stitch
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.fingerprint import fingerprint
from whence.runs.jsonfile import read_json
from whence.runs.record import read_record
from whence.runs.store import open_run

SUMMARY = Path("metrics") / "summary.json"
CONDITIONS = "conditions"

SAME = (
    "model.name", "model.revision", "model.dtype", "model.n_layers", "model.n_heads",
    "battery.type", "battery.method", "battery.granularity", "battery.patch_direction",
    "battery.positions", "battery.scales", "battery.scale",
)  # fmt: skip
"""What runs must share to be conditions of one: a model, and a kind of intervention."""


class RebuildConfig(OutputConfig):
    """Put single runs, or the conditions of several runs, together."""

    runs: tuple[Path, ...] = Field(
        min_length=1,
        description="Folders of single runs, of conditions, or of runs of several conditions, "
        "finished or not.",
    )
    tags: tuple[str, ...] = Field(
        default=(),
        description="A name for each condition, in the order of the folders; default: the one it "
        "has, else its folder's.",
    )
    allow_different: bool = Field(
        default=False, description="Let the runs be of different models or batteries."
    )


@dataclass(frozen=True)
class RebuildResult:
    """summary: `metrics/summary.json` of what was put together."""

    folder: Path
    summary: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """A line a condition."""
        rows = [
            (
                tag,
                str(part["run_id"]),
                f"{part['n_prompts']:,}",
                f"{part['clean']['logit_diff']:+.3f}",
            )
            for tag, part in self.summary["conditions"].items()
        ]
        state = "already put together" if self.done_before else "put together"
        return Finding(
            headline=f"{len(rows)} conditions {state}.",
            columns=("condition", "run", "prompts", "clean logit difference"),
            rows=rows,
            files={
                "cross-condition": self.folder / "artifacts" / "cross_condition",
                "summary": self.folder / SUMMARY,
                "report": self.folder / "report.html",
            },
        )


def rebuild(config: RebuildConfig) -> RebuildResult:
    """Stack the runs' tables and write `artifacts/cross_condition/*`.

    Raises BadInput for a folder that holds no finished run or condition, two of one tag, and,
    unless allowed, runs of different models or batteries.
    """
    found = _tagged([home for folder in config.runs for home in _conditions(folder)], config.tags)
    summaries = {tag: read_json(home / SUMMARY) for tag, home in found.items()}
    if not config.allow_different:
        _check_alike(found, summaries)
    with open_run(
        config.output_dir,
        command="heads rebuild",
        config=config,
        inputs={tag: home / "metrics" for tag, home in found.items()},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            run_id = f"rebuild_{fingerprint([s['run_id'] for s in summaries.values()])[:8]}"
            about = {"rebuilt_from": {tag: s["run_id"] for tag, s in summaries.items()}}
            stitch(run.folder, found, run_id=run_id, about=about, title=" · ".join(found))
    summary = read_json(config.output_dir / SUMMARY)
    return RebuildResult(config.output_dir, summary, run.done)


def _conditions(folder: Path) -> list[Path]:
    """The folders of single runs that `folder` is or holds."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    inner = folder / CONDITIONS
    if inner.is_dir():
        record = read_record(folder)
        # A summary comes last, so a condition that has one is whole.
        found = [home for home in sorted(inner.iterdir()) if (home / SUMMARY).is_file()]
        order = list(record.inputs) if record else []
        found.sort(key=lambda home: _place(f"condition {home.name}", order))
        if found:
            return found
    if (folder / SUMMARY).is_file() and CONDITIONS not in read_json(folder / SUMMARY):
        return [folder]
    raise BadInput(
        f"{folder}: holds no finished run of `whence heads` (no {SUMMARY}, no {CONDITIONS}/*)"
    )


def _place(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _tagged(homes: Sequence[Path], tags: Sequence[str]) -> dict[str, Path]:
    """Tag → folder. Raises BadInput for two of one tag."""
    if tags and len(tags) != len(homes):
        raise BadInput(f"--tags: {len(tags)} given for {len(homes)} conditions; give one for each")
    found: dict[str, Path] = {}
    for at, home in enumerate(homes):
        own = read_json(home / SUMMARY).get("condition") or home.absolute().name
        tag = tags[at] if tags else str(own)
        if tag in found:
            raise BadInput(
                f"{home}: its tag {tag!r} is that of {found[tag]} as well; name them with --tags"
            )
        found[tag] = home
    return found


def _check_alike(found: Mapping[str, Path], summaries: Mapping[str, Any]) -> None:
    first, *others = found
    for tag in others:
        for key in SAME:
            section, name = key.split(".")
            a, b = (summaries[t].get(section, {}).get(name) for t in (first, tag))
            if a != b:
                raise BadInput(
                    f"{found[tag]}: {key} is {b}, that of {found[first]} is {a}; runs of one kind "
                    "were expected, or --allow-different"
                )
