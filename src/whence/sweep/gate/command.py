"""`whence sweep gate`: may these numbers be released? One page, and the exit code says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from whence.runs.config import Config
from whence.runs.finding import Finding
from whence.runs.fingerprint import fingerprint
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run
from whence.sweep.summarize.command import END, START

FACTS = "gate.json"


class GateConfig(Config):
    """Check everything that must hold of a sweep before its numbers are released."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"sweep"})

    sweep: Path = Field(description="Folder of the sweep.")
    readme: Path | None = Field(
        default=None, description="Markdown file whose marked block must say what the results say."
    )
    start_marker: str = Field(default=START, min_length=1, description="Line before the block.")
    end_marker: str = Field(default=END, min_length=1, description="Line after the block.")


@dataclass(frozen=True)
class GateResult:
    """facts: what `gate.json` holds."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        return not self.facts["failed"]

    def finding(self) -> Finding:
        """OK or NOT OK, and every criterion; exit code 1 for NOT OK."""
        count = len(self.facts["criteria"])
        failed = self.facts["failed"]
        said = f"OK: all {count} criteria hold."
        if failed:
            said = f"NOT OK: {len(failed)} of {count} criteria do not hold: {', '.join(failed)}."
        return Finding(
            headline=said,
            columns=("criterion", "", "found"),
            rows=[
                (each["name"], "ok" if each["passed"] else "NOT OK", _found(each))
                for each in self.facts["criteria"]
            ],
            files={"page": self.folder / "gate.html", "text": self.folder / "gate.md"},
            failed=bool(failed),
        )


def gate(config: GateConfig) -> GateResult:
    """Look at every planned stage as it is now and write `DIR/gate/`.

    Nothing is taken from an earlier look. Raises BadInput where nothing is planned, and for a
    README without the markers.
    """
    from whence.runs.marked_block import check_markers
    from whence.sweep.gate.criteria import criteria, facts_of
    from whence.sweep.layout import stages_planned

    if config.readme is not None:
        check_markers(config.readme, config.start_marker, config.end_marker)
    home = config.sweep.absolute()
    stages = stages_planned(home)
    readme = None if config.readme is None else config.readme.absolute()
    found = criteria(home, stages, readme, (config.start_marker, config.end_marker))
    facts = facts_of(found, stages, home)
    with open_run(
        home / "gate",
        command="sweep gate",
        config=config,
        inputs={"found": fingerprint(facts)},
        overwrite=True,  # a look at what is now replaces the last one
    ) as run:
        if not run.done:
            from whence.sweep.gate.page import markdown, write_page

            write_json(run.folder / FACTS, facts)
            (run.folder / "gate.md").write_text(markdown(facts), encoding="utf-8")
            write_page(facts, run.folder / "gate.html")
    return GateResult(home / "gate", read_json(home / "gate" / FACTS))


def _found(criterion: Mapping[str, Any]) -> str:
    offenders = criterion["offenders"]
    return f"{criterion['sentence']}; {offenders[0]}" if offenders else str(criterion["sentence"])
