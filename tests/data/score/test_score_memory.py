"""Running out of memory: halve the batch, begin again, give up with one line."""

from __future__ import annotations

import pytest

from whence.data.score.memory import within_memory
from whence.errors import WhenceError


def test_the_budget_is_halved_until_it_fits() -> None:
    tried: list[int] = []

    def run(budget: int) -> str:
        tried.append(budget)
        if budget > 300:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return "done"

    assert within_memory(run, 1024) == ("done", 256)
    assert tried == [1024, 512, 256]


def test_other_errors_pass_and_a_row_that_never_fits_is_one_line() -> None:
    def broken(budget: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        within_memory(broken, 64)

    def hungry(budget: int) -> None:
        raise MemoryError

    with pytest.raises(WhenceError, match="out of memory on a single row") as caught:
        within_memory(hungry, 64)
    assert "\n" not in str(caught.value)
