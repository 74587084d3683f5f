"""Words and files become a configuration; what is wrong is one line that names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, field_validator

from whence.cli.parse import Usage, parse
from whence.errors import BadInput
from whence.runs.config import Config, OutputConfig


class LoraSettings(Config):
    rank: int = Field(default=16, ge=1, description="Rank of the update.")
    seed: int = 1


class WindowSettings(Config):
    first: int = 1


class ArmSettings(Config):
    name: str
    size: int = 3


class ToyConfig(OutputConfig):
    manifest: Path = Field(description="The manifest.")
    lora: LoraSettings = Field(default_factory=LoraSettings, description="The adapter.")
    window: WindowSettings | None = None
    match_on: list[str] = Field(default=["category"], description="Columns.")
    fractions: tuple[float, ...] = (0.5,)
    mode: Literal["mean", "nearest"] = "mean"
    other_mode: Literal["mean", "nearest"] | None = "mean"
    size: Literal[8, 16] = 8
    subset_k: int | None = Field(default=100, gt=0)
    unit_normalize: bool = Field(default=True, description="Unit gradients.")
    weights: dict[str, float] = Field(default_factory=dict)
    arms: list[ArmSettings] = Field(default_factory=list)
    batch: Literal["auto"] | int = "auto"
    seed: int = 0

    @field_validator("fractions")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) <= 0:
            raise ValueError("a fraction is positive")
        return value


REQUIRED = ("--manifest", "m.json", "--output-dir", "o")


def read(*words: str, positional: str | None = None) -> ToyConfig:
    return parse(ToyConfig, words, Usage("data toy", "Toy.", "whence data toy", positional))


def error(*words: str) -> str:
    with pytest.raises(BadInput) as caught:
        read(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_the_models() -> None:
    assert read(*REQUIRED) == ToyConfig(manifest=Path("m.json"), output_dir=Path("o"))


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--match-on", "a", "b"], "match_on", ["a", "b"]),
        (["--match-on", "a", "--seed", "1", "--match-on", "b", "c"], "match_on", ["a", "b", "c"]),
        (["--match-on"], "match_on", []),
        (["--match_on=a"], "match_on", ["a"]),
        (["--fractions", "0.25", "1e-3"], "fractions", (0.25, 1e-3)),
        (["--mode", "nearest"], "mode", "nearest"),
        (["--other-mode", "none"], "other_mode", None),
        (["--size", "16"], "size", 16),
        (["--subset-k", "none"], "subset_k", None),
        (["--subset_k", "7"], "subset_k", 7),
        (["--no-unit-normalize"], "unit_normalize", False),
        (["--unit-normalize"], "unit_normalize", True),
        (["--weights", "a=1", "b=2.5"], "weights", {"a": 1.0, "b": 2.5}),
        (["--arms", '[{"name": "top"}]'], "arms", [ArmSettings(name="top")]),
        (["--batch", "32"], "batch", 32),
        (["--rank", "4"], "lora", LoraSettings(rank=4)),
        (["--first", "5"], "window", WindowSettings(first=5)),
        (["--seed", "-3", "--lora-seed", "9"], "lora", LoraSettings(seed=9)),
        (["--seed", "-3", "--lora-seed", "9"], "seed", -3),
        (["--manifest", "other"], "manifest", Path("other")),
    ],
)
def test_every_kind_of_flag(words: list[str], key: str, value: Any) -> None:
    assert getattr(read(*REQUIRED, *words), key) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--manifst", "m"], "no flag --manifst; did you mean --manifest?"),
        (["--unit-normalise"], "no flag --unit-normalise; did you mean --unit-normalize?"),
        (["--zzz"], "no flag --zzz; --help lists them"),
        (["stray"], "unexpected word 'stray'"),
        (["--rank", "x"], "--rank: should be a valid integer.*got 'x'"),
        (["--rank", "0"], "--rank: should be greater than or equal to 1, got '0'"),
        (["--mode", "men"], "invalid choice 'men' for argument '--mode'.*'mean', 'nearest'"),
        (["--fractions", "0"], "^--fractions: a fraction is positive$"),
        (["--weights", "a"], "--weights: KEY=VALUE was expected, got 'a'"),
        (["--arms", "[{"], "--arms: JSON was expected"),
        (["--arms", '[{"nam": "x"}]'], "--arms 0.nam: no such key; did you mean name?"),
        (["--seed"], "Missing value for argument '--seed'"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], message: str) -> None:
    assert re.search(message, error(*REQUIRED, *words))


def test_required_settings_are_named_as_flags() -> None:
    assert error() == "--output-dir is required; --manifest is required"


class ReportsConfig(OutputConfig):
    files: tuple[Path, ...] = Field(min_length=2, description="Reports.")
    match_on: list[str] = Field(default=[], description="Columns.")


def reports(*words: str) -> ReportsConfig:
    usage = Usage("heads toy", "Toy.", "whence heads toy a b", "files")
    return parse(ReportsConfig, words, usage)


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b", "c", "--output-dir", "o"],
        ["--output-dir", "o", "a", "b", "c"],
        ["a", "b", "c", "--match-on", "x", "y", "--output-dir", "o"],
    ],
)
def test_several_words_may_stand_without_a_flag(words: list[str]) -> None:
    found = reports(*words)
    assert found.files == (Path("a"), Path("b"), Path("c"))
    assert found.match_on == ["x", "y"] * ("x" in words)


def test_too_few_words_without_a_flag_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="FILES is required"):
        reports("--output-dir", "o")
    with pytest.raises(BadInput, match=r"FILES: .* at least 2 items .* got \['a'\]"):
        reports("a", "--output-dir", "o")
    with pytest.raises(SystemExit):
        reports("--help")
    assert "FILES" in capsys.readouterr().out


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path / "toy.yaml",
        "manifest: m.json\noutput_dir: o\nunit_normalize: false\nseed: 3\n"
        "lora: {rank: 8, seed: 2}\nmatch_on: [a]\narms:\n- name: top\n",
    )
    plain = read("--config", file)
    assert (plain.unit_normalize, plain.seed, plain.match_on) == (False, 3, ["a"])
    assert plain.arms == [ArmSettings(name="top")]
    over = read("--config", file, "--unit-normalize", "--rank", "4", "--match-on", "b")
    assert (over.unit_normalize, over.seed, over.match_on) == (True, 3, ["b"])
    assert over.lora == LoraSettings(rank=4, seed=2)


def test_json_files_and_empty_ones(tmp_path: Path) -> None:
    file = write(tmp_path / "toy.json", '{"manifest": "m.json", "output_dir": "o", "seed": 4}')
    assert read("--config", file).seed == 4
    assert read("--config", write(tmp_path / "empty.yaml", ""), *REQUIRED) == read(*REQUIRED)


def test_the_file_may_stand_without_a_flag(tmp_path: Path) -> None:
    file = write(tmp_path / "toy.yaml", "manifest: m.json\noutput_dir: o\n")
    spellings = [
        [file],
        ["--config", file],
        [f"--config={file}"],
        ["--seed", "0", "--config", file],
    ]
    for words in spellings:
        assert read(*words, positional="config").manifest == Path("m.json")
    assert read(file, "--match-on", "a", "b", positional="config").match_on == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit_normalise: true", "unit_normalise: no such key; did you mean unit_normalize?"),
        ("lora: {rnk: 3}", r"lora\.rnk: no such key; did you mean rank?"),
        ("rnk: 3", "rnk: no such key; did you mean lora.rank?"),
        ("arms: [{nme: x}]", r"arms\.0\.nme: no such key; did you mean name?"),
        ("arms: [{size: 3}]", r"toy\.yaml: arms\.0\.name is required"),
        ("lora: {rank: x}", r"toy\.yaml: lora\.rank: should be a valid integer"),
        ("- a\n- b", r"toy\.yaml: holds a list"),
        ("a: b: c", r"toy\.yaml: not YAML at line 1"),
        ("seed: 1\nseed: 2", r"toy\.yaml: not YAML at line 2: seed is given twice"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "toy.yaml", text)
    assert re.search(message, error("--config", file, *REQUIRED))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert error("--config", str(tmp_path / "no.yaml")).endswith("no.yaml: no such file")
    assert error("--config", str(tmp_path)).startswith(f"{tmp_path}: cannot be read")


def test_help_has_the_example_and_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        read("--help")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "Example:\n  whence data toy\n" in out
    assert "--subset-k INT" in out
    assert "(default: 100)" in out
    assert "--unit-normalize, --no-unit-normalize" in out
    assert "(required)" in out
