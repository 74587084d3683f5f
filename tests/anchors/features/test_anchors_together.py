"""Several kinds of vertical attention in one pass: each folder is that of its own extraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from extractions import Case, run
from pydantic import ValidationError

from whence.anchors.features import capture_trace as module
from whence.anchors.features.together import TogetherConfig, extract_together
from whence.runs.fingerprint import hash_folder

KINDS: dict[str, Any] = {
    "light": {"mode": "light", "light_last_n_tokens": 3},
    "full": {"mode": "full"},
    "sum": {"mode": "full", "depth_control": False},
}


def alone(case: Case, output: Path, kind: dict[str, Any]) -> dict[str, str]:
    own = {**kind, "vertical": kind["mode"]}
    del own["mode"]
    run(case, output, layers=("0", "2"), pooling=("mean", "tokens"), **own)
    return hash_folder(output)


def together(case: Case, output: Path, **changed: Any) -> TogetherConfig:
    return TogetherConfig(
        metadata=case.metadata,
        model="tiny",
        device="cpu",
        layers=("0", "2"),
        pooling=("mean", "tokens"),
        dtype="float32",
        output_dir=output,
        **{"kinds": KINDS, **changed},
    )


def test_folders_are_those_of_extractions_one_by_one_also_after_a_kill(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "T"
    capture, read = module.capture_several, []

    def cut_off(*given: Any) -> Any:
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(given[-1])
        return capture(*given)

    with monkeypatch.context() as there:
        there.setattr(module, "capture_several", cut_off)
        with pytest.raises(KeyboardInterrupt):
            extract_together(together(case, output))
    with monkeypatch.context() as there:
        there.setattr(module, "capture_several", lambda *a: read.append(a[-1]) or capture(*a))
        extract_together(together(case, output))
        assert len(read) == len(set(read))
        # What another has of the same texts is copied.
        again = together(case, tmp_path / "U", reuse=output, kinds={"x": KINDS["full"]})
        extract_together(again)
        assert len(read) == len(set(read))
    assert extract_together(together(case, output)).done
    for name, kind in KINDS.items():
        assert hash_folder(output / name) == alone(case, tmp_path / name, kind)
    assert hash_folder(tmp_path / "U" / "x") == hash_folder(output / "full")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"vertical": "light"}, "vertical attention is said in kinds"),
        ({"kinds": {}}, "at least 1"),
        ({"kinds": {"../x": {}}}, "names a folder"),
    ],
)
def test_what_does_not_fit_is_refused(
    changed: dict[str, Any], said: str, case: Case, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=said):
        together(case, tmp_path / "T", **changed)
