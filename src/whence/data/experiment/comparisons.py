"""Which arm is held against which."""

from __future__ import annotations

from collections.abc import Sequence

from whence.data.arms import Arm, target_of
from whence.errors import BadInput

BASE = "base"
"""The arm that trains on nothing. It depends on no seed, so it is evaluated once."""

ORACLE = "oracle"
"""The arm that trains on rows that planted truth knows to be useful."""

Pair = tuple[str, str]


def comparisons_of(arms: Sequence[Arm], asked: Sequence[str], *, oracle: bool) -> list[Pair]:
    """(arm, control) pairs, the experiment's main one first and none twice:

    1. what `asked` names, each as ARM/CONTROL;
    2. every arm against the matched_random drawn for it, and, where arms are drawn by several
       rankings, one that none was drawn for against the only one of its size;
    3. every arm drawn by rank against each plain random arm of its own size;
    4. the oracle against the first matched_random;
    5. everything against the base model, so that "better than random" is never mistaken for
       "better than not training".

    Raises BadInput for an asked pair that cannot be read or names no arm.
    """
    trained = [arm.name for arm in arms] + ([ORACLE] if oracle else [])
    kinds = {arm.name: arm.kind for arm in arms if arm.kind != "matched_random"}
    matched = [(target_of(arm, kinds), arm.name) for arm in arms if arm.kind == "matched_random"]
    same_size = [
        (arm.name, control.name)
        for control in arms
        if control.kind == "random"
        for arm in arms
        if arm.ranked and _size(arm) == control.size
    ]
    pairs = [
        *(_asked(text, [*trained, BASE]) for text in asked),
        *matched,
        *_sharing(arms, matched),
        *same_size,
        *((ORACLE, control) for _, control in matched[:1] if oracle),
        *((name, BASE) for name in trained),
    ]
    return list(dict.fromkeys(pairs))


def _sharing(arms: Sequence[Arm], matched: Sequence[Pair]) -> list[Pair]:
    """Arms without a matched_random of their own, each with the only one of its size.

    Only where rankings are compared (an arm has `by`): they take as many rows of one pool, and the
    control of one is as good for the next.
    """
    ranked = [arm for arm in arms if arm.ranked]
    if not any(arm.by for arm in ranked):
        return []
    sizes = {arm.name: _size(arm) for arm in ranked}
    own = {name for name, _ in matched}
    found = []
    for arm in ranked:
        controls = [control for name, control in matched if sizes.get(name) == _size(arm)]
        if arm.name not in own and len(controls) == 1:
            found.append((arm.name, controls[0]))
    return found


def _size(arm: Arm) -> int | None:
    if arm.first is not None and arm.last is not None:
        return arm.last - arm.first + 1
    return arm.size


def _asked(text: str, names: Sequence[str]) -> Pair:
    arm, slash, control = (part.strip() for part in text.partition("/"))
    if not slash or arm == control or not {arm, control} <= set(names):
        raise BadInput(f"compare {text}: expected ARM/CONTROL, two of the arms {', '.join(names)}")
    return arm, control
