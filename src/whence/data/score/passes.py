"""One pass over rows with one of Bergson's collectors, and what all passes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from whence.data.score.gradients import collect
from whence.data.score.memory import within_memory
from whence.models.batching import token_batches
from whence.runs.progress import Progress

if TYPE_CHECKING:
    from whence.data.score.settings import ScoreSettings
    from whence.data.score.tokens import TokenRows
    from whence.models.load import Loaded


@dataclass(frozen=True)
class Shared:
    """What all passes share. targets: names of the adapter's layers below `model.base_model`."""

    loaded: Loaded
    settings: ScoreSettings
    targets: set[str]

    def processor(self) -> Any:
        """A Bergson GradientProcessor that projects as the settings say and holds no moments."""
        from bergson import GradientProcessor

        return GradientProcessor(
            projection_dim=self.settings.projection or None,
            projection_seed=self.settings.projection_seed,
        )

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Length of a row's gradient per weight matrix, after projection."""
        from bergson import GradientCollector

        info = GradientCollector.discover_targets(self.loaded.model.base_model, self.targets)
        side = self.settings.projection
        return {name: side**2 or shape.numel() for name, (_, shape, _) in info.items()}


def run_pass(
    shared: Shared,
    rows: TokenRows,
    collector: Callable[[Any], Any],
    label: str,
) -> Any:
    """Run all rows past a fresh collector and return it, filled; its `teardown` is not called.

    collector: makes one for a data set with as many rows. Begun again with smaller batches when
    memory runs out.
    """
    from datasets import Dataset

    data = Dataset.from_dict({"length": rows.lengths})

    def attempt(budget: int) -> Any:
        filled = collector(data)
        with Progress(label, total=len(rows)) as progress:
            collect(
                shared.loaded,
                filled,
                rows,
                token_batches(rows.lengths.tolist(), budget),
                shared.settings.loss_reduction,
                progress.advance,
            )
        return filled

    return within_memory(attempt, shared.settings.token_batch_size)[0]
