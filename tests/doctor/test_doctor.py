"""`whence doctor`: sound models pass, broken ones are named, and a missing hub is no failure."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whence.doctor import DoctorConfig, DoctorResult, doctor
from whence.doctor import machine as machine_module
from whence.errors import BadInput


def by_name(result: DoctorResult) -> dict[str, Any]:
    return {check.name: check for check in result.checks}


@pytest.fixture(scope="module")
def sound(random_gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> DoctorResult:
    output = tmp_path_factory.mktemp("doctor") / "checks.json"
    return doctor(DoctorConfig(model=str(random_gemma), output_json=output))


@pytest.fixture
def copy_of(random_gemma: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_gemma, tmp_path / "model"))


def test_a_sound_model_passes_every_proof(sound: DoctorResult):
    checks = by_name(sound)
    assert not sound.failed
    for name in (
        "model", "weights", "BOS", "EOS", "padding token", "vocabulary", "logits", "noise floor",
        "batch size", "right padding", "left padding", "LoRA",
    ):  # fmt: skip
        assert checks[name].status == "ok", checks[name]
    assert "float32 on cpu, context 512" in checks["model"].found
    assert "id 1, added before every prompt" in checks["BOS"].found
    assert "q_proj ×3" in checks["LoRA"].found
    assert not sound.finding().failed
    assert "all is well" in sound.finding().headline


def test_the_lines_are_also_json(sound: DoctorResult):
    assert sound.output_json is not None
    written = json.loads(sound.output_json.read_text())
    assert written["failed"] is False
    assert [c["name"] for c in written["checks"]] == [c.name for c in sound.checks]
    assert set(written["checks"][0]) == {"name", "status", "found", "advice"}
    assert sound.finding().files == {"checks": sound.output_json}


def test_nan_weights_fail_and_say_where(copy_of: Path):
    from safetensors.torch import load_file, save_file

    file = copy_of / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    result = doctor(DoctorConfig(model=str(copy_of)))
    checks = by_name(result)
    assert result.failed
    assert checks["weights"].status == "fail"
    assert "model.layers.1.mlp.down_proj.weight" in checks["weights"].found
    assert checks["logits"].status == "fail"
    finding = result.finding()
    assert finding.failed
    assert "weights, logits failed" in finding.headline
    assert all(row[3] for row in finding.rows if row[0] == "fail")


def test_a_tokenizer_without_a_padding_token_pads_with_eos(copy_of: Path):
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = copy_of / name
        if file.is_file():
            settings = json.loads(file.read_text())
            settings.pop("pad_token", None)
            file.write_text(json.dumps(settings))
    result = doctor(DoctorConfig(model=str(copy_of)))
    assert "id 2 on the" in by_name(result)["padding token"].found
    assert "EOS: masked" in by_name(result)["padding token"].found
    assert not result.failed


def test_a_tokenizer_larger_than_the_model_is_caught(copy_of: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(copy_of)
    tokenizer.add_tokens(["<new-word>"])
    tokenizer.save_pretrained(copy_of)
    checks = by_name(doctor(DoctorConfig(model=str(copy_of))))
    assert checks["vocabulary"].status == "fail"


def test_weights_that_do_not_load_are_a_failure_and_not_a_crash(copy_of: Path):
    (copy_of / "model.safetensors").write_bytes(b"not weights")
    result = doctor(DoctorConfig(model=str(copy_of)))
    assert by_name(result)["model"].status == "fail"
    assert result.finding().failed


def test_gpt2_is_told_to_need_positions(tmp_path: Path, random_gemma: Path):
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=64,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(random_gemma).save_pretrained(tmp_path)
    result = doctor(DoctorConfig(model=str(tmp_path), dtype="bfloat16"))
    checks = by_name(result)
    assert not result.failed
    assert "position ids" in checks["positions"].found
    assert "against float32" in checks["noise floor"].found
    assert "bfloat16 on cpu, context 64" in checks["model"].found


def test_settings_that_name_nothing_are_bad_input(tmp_path: Path):
    with pytest.raises(BadInput, match="--adapter needs --model"):
        doctor(DoctorConfig(adapter=tmp_path))
    with pytest.raises(BadInput, match="no model folder"):
        doctor(DoctorConfig(model=str(tmp_path / "nothing" / "here")))


def test_python_and_packages_are_held_against_what_is_declared(monkeypatch: pytest.MonkeyPatch):
    assert machine_module.python_check().status == "ok"
    monkeypatch.setattr(machine_module.platform, "python_version", lambda: "3.9.1")
    assert machine_module.python_check().status == "fail"
    assert [c.status for c in machine_module.package_checks()] == ["ok"]
    wanted = ["numpy<1", "jinja2>=3", "not-a-package>=1", "colorama>=9; sys_platform == 'no'"]
    monkeypatch.setattr(machine_module.metadata, "requires", lambda _name: wanted)
    found = {c.name: c.status for c in machine_module.package_checks()}
    assert found == {"numpy": "warn", "not-a-package": "fail", "packages": "ok"}


def test_little_room_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    assert machine_module.memory_check().name == "memory"
    monkeypatch.setattr(machine_module, "LOW_MEMORY", 2**60)
    monkeypatch.setattr(machine_module, "LOW_DISK", 2**60)
    assert machine_module.memory_check().status == "warn"
    assert machine_module.disk_check().status == "warn"


def test_every_device_is_proved():
    import torch

    checks = list(machine_module.device_checks())
    assert checks[0].name == "cpu"
    assert len([c for c in checks if c.name.startswith("cuda")]) == torch.cuda.device_count()
    assert all(c.status != "fail" for c in checks)


@pytest.fixture(params=[200, 404, 503])
def hub(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A server that answers HEAD with one status."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", request.param
    server.shutdown()
    server.server_close()


def test_a_hub_that_answers_is_ok(hub: tuple[str, int], monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    address, status = hub
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert machine_module.hub_check().status == ("warn" if status == 503 else "ok")


def test_no_hub_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert "HF_HUB_OFFLINE is set" in machine_module.hub_check().found
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        check = machine_module.hub_check(timeout=0.5)
    assert check.status == "warn"
    assert "not reached" in check.found
