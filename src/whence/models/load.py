"""Weights, tokenizer, adapter, dtype and device: the one way in.

A model is a Hugging Face folder, a hub id, or `tiny`, the model that ships with Whence. What cannot
be loaded is answered with one line that says what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.models.adapters import attach_adapter, detach_adapter, using_adapter
from whence.models.hub import advised, files_only

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "Loaded",
    "attach_adapter",
    "detach_adapter",
    "load_model",
    "load_tokenizer",
    "model_source",
    "no_progress_bars",
    "using_adapter",
]

DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}


@dataclass(frozen=True)
class Loaded:
    """A model ready to run, in evaluation mode, with everything needed to say which one it is.

    source: absolute folder, or hub id. revision: the hub commit, or what was asked for.
    adapter: the LoRA folder that wraps the model, or None for the plain base.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    source: str
    revision: str | None = None
    adapter: Path | None = None


def load_model(
    model: str,
    *,
    adapter: Path | None = None,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
) -> Loaded:
    """Load a causal language model with its tokenizer, and a LoRA adapter if one is given.

    model: folder, hub id, or "tiny". dtype "auto": bfloat16 on a GPU that computes in it, float32
    elsewhere; "stored": as in the weight file. device "auto": cuda, else mps, else cpu.

    Raises BadInput where the model, revision, dtype, device or adapter cannot be had, and where the
    weights do not fill the architecture (Transformers would go on with random numbers there).
    """
    from transformers import AutoModelForCausalLM

    place = device_named(device)
    precision = _dtype(dtype, place)
    source = model_source(model)
    local_only = files_only(source)
    tokenizer = _tokenizer(source, revision, trust_remote_code, local_only)
    with advised(source, revision), no_progress_bars():
        network, report = AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision,
            dtype=precision or "auto",
            trust_remote_code=trust_remote_code,
            local_files_only=local_only,
            attn_implementation=attn_implementation,
            output_loading_info=True,
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise BadInput(
            f"{source}: {len(missing)} weights are not in the file (first: {missing[0]}); "
            "it is not a whole causal language model of this architecture"
        )
    network.to(place).eval()
    base = Loaded(
        model=network,
        tokenizer=tokenizer,
        device=place,
        dtype=network.dtype,
        source=source,
        revision=getattr(network.config, "_commit_hash", None) or revision,
    )
    return base if adapter is None else attach_adapter(base, adapter)


def load_tokenizer(
    model: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder, hub id or "tiny".

    A tokenizer without a padding token pads with EOS, as TRL does: the padding is masked, so its id
    is never seen. Its `model_max_length` is at most the number of positions that the model has, so
    that every step cuts rows at the same place.

    Raises BadInput as `load_model` does, and where there is no EOS.
    """
    source = model_source(model)
    return _tokenizer(source, revision, trust_remote_code, files_only(source))


def _tokenizer(
    source: str, revision: str | None, trust_remote_code: bool, local_only: bool
) -> PreTrainedTokenizerBase:
    from transformers import AutoConfig, AutoTokenizer

    with advised(source, revision):
        tokenizer = AutoTokenizer.from_pretrained(
            source,
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=local_only,
        )
        config = AutoConfig.from_pretrained(
            source,
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=local_only,
        )
    if positions := getattr(config.get_text_config(), "max_position_embeddings", None):
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    if tokenizer.eos_token_id is None:
        raise BadInput(
            f"{source}: its tokenizer has no EOS token, which must end every completion; "
            "set eos_token in tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def model_source(model: str) -> str:
    """What Transformers is asked for: an absolute folder, or the hub id as given.

    Raises BadInput for a path that is not there, a folder without `config.json`, and an adapter
    folder given as a model.
    """
    if model == "tiny":
        folder = Path(str(resources.files("whence.tiny") / "weights"))
        if not (folder / "config.json").is_file():
            raise BadInput(f"the tiny model is not in {folder}: `whence tiny train` makes it")
        return str(folder)
    path = Path(model).expanduser()
    if path.is_dir():
        if (path / "config.json").is_file():
            return str(path.resolve())
        if (path / "adapter_config.json").is_file():
            raise BadInput(
                f"{model} is a LoRA adapter, not a model: give its base as the model and it as the "
                "adapter, or fold them with `whence data merge`"
            )
        raise BadInput(
            f"{model}: no config.json in this folder; expected a Hugging Face model folder"
        )
    looks_like_a_path = model.startswith(("/", ".", "~", "\\")) or model.count("/") > 1
    if path.exists() or looks_like_a_path or not model.strip():
        raise BadInput(
            f'no model folder "{model}": give a folder with config.json, a hub id, or tiny'
        )
    return model


def device_named(name: str) -> torch.device:
    """The device; auto takes the first there is. Raises BadInput for one that is not here."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f'device "{name}" is unknown: use auto, cpu, cuda, cuda:N or mps') from error
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise BadInput(
            f'device "{name}" is not here ({torch.cuda.device_count()} CUDA devices): use auto'
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadInput('device "mps" is not here: use auto or cpu')
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype | None:
    import torch

    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if name == "stored":
        return None
    if name not in DTYPES:
        raise BadInput(f'dtype "{name}" is unknown: use auto, stored, {", ".join(DTYPES)}')
    dtype: torch.dtype = getattr(torch, DTYPES[name])
    return dtype


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Without Transformers' bars for reading and writing weights; Whence shows its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
