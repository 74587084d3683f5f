"""Batteries: the earlier lab's files as they are, the new keys, and what is wrong in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whence.errors import BadInput
from whence.heads.battery import (
    ActivationPatch,
    HeadsPairZero,
    HeadsSubsetZero,
    HeadsZero,
    check_heads,
    parse_battery,
    parse_head,
    resolve_heads,
    resolve_layers,
    spell_heads,
)
from whence.runs.config import resolved
from whence.runs.jsonfile import read_json


def test_every_old_battery_loads(shared_data: Path) -> None:
    files = sorted((shared_data / "probes/configs").glob("battery_*.json"))
    assert len(files) == 8
    for file in files:
        battery = parse_battery(read_json(file), file.name)
        again = parse_battery(resolved(battery), "the record")
        assert again == battery


def test_defaults_are_the_earlier_labs() -> None:
    zero = parse_battery({"type": "heads_zero"}, "b")
    assert isinstance(zero, HeadsZero)
    assert (zero.layers, zero.heads, zero.scales, zero.positions) == ("all", "all", (0.0,), "all")
    assert zero.n_random == 0
    patch = parse_battery({"type": "activation_patch"}, "b")
    assert isinstance(patch, ActivationPatch)
    assert (patch.positions, patch.patch_direction) == ("last_token", "corrupt->clean")


def test_a_method_has_two_spellings() -> None:
    mean = parse_battery({"type": "heads_mean"}, "b")
    assert isinstance(mean, HeadsZero)
    assert mean.method == "mean"
    same = parse_battery({"type": "heads_zero", "method": "mean"}, "b")
    assert isinstance(same, HeadsZero)
    assert same.method == "mean"
    with pytest.raises(BadInput, match="contradicts"):
        parse_battery({"type": "heads_mean", "method": "zero"}, "b")
    with pytest.raises(BadInput, match="scales: belong to method zero"):
        parse_battery({"type": "heads_resample", "scales": [0.5]}, "b")


def test_random_control_is_a_switch_or_a_number() -> None:
    for given, count in [(False, 0), (True, 20), (7, 7), (1, 1), (0, 0)]:
        battery = parse_battery({"type": "heads_zero", "random_control": given}, "b")
        assert isinstance(battery, HeadsZero)
        assert battery.n_random == count


def test_pairs_within_and_across_layers() -> None:
    battery = parse_battery(
        {
            "type": "heads_pair_zero",
            "pairs": [{"layer": 0, "h1": 2, "h2": 4}, {"a": [0, 2], "b": "3:1"}],
        },
        "b",
    )
    assert isinstance(battery, HeadsPairZero)
    assert [pair.heads for pair in battery.pairs] == [((0, 2), (0, 4)), ((0, 2), (3, 1))]


def test_groups_within_and_across_layers() -> None:
    battery = parse_battery(
        {
            "type": "heads_subset_zero",
            "groups": [
                {"layer": 0, "heads": [7, 2], "label": "pair"},
                {"heads": ["5:1", [0, 2]]},
            ],
        },
        "b",
    )
    assert isinstance(battery, HeadsSubsetZero)
    assert [(group.heads, group.label) for group in battery.groups] == [
        (((0, 2), (0, 7)), "pair"),
        (((0, 2), (5, 1)), "5:1+0:2"),
    ]


@pytest.mark.parametrize(
    ("battery", "says"),
    [
        ({"type": "head_zero"}, "type 'head_zero' is no battery; did you mean heads_zero?"),
        ({"layers": "all"}, "type is required"),
        ([], "an object with a type"),
        ({"type": "heads_zero", "layer": "all"}, "layer: no such key; did you mean layers?"),
        ({"type": "heads_zero", "layers": "al"}, 'layers: "all" or a list of whole numbers'),
        ({"type": "heads_zero", "layers": []}, "layers: the list is empty"),
        ({"type": "heads_zero", "layers": [1, 1]}, "layers: 1 is given twice"),
        ({"type": "heads_zero", "positions": "end"}, "positions: all, last_token, first, final_K"),
        ({"type": "heads_zero", "random_control": -1}, "random_control: true, false or a number"),
        ({"type": "heads_zero", "batch_size": 0}, "batch_size: "),
        ({"type": "heads_pair_zero"}, "pairs is required"),
        ({"type": "heads_pair_zero", "pairs": [{"layer": 0, "h1": 2}]}, "pairs.0: h2 is required"),
        (
            {"type": "heads_pair_zero", "pairs": [{"layer": 0, "h1": 2, "h3": 4, "h2": 1}]},
            "pairs.0: h3: no such key; did you mean h2?",
        ),
        (
            {"type": "heads_pair_zero", "pairs": [{"layer": 0, "h1": 2, "h2": 2}]},
            "pairs.0: a pair of one head, 0:2",
        ),
        (
            {
                "type": "heads_pair_zero",
                "pairs": [{"a": [0, 1], "b": [2, 3]}, {"a": [2, 3], "b": [0, 1]}],
            },
            r"pairs 0:1\+2:3 is given twice",
        ),
        ({"type": "heads_subset_zero", "groups": [{"heads": [2]}]}, "head 2 has no layer"),
        ({"type": "heads_subset_zero", "groups": [{"heads": ["x"]}]}, "groups.0: head 'x'"),
        (
            {"type": "heads_subset_zero", "groups": [{"layer": 0, "heads": [2], "lable": "a"}]},
            "groups.0.lable: no such key; did you mean label?",
        ),
        (
            {"type": "activation_patch", "heads": [1]},
            "heads: belong to granularity head_out, not to layer_resid",
        ),
        ({"type": "activation_patch", "granularity": "resid"}, "granularity: "),
    ],
)
def test_refused_in_one_line(battery: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says.replace("?", r"\?")) as error:
        parse_battery(battery, "battery.json")
    assert str(error.value).startswith("battery.json: ")
    assert "\n" not in str(error.value)


def test_which_layers_and_heads_exist() -> None:
    assert resolve_layers("all", 3) == [0, 1, 2]
    assert resolve_layers((2, 0), 3) == [0, 2]
    assert resolve_heads([1], 2) == [1]
    with pytest.raises(BadInput, match="layer 3 is out of range: the model has 3 layers, 0 to 2"):
        resolve_layers((0, 3), 3)
    with pytest.raises(BadInput, match="head -1 is out of range: a layer has 2 heads, 0 to 1"):
        resolve_heads((-1,), 2)
    assert check_heads([(2, 1)], 3, 2) == [(2, 1)]
    with pytest.raises(BadInput, match="head 3:0: layer 3 is out of range: the model has 3 layers"):
        check_heads([(3, 0)], 3, 2)
    with pytest.raises(BadInput, match="head 0:2: head 2 is out of range: a layer has 2 heads"):
        check_heads([(0, 2)], 3, 2)


def test_how_heads_are_written() -> None:
    assert parse_head("0:2") == (0, 2)
    assert spell_heads([(10, 0), (2, 1), (2, 1)]) == "2:1 10:0"
    for wrong in ("2", "0:2:3", "a:b", ""):
        with pytest.raises(BadInput, match="LAYER:HEAD was expected"):
            parse_head(wrong)
