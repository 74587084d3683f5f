"""Files that a stage begins from: put on the base, and alike but where they may differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from whence.errors import BadInput
from whence.runs.config import Config, OutputConfig
from whence.sweep.bases import check_parity, read_bases
from whence.sweep.drafts import Draft
from whence.sweep.factors import Combination
from whence.sweep.settings import StageSettings, Sweep


class Section(Config):
    depth: int = Field(default=2, description="Depth.")
    width: int = Field(default=8, description="Width.")


class Toy(OutputConfig):
    model: str = Field(description="Model.")
    part: Section = Field(default=Section(), description="A section.")


def stage(**settings: Any) -> StageSettings:
    return StageSettings.model_validate({"name": "one", **settings})


def drafts_of(bases: dict[str, Any], home: Path) -> list[Draft]:
    return [
        Draft(
            Combination({"config": name}, {}),
            settings,
            Toy.model_validate({**settings, "output_dir": home}),
        )
        for name, settings in bases.items()
    ]


def files(folder: Path, **texts: str) -> tuple[Path, ...]:
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.write_text(text)
        paths.append(path)
    return tuple(paths)


def test_files_are_put_on_the_base_section_by_section(tmp_path: Path) -> None:
    configs = files(tmp_path, a="model: A\npart: {depth: 5}\n", b="model: B\n")
    bases = read_bases(
        {"part": {"width": 3}}, [stage(configs=configs, set={"part.depth": 7}), stage()]
    )
    assert bases == {
        "a": {"model": "A", "part": {"width": 3, "depth": 7}},
        "b": {"model": "B", "part": {"width": 3, "depth": 7}},
    }


def test_a_default_written_out_is_no_difference(tmp_path: Path) -> None:
    configs = files(tmp_path, a="model: A\npart: {depth: 2}\n", b="model: B\n")
    drafts = drafts_of(read_bases({}, [stage(configs=configs)]), tmp_path)
    assert check_parity(drafts, ["model"]) == {"model": {"a": "A", "b": "B"}}


def test_another_difference_is_refused_with_its_values(tmp_path: Path) -> None:
    configs = files(tmp_path, a="model: A\n", b="model: B\npart: {depth: 3}\n")
    drafts = drafts_of(read_bases({}, [stage(configs=configs)]), tmp_path)
    with pytest.raises(BadInput, match=r"part\.depth: a 2, b 3"):
        check_parity(drafts, ["model"])
    assert set(check_parity(drafts, ["model", "part"])) == {"model", "part.depth"}


def test_may_differ_must_name_a_setting(tmp_path: Path) -> None:
    configs = files(tmp_path, a="model: A\n", b="model: B\n")
    drafts = drafts_of(read_bases({}, [stage(configs=configs)]), tmp_path)
    with pytest.raises(BadInput, match="modell is no setting"):
        check_parity(drafts, ["model", "modell"])


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (one,) = files(tmp_path, a="model: A\n")
    (other,) = files(tmp_path / "x", a="model: B\n")
    with pytest.raises(BadInput, match="two files are called a"):
        read_bases({}, [stage(configs=(one, other))])


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([{"name": "a"}, {"name": "a"}], "two are called a"),
        ([{"name": "a", "refine": {"stage": "b", "top": 1}}], "refines b, which is not before it"),
        ([{"name": "a", "may_differ": ["x"]}], "has may_differ, and no configs"),
        ([{"name": "../a"}], "pattern"),
    ],
)
def test_stages_that_cannot_be_meant_are_refused(stages: list[Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Sweep.model_validate({"command": "anchors run", "stages": stages})
