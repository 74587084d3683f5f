"""The preconditioner: inverse powers of second moments of gradients, one per weight matrix.

With H the mean of g gᵀ over rows, gradients g become H^-1/2 g on both sides of the inner product
(unit-normalised scores), or H^-1 g on the query's side alone. The inverse is damped by a tenth of
H's mean eigenvalue, Bergson's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.score.memory import refuse_beyond_memory
from whence.data.score.passes import Shared, run_pass
from whence.data.score.steps import load_step, save_step

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from whence.data.score.tokens import TokenRows

MIXING_COMPONENTS = 1000
"""How many leading components of the query's spectrum a mixture weighs down: TrackStar's choice."""


def load_or_fit(
    shared: Shared,
    pool: TokenRows,
    query: TokenRows,
    file: Path,
    pool_moments: Path | None = None,
) -> tuple[Any, float | None]:
    """Bergson's dense preconditioner for the settings, and the mixing coefficient if it is mixed.

    It is taken from `file` if a run that was cut off has fitted it, and kept there otherwise.
    pool_moments: where the second moment of the pool lies or is to be kept, so that several sets of
    queries (each with its `file`) take one pass for it. (None, None) where the settings want none.
    """
    from bergson.hessians.preconditioner import DensePreconditioner

    if shared.settings.preconditioning_mode == "none":
        return None, None
    if not file.exists():
        _refuse_wide_gradients(shared)
        inverses, mixing = _fit(shared, pool, query, pool_moments)
        save_step(file, inverses, {} if mixing is None else {"mixing": repr(mixing)})
    kept, notes = load_step(file, shared.loaded.device)
    return DensePreconditioner(kept), float(notes["mixing"]) if "mixing" in notes else None


def _fit(
    shared: Shared, pool: TokenRows, query: TokenRows, pool_moments: Path | None
) -> tuple[Mapping[str, Tensor], float | None]:
    from bergson import GradientProcessor
    from bergson.hessians.preconditioner import DensePreconditioner

    settings = shared.settings
    moments = second_moments(shared, query, "second moment of the query")
    mixing = None
    if settings.preconditioning_mode == "mixed":
        of_pool = _of_pool(shared, pool, pool_moments)
        mixing = settings.mixing_coefficient
        if mixing is None:
            mixing = balanced_mixture(moments, of_pool)
        moments = {name: mixing * moments[name] + (1 - mixing) * of_pool[name] for name in moments}
    fitted = DensePreconditioner.from_processor(
        GradientProcessor(hessians=moments),
        power=-0.5 if settings.unit_normalize else -1.0,
        device=_solver(shared),
    )
    return fitted.h_inv, mixing


def _of_pool(shared: Shared, pool: TokenRows, file: Path | None) -> dict[str, Tensor]:
    """The pool's second moments, from `file` where they are kept."""
    label = "second moment of the pool"
    if file is None:
        return second_moments(shared, pool, label)
    if not file.exists():
        save_step(file, second_moments(shared, pool, label))
    return load_step(file, _solver(shared))[0]


def _solver(shared: Shared) -> torch.device:
    """Where eigenvalues are found: they are found in float64, which MPS does not have."""
    import torch

    device = shared.loaded.device
    return torch.device("cpu") if device.type == "mps" else device


def second_moments(shared: Shared, rows: TokenRows, label: str) -> dict[str, Tensor]:
    """Mean over rows of g gᵀ per weight matrix: name → float32 [d, d], d the gradient's length."""
    from bergson.hessians.autocorrelation import AutocorrelationCollector

    def collector(data: Any) -> Any:
        return AutocorrelationCollector(
            model=shared.loaded.model.base_model,
            data=data,
            # Only teardown writes there, with a decomposition that is not needed; it is not called.
            path="",
            processor=shared.processor(),
            target_modules=shared.targets,
        )

    sums: Mapping[str, Tensor] = run_pass(shared, rows, collector, label).processor.hessians
    return {name: (total / len(rows)).to(_solver(shared)) for name, total in sums.items()}


def balanced_mixture(of_query: Mapping[str, Tensor], of_pool: Mapping[str, Tensor]) -> float:
    """The query's weight at which both spectra meet at component 1,000; arXiv 2410.17413 §A.1.3."""
    import torch
    from bergson.utils.math import compute_lambda

    def spectra(moments: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        # Bergson passes eigenvectors too, but only the values are read.
        values = {name: torch.linalg.eigvalsh(h.double()) for name, h in moments.items()}
        return {name: (value, value) for name, value in values.items()}

    mixture: float = compute_lambda(
        spectra(of_query), spectra(of_pool), target_components=MIXING_COMPONENTS
    )
    return mixture


def _refuse_wide_gradients(shared: Shared) -> None:
    settings = shared.settings
    held = 3 if settings.preconditioning_mode == "mixed" else 2
    refuse_beyond_memory(
        held * sum(4 * size**2 for size in shared.sizes.values()),
        shared.loaded.device,
        f"--preconditioning-mode {settings.preconditioning_mode} with "
        f"--projection-dim {settings.projection}",
        "lower --projection-dim (0 is exact, the widest)"
        if settings.projection
        else "give a --projection-dim, such as 32",
    )
