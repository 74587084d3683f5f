"""A source with its place in a build: what its text columns are, and what its rows are for."""

from __future__ import annotations

from dataclasses import dataclass

from whence.data.sources.rows import Fields
from whence.data.sources.source import Source


@dataclass(frozen=True)
class Part:
    """One split of one source, and its part in the build.

    held_out: its rows are for query and eval, and never trained on. trains_only: they are never in
    query or eval, even where no part is held out. name: of the source where several are mixed, else
    None. cap: most rows that may be drawn of it.
    """

    source: Source
    fields: Fields
    held_out: bool = False
    name: str | None = None
    cap: int | None = None
    trains_only: bool = False

    @property
    def label(self) -> str:
        """The key under which the manifest counts it: `split`, or `name/split` in a mixture."""
        return f"{self.name}/{self.source.split}" if self.name else self.source.split
