"""Metrics by hand, one example at a time."""

from __future__ import annotations

import math

import measured
import numpy as np
import pytest

from whence.errors import BadInput
from whence.heads.metrics import FIRST_TOKEN, METRICS, derive, requested

EXAMPLES = {
    "clean_logit_diff": np.array([1.0, -0.5]),
    "logit_diff": np.array([0.25, 0.5]),
    "clean_p_target": np.array([0.5, 0.2]),
    "p_target": np.array([0.3, 0.6]),
    "kl_div": np.array([0.1, 0.4]),
    "clean_predicted": np.array([7, 9], np.int32),
    "predicted": np.array([9, 9], np.int32),
    "target_id": np.array([7, 7], np.int32),
    "clean_seq_logprob": np.array([-1.0, -3.0]),
    "seq_logprob": np.array([-2.0, -2.5]),
    "seq_kl_mean": np.array([0.2, 0.3]),
}

BY_HAND = {
    "logit_diff": ([0.25, 0.5], [-0.75, 1.0]),
    "delta_logit_diff": ([-0.75, 1.0], [-0.75, 1.0]),
    "p_drop": ([0.2, -0.4], [0.2, -0.4]),
    "kl_div": ([0.1, 0.4], [0.1, 0.4]),
    "acc_flip_rate": ([1, 0], [1, 0]),
    "error_rate": ([1, 1], [1, 0]),
    "seq_logprob_diff": ([-1.0, 0.5], [-1.0, 0.5]),
    "seq_p_drop": ([math.exp(-1) - math.exp(-2), math.exp(-3) - math.exp(-2.5)],) * 2,
    "seq_kl_mean": ([0.2, 0.3], [0.2, 0.3]),
}


@pytest.mark.parametrize("name", METRICS)
def test_value_and_delta_of_two_examples(name: str):
    value, delta = derive(EXAMPLES, name)
    assert value == pytest.approx(BY_HAND[name][0])
    assert delta == pytest.approx(BY_HAND[name][1])
    assert value.dtype == delta.dtype == np.float64


def test_every_metric_is_worked_by_hand():
    assert list(BY_HAND) == list(METRICS)


def test_a_flip_towards_the_target_is_a_flip_and_no_error():
    table = measured.sweep(1, 2, {(0, 1): 2.0}).table()
    columns = {name: table[name].to_numpy() for name in EXAMPLES if name in table.column_names}
    flips, _ = derive(columns, "acc_flip_rate")
    _, errors = derive(columns, "error_rate")
    assert flips[40:].sum() > 0
    assert errors[40:].sum() < 0


def test_what_a_config_asks_for_is_written_in_one_order():
    asked = requested(["p_drop", "kl_div", "acc_flip_rate", "logit_diff"])
    assert asked == ("logit_diff", "delta_logit_diff", "p_drop", "kl_div", "acc_flip_rate")
    assert requested(["seq_p_drop"], full_target=True) == ("delta_logit_diff", "seq_p_drop")
    assert requested(None) == FIRST_TOKEN
    assert requested(None, full_target=True) == tuple(METRICS)


def test_an_unknown_metric_is_named_with_the_nearest():
    with pytest.raises(BadInput, match=r"run\.json: no metric 'kl_dif'; did you mean kl_div\?"):
        requested(["kl_dif"], where="run.json")
    with pytest.raises(BadInput, match=r"seq_p_drop reads the whole target.*full_target"):
        requested(["seq_p_drop"], full_target=False)
