"""Prompts of equal length, side by side: nothing in `heads` is ever padded.

A sweep multiplies every prompt by the number of heads, so even one prompt alone fills a batch, and
no mask, pad position or padding side can enter a number. Rows that ask the same of the same prompt
share one forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from whence.heads.prompts import Example, Ids, MetricSpan

if TYPE_CHECKING:
    from torch import Tensor

Side = Literal["clean", "corrupt"]


@dataclass(frozen=True)
class Unit:
    """What one row of a batch holds: a prompt, the target's tokens but the last, and a partner.

    source: the prompt whose activations may be put into this one, or None.
    """

    prompt: Ids
    forced: Ids
    source: Ids | None


@dataclass(frozen=True)
class Group:
    """Units of one shape. ids [batch, pos]; prompt_length tokens of each are the prompt.

    examples: positions in the list of examples; row: the row of `ids` that each of them reads.
    target [example, reads], foil [example]: token ids. The reads are the last real token of the
    prompt and, for targets of several tokens, the target's tokens but the last.
    """

    units: tuple[Unit, ...]
    ids: Tensor
    prompt_length: int
    examples: tuple[int, ...]
    row: Tensor
    target: Tensor
    foil: Tensor

    @property
    def first_read(self) -> int:
        return self.prompt_length - 1


def units_of(
    examples: Sequence[Example], span: MetricSpan, *, patch_from: Side | None = None
) -> list[Unit]:
    """The unit of each example. patch_from: the side that is the source; the other one runs."""
    units = []
    for example in examples:
        forced = example.target[:-1] if span == "full_target" else ()
        if patch_from is None:
            units.append(Unit(example.clean, forced, None))
            continue
        assert example.corrupt is not None
        pair = (example.clean, example.corrupt)
        run, source = pair if patch_from == "corrupt" else pair[::-1]
        units.append(Unit(run, forced, source))
    return units


def make_groups(
    examples: Sequence[Example],
    units: Sequence[Unit],
    span: MetricSpan,
    *,
    max_rows: int,
    device: object = "cpu",
) -> list[Group]:
    """Group examples by the shape of their units, at most `max_rows` units in a group.

    Longest first, then in the order of the examples: the same input gives the same groups.
    """
    members: dict[Unit, list[int]] = {}
    for at, unit in enumerate(units):
        members.setdefault(unit, []).append(at)
    shapes: dict[tuple[int, int], list[Unit]] = {}
    for unit in members:
        shapes.setdefault((len(unit.prompt), len(unit.forced)), []).append(unit)
    groups = []
    for shape in sorted(shapes, key=lambda s: (-sum(s), s)):
        alike = shapes[shape]
        for start in range(0, len(alike), max_rows):
            some = alike[start : start + max_rows]
            groups.append(_group(examples, some, members, span, device))
    return groups


def _group(
    examples: Sequence[Example],
    units: Sequence[Unit],
    members: dict[Unit, list[int]],
    span: MetricSpan,
    device: object,
) -> Group:
    import torch

    pairs = [(at, row) for row, unit in enumerate(units) for at in members[unit]]
    targets = [examples[at].target for at, _ in pairs]
    if span == "first_token":
        targets = [target[:1] for target in targets]
    foils = [examples[at].foil[0] for at, _ in pairs]
    return Group(
        units=tuple(units),
        ids=torch.tensor([unit.prompt + unit.forced for unit in units], device=device),
        prompt_length=len(units[0].prompt),
        examples=tuple(at for at, _ in pairs),
        row=torch.tensor([row for _, row in pairs], device=device),
        target=torch.tensor(targets, device=device),
        foil=torch.tensor(foils, device=device),
    )
