"""What an intervention changed in one example: the metrics, from the columns of `per_example`.

DESIGN §6, with c the baseline run, a the intervened run, t the target, f the foil, at the last real
token and in float32 log-softmax. `value` is the metric itself, `delta` its change against the
baseline; where a metric is a change already, they are the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.heads.checked import nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Columns = Mapping[str, NDArray[Any]]
    Floats = NDArray[np.float64]

HEADLINE = "delta_logit_diff"
"""The metric that heads are ranked by; always written."""


@dataclass(frozen=True)
class Metric:
    """One metric: its name in tables, what it measures in words, and how it is had per example."""

    name: str
    said: str
    value: Callable[[Columns], Floats]
    delta: Callable[[Columns], Floats]
    full_target: bool = False
    """Whether it reads the whole continuation, and so needs `metric_span full_target`."""


def _change(
    name: str, said: str, value: Callable[[Columns], Floats], *, full_target: bool = False
) -> Metric:
    """A metric that compares with the baseline by itself."""
    return Metric(name, said, value, value, full_target)


def _delta_logit_diff(c: Columns) -> Floats:
    return _float(c["logit_diff"] - c["clean_logit_diff"])


def _error(c: Columns, predicted: str) -> Floats:
    return _float(c[predicted] != c["target_id"])


def _seq_p_drop(c: Columns) -> Floats:
    import numpy as np

    return _float(np.exp(c["clean_seq_logprob"]) - np.exp(c["seq_logprob"]))


def _float(values: Any) -> Floats:
    return values.astype("float64")  # type: ignore[no-any-return]


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "logit_diff",
            "logit of the target minus logit of the foil",
            lambda c: _float(c["logit_diff"]),
            _delta_logit_diff,
        ),
        _change(HEADLINE, "change of the logit difference", _delta_logit_diff),
        _change(
            "p_drop",
            "loss of the target's probability",
            lambda c: _float(c["clean_p_target"] - c["p_target"]),
        ),
        _change("kl_div", "KL(c‖a) of the next token, in nats", lambda c: _float(c["kl_div"])),
        _change(
            "acc_flip_rate",
            "share of examples whose most likely token changed",
            lambda c: _float(c["predicted"] != c["clean_predicted"]),
        ),
        Metric(
            "error_rate",
            "share of examples whose most likely token is not the target",
            lambda c: _error(c, "predicted"),
            lambda c: _error(c, "predicted") - _error(c, "clean_predicted"),
        ),
        _change(
            "seq_logprob_diff",
            "change of the log-probability of the whole target, in nats",
            lambda c: _float(c["seq_logprob"] - c["clean_seq_logprob"]),
            full_target=True,
        ),
        _change(
            "seq_p_drop", "loss of the whole target's probability", _seq_p_drop, full_target=True
        ),
        _change(
            "seq_kl_mean",
            "KL(c‖a) per token of the target, in nats",
            lambda c: _float(c["seq_kl_mean"]),
            full_target=True,
        ),
    )
}
"""Every metric by name, in the order in which tables list them."""

FIRST_TOKEN: tuple[str, ...] = tuple(name for name, m in METRICS.items() if not m.full_target)
"""Those that need the first token of the target alone: what is written unless asked otherwise."""


def requested(
    names: Sequence[str] | None, *, full_target: bool | None = None, where: str = "metrics"
) -> tuple[str, ...]:
    """The metrics to write, in the order of `METRICS`, the headline always among them.

    names: as a config lists them; None asks for all that the span allows. full_target: whether the
    run reads the whole target; None does not check. Raises BadInput, beginning with `where`, for an
    unknown name (with the nearest), or one that the span does not allow.
    """
    if names is None:
        return tuple(METRICS) if full_target else FIRST_TOKEN
    for name in names:
        if name not in METRICS:
            raise BadInput(f"{where}: no metric {name!r}{nearest(str(name), list(METRICS))}")
        if full_target is False and METRICS[name].full_target:
            raise BadInput(
                f"{where}: {name} reads the whole target, and the run its first token alone; "
                "set metric_span to full_target, or leave the metric out"
            )
    return tuple(name for name in METRICS if name in names or name == HEADLINE)


def derive(columns: Columns, name: str) -> tuple[Floats, Floats]:
    """`value` and `delta` of metric `name` per entry, from arrays of `per_example`, any shape."""
    metric = METRICS[name]
    return metric.value(columns), metric.delta(columns)
