"""Commands as sweeps see them: what decides a result, what can be shared, what comes out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from whence.errors import BadInput

if TYPE_CHECKING:
    from whence.sweep.campaigns.campaign import Campaign
    from whence.sweep.settings import RankSettings

OWN = {
    "anchors run": "whence.sweep.campaigns.anchors_run:AnchorsRun",
    "data experiment": "whence.sweep.campaigns.data_experiment:DataExperiment",
    "heads run": "whence.sweep.campaigns.heads_run:HeadsRun",
}
"""Commands whose work is taken apart and shared; any other is run whole (`plain`)."""


def of(command: str, rank: RankSettings) -> Campaign:
    """The campaign of a command, given as its words. Raises BadInput naming the nearest there is.

    rank: which number configurations are ordered by; what cannot change it is collapsed.
    """
    from whence.commands import COMMANDS
    from whence.runs.validation import nearest

    if command not in COMMANDS or command.startswith("sweep "):
        raise BadInput(
            f"command: no command `{command}` to sweep{nearest(command, list(COMMANDS))}"
        )
    if command not in OWN:
        from whence.sweep.campaigns.plain import Plain

        return cast("Campaign", Plain(command, rank))
    module, name = OWN[command].split(":")
    return cast("Campaign", getattr(importlib.import_module(module), name)(rank))
