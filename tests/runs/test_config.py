"""What of a configuration is recorded, and what makes two runs the same."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import pytest
from pydantic import Field, SecretStr, ValidationError

from whence.runs.config import Config, OutputConfig, not_identity, resolved


class Training(Config):
    not_identity: ClassVar[frozenset[str]] = frozenset({"workers"})
    rate: float = 1e-3
    workers: int = 2
    key: SecretStr = SecretStr("deep")


class Toy(OutputConfig):
    not_identity: ClassVar[frozenset[str]] = frozenset({"device"})
    device: str = "cpu"
    mode: Literal["a", "b"] = "a"
    files: tuple[Path, ...] = (Path("x"),)
    weights: dict[str, float] = Field(default_factory=lambda: {"a": 1.0})
    training: Training = Field(default_factory=Training)
    token: SecretStr | None = SecretStr("shallow")


def test_everything_is_recorded_but_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolved(Toy(output_dir=Path("o"))) == {
        "output_dir": str(tmp_path / "o"),
        "overwrite": False,
        "device": "cpu",
        "mode": "a",
        "files": [str(tmp_path / "x")],
        "weights": {"a": 1.0},
        "training": {"rate": 1e-3, "workers": 2},
    }


def test_names_that_do_not_count_add_up() -> None:
    assert sorted(not_identity(Toy(output_dir=Path("o")))) == [
        "device",
        "output_dir",
        "overwrite",
        "training.workers",
    ]


def test_unknown_keys_are_errors_and_values_stay() -> None:
    with pytest.raises(ValidationError):
        Toy(output_dir=Path("o"), devcie="cpu")  # type: ignore[call-arg]
    config = Toy(output_dir=Path("o"))
    with pytest.raises(ValidationError):
        config.device = "cuda"  # type: ignore[misc]
