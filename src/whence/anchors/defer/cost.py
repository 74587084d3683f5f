"""What a deferral plan saves: a probe's score for every sentence, rollouts for the deferred ones.

    cost = rows × cost_probe + deferred × cost_label,   against rows × cost_label

in whatever unit the two costs share (seconds, tokens, money).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whence.anchors.defer.outcome import Judged


@dataclass(frozen=True)
class Costs:
    """probe: of scoring one sentence. label: of measuring one sentence's importance. One unit."""

    probe: float = 1.0
    label: float = 100.0

    def told(self, judged: Judged) -> dict[str, Any]:
        """The bill for these rows.

        saving_share: of the price of labelling all. break_even_deferral: the share of deferred
        sentences at which nothing is saved. error_break_even: the price of one wrong label at which
        the saving is used up; None where none is wrong.
        """
        rows = len(judged.decisions)
        deferred = rows - int(judged.accepted.sum())
        wrong = int(judged.wrong.sum())
        cost = rows * self.probe + deferred * self.label
        all_labelled = rows * self.label
        saving = all_labelled - cost
        return {
            "cost_probe": self.probe,
            "cost_label": self.label,
            "rows": rows,
            "deferred": deferred,
            "cost": cost,
            "cost_all_labelled": all_labelled,
            "saving": saving,
            "saving_share": saving / all_labelled,
            "break_even_deferral": max(0.0, 1 - self.probe / self.label),
            "error_break_even": saving / wrong if wrong else None,
        }
