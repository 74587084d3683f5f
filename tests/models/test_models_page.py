"""The page about models is right: its sites exist, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import make_toy

from whence.errors import BadInput
from whence.models import anatomy as anatomy_module
from whence.models.anatomy import find_anatomy
from whence.models.sites import parse_site

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


def example(containing: str) -> str:
    (block,) = [
        code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if containing in code
    ]
    return block


def test_every_site_of_the_table_is_one():
    names = re.findall(r"^\| `([^`]+)` \|", PAGE, re.M)
    assert len(names) == 9
    for name in names:
        assert parse_site(name.replace(".L.", ".2."), 3).name.replace(".2.", ".L.") == name


def test_the_example_of_reading_and_changing_runs():
    seen: dict[str, Any] = {}
    exec(example("load_model"), seen)
    tokens = seen["ids"].shape[1]
    assert seen["z"].shape == (1, tokens, seen["anatomy"].n_heads, seen["anatomy"].d_head)
    with torch.no_grad():
        clean = seen["loaded"].model(seen["ids"]).logits
    assert not torch.equal(seen["logits"], clean)


def test_the_example_of_registering_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(anatomy_module, "_REGISTERED", {})
    model = make_toy()
    with pytest.raises(BadInput) as error:
        find_anatomy(model)
    assert str(error.value) in " ".join(PAGE.split())
    exec(example("register("), {"model": model})
    assert capsys.readouterr().out == "2 blocks of 3 heads\n"
