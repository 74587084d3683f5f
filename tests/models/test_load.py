"""Loading works from a folder, and says in one line what to do where it does not."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from whence.errors import BadInput
from whence.models.load import load_model, load_tokenizer, model_source


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(BadInput) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.fixture
def copied(random_gemma, tmp_path):
    return shutil.copytree(random_gemma, tmp_path / "model")


def test_a_folder_loads_ready_to_run(random_gemma, monkeypatch):
    import torch

    monkeypatch.chdir(random_gemma.parent)
    loaded = load_model(random_gemma.name, device="cpu")
    assert loaded.source == str(random_gemma)
    assert loaded.dtype == torch.float32 == next(loaded.model.parameters()).dtype
    assert not loaded.model.training
    assert loaded.adapter is None
    assert loaded.tokenizer.pad_token_id == 0
    assert loaded.tokenizer.model_max_length == loaded.model.config.max_position_embeddings


def test_dtypes_are_taken_by_their_short_names(random_gemma):
    import torch

    assert load_model(str(random_gemma), dtype="bf16").dtype == torch.bfloat16
    assert load_model(str(random_gemma), dtype="stored").dtype == torch.float32
    assert 'dtype "int3" is unknown' in refusal(load_model, str(random_gemma), dtype="int3")


def test_devices_that_are_not_here(random_gemma):
    import torch

    assert "is unknown" in refusal(load_model, str(random_gemma), device="gpu9")
    if not torch.cuda.is_available():
        assert "0 CUDA devices" in refusal(load_model, str(random_gemma), device="cuda")


def test_a_path_that_is_not_there(tmp_path):
    message = refusal(load_model, str(tmp_path / "nowhere"))
    assert "no model folder" in message
    assert "hub id" in message


def test_a_folder_that_is_no_model(tmp_path):
    assert "no config.json" in refusal(load_model, str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "LoRA adapter, not a model" in refusal(load_model, str(tmp_path))


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_hub_id_without_a_hub(load):
    message = refusal(load, "nobody/has-this-model")
    assert "HF_HUB_OFFLINE is set" in message
    assert "hf download nobody/has-this-model" in message


@contextmanager
def hub(monkeypatch, status: int, error_code: str):
    """A hub on this machine that answers every request with one error, as the real one words it."""

    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.send_header("X-Error-Code", error_code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    online(monkeypatch, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def online(monkeypatch, port: int):
    from huggingface_hub import constants

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )


@pytest.mark.parametrize(
    ("status", "error_code", "says"),
    [
        (403, "GatedRepo", "is gated: accept its terms"),
        (404, "RepoNotFound", "no model nobody/gone on the hub"),
        (404, "RevisionNotFound", "has no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses(monkeypatch, status, error_code, says):
    with hub(monkeypatch, status, error_code):
        assert says in refusal(load_tokenizer, "nobody/gone", revision="v9")


def test_a_hub_that_cannot_be_reached(monkeypatch):
    online(monkeypatch, port=9)
    assert "the hub cannot be reached" in refusal(load_tokenizer, "nobody/gone")


def test_broken_folders(copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "cannot be loaded" in refusal(load_model, str(copied))
    (copied / "config.json").write_text("{")
    assert "cannot be loaded" in refusal(load_model, str(copied))
    (copied / "config.json").write_text(json.dumps({"model_type": "not-a-model"}))
    assert "cannot be loaded" in refusal(load_model, str(copied))


def test_weights_that_do_not_fill_the_architecture(copied):
    config = json.loads((copied / "config.json").read_text())
    config["num_hidden_layers"] += 1
    config.pop("layer_types", None)
    (copied / "config.json").write_text(json.dumps(config))
    assert "weights are not in the file" in refusal(load_model, str(copied))


def test_a_tokenizer_without_an_end(copied):
    config = json.loads((copied / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    (copied / "tokenizer_config.json").write_text(json.dumps(config))
    assert "no EOS token" in refusal(load_tokenizer, str(copied))


def test_padding_falls_back_to_the_end_token(copied):
    config = json.loads((copied / "tokenizer_config.json").read_text())
    config.pop("pad_token")
    (copied / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(str(copied))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_tiny_is_the_shipped_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("whence.models.load.resources.files", lambda package: tmp_path)
    assert "`whence tiny train` makes it" in refusal(model_source, "tiny")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    assert model_source("tiny") == str(tmp_path / "weights")
