"""LoRA adapters around one shared base: attach, use, take off, and refuse those of another base.

PEFT checks an adapter's shapes only, and where names are missing it warns and goes on with an
untrained adapter. Here names, shapes and the base's own weights are checked: an adapter that Whence
saves carries `base.json`, a sample of the weights it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput

if TYPE_CHECKING:
    from peft import PeftModel

    from whence.models.load import Loaded

BASE_FILE = "base.json"
SAMPLED_WEIGHTS = 32
VALUES_PER_WEIGHT = 8
# Eight bits of mantissa: what a value may move when a base is loaded in bfloat16 or float16.
ROUNDING = 2.0**-7


def attach_adapter(loaded: Loaded, adapter: Path, *, trainable: bool = False) -> Loaded:
    """Wrap the base with a LoRA adapter, in place: `loaded.model` is used through the result.

    Raises BadInput where the folder is no adapter, or is one of another base model.
    """
    from peft import PeftModel

    if loaded.adapter is not None:
        raise BadInput(f"the model already carries the adapter {loaded.adapter}")
    check_adapter(loaded, adapter)
    try:
        wrapped = PeftModel.from_pretrained(loaded.model, str(adapter), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError) as error:
        raise BadInput(f"{adapter} does not fit {loaded.source}: {first_line(error)}") from error
    return replace(loaded, model=wrapped.eval(), adapter=adapter)


def detach_adapter(loaded: Loaded) -> Loaded:
    """Take the adapter off and give back the plain base, its weights never having been touched."""
    if loaded.adapter is None:
        return loaded
    return replace(loaded, model=loaded.model.unload(), adapter=None)


@contextmanager
def using_adapter(loaded: Loaded, adapter: Path | None) -> Iterator[Loaded]:
    """The base with `adapter` attached while the block runs; None leaves the base as it is."""
    if adapter is None:
        yield loaded
        return
    attached = attach_adapter(loaded, adapter)
    try:
        yield attached
    finally:
        detach_adapter(attached)


def save_adapter(model: PeftModel, base: Loaded, folder: Path) -> None:
    """Write `adapter_model.safetensors`, `adapter_config.json` and `base.json` into `folder`.

    The same adapter gives the same bytes. The base is recorded by its folder or hub id, and by a
    sample of its weights, so that it is known again after it moved.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = base.source
        config.revision = base.revision
    # "auto" would ask the hub whether the vocabulary was resized; it never is here.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    # PEFT keeps module names in a set, whose order changes from process to process.
    if isinstance(written.get("target_modules"), list):
        written["target_modules"].sort()
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    # safetensors writes a private file; a result is as readable as everything beside it.
    (folder / "adapter_model.safetensors").chmod(path.stat().st_mode)
    record = {
        "source": base.source,
        "revision": base.revision,
        "dtype": str(base.dtype).removeprefix("torch."),
        "weights": sample_weights(model.get_base_model()),
    }
    (folder / BASE_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def check_adapter(loaded: Loaded, adapter: Path) -> None:
    """Raise BadInput unless `adapter` is a whole adapter folder that was trained on this base.

    Checked, in this order: the files; module names and shapes; a sample of the base's weights where
    `base.json` has one; else the recorded hub id, or the weights in the recorded folder.
    """
    config_path = adapter / "adapter_config.json"
    if not config_path.is_file():
        raise BadInput(f"{adapter}: no adapter_config.json; expected a LoRA adapter folder")
    weights_path = adapter / "adapter_model.safetensors"
    if not weights_path.is_file():
        raise BadInput(f"{adapter}: no adapter_model.safetensors; the adapter is not whole")
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{config_path}: not valid JSON ({error})") from error
    recorded = str(config.get("base_model_name_or_path") or "an unrecorded base")

    def refuse(because: str) -> BadInput:
        return BadInput(
            f"{adapter} was trained on {recorded}, not on {loaded.source} ({because}): "
            "give the base model it was trained on"
        )

    if (misfit := _misfit(loaded.model, weights_path)) is not None:
        raise refuse(misfit)
    if (adapter / BASE_FILE).is_file():
        base = json.loads((adapter / BASE_FILE).read_text(encoding="utf-8"))
        same_dtype = base["dtype"] == str(loaded.dtype).removeprefix("torch.")
        if not _same_weights(base["weights"], sample_weights(loaded.model), exact=same_dtype):
            raise refuse("same shapes, other weights")
    elif Path(recorded).is_dir():
        if _other_weight_files(Path(recorded), Path(loaded.source)):
            raise refuse("same shapes, other weights")
    elif _is_hub_id(recorded) and _is_hub_id(loaded.source) and recorded != loaded.source:
        raise refuse("another hub id")


def sample_weights(model: Any) -> dict[str, list[float]]:
    """A few values of some base weights, evenly spread: name → values. Tells two bases apart.

    An adapter around the model is looked through: the sample is of what lies beneath it.
    """
    matrices = {
        name.replace(".base_layer.", "."): weight
        for name, weight in model.named_parameters()
        if weight.dim() > 1 and ".lora_" not in name
    }
    stride = max(1, len(matrices) // SAMPLED_WEIGHTS)
    sample = {}
    for name in sorted(matrices)[::stride]:
        flat = matrices[name].detach().reshape(-1)
        sample[name] = flat[:: max(1, flat.numel() // VALUES_PER_WEIGHT)].float().tolist()
    return sample


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type where it has none."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )


def _same_weights(
    a: Mapping[str, list[float]], b: Mapping[str, list[float]], *, exact: bool
) -> bool:
    import numpy as np

    if a.keys() != b.keys() or any(len(a[name]) != len(b[name]) for name in a):
        return False
    left, right = (np.concatenate([side[name] for name in a]) for side in (a, b))
    return bool(np.array_equal(left, right) if exact else np.allclose(left, right, rtol=ROUNDING))


def _misfit(model: Any, weights_path: Path) -> str | None:
    """What in the adapter's file has no place in the model, or None."""
    from safetensors import SafetensorError, safe_open

    modules = dict(model.named_modules())
    try:
        with safe_open(str(weights_path), framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise BadInput(f"{weights_path}: cannot be read ({first_line(error)})") from error
    for name, shape in sorted(shapes.items()):
        path, kind, _ = name.removeprefix("base_model.model.").partition(".lora_")
        if not kind or ".experts" in path:  # Transformers 5 renames experts; PEFT maps them itself
            continue
        if path not in modules:
            return f"it has no {path}"
        weight = getattr(modules[path], "weight", None)
        side = shape[-1] if ".lora_A." in name else shape[0]
        if ".lora_embedding_" not in name and weight is not None and side not in weight.shape:
            return f"{path} has shape {tuple(weight.shape)}, the adapter's {list(shape)}"
    return None


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "~", "/")) and not Path(name).exists()


def _other_weight_files(recorded: Path, given: Path) -> bool:
    """Whether two model folders hold different weights; unknown counts as the same."""
    import filecmp

    if recorded.resolve() == given.resolve() or not given.is_dir():
        return False
    left, right = (
        {file.name: file for file in folder.glob("*.safetensors")} for folder in (recorded, given)
    )
    shared = left.keys() & right.keys()
    return any(not filecmp.cmp(left[name], right[name], shallow=False) for name in shared)
