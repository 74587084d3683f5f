"""What this machine has: Python, packages, devices, memory, disk, and a way to the hub."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from whence.doctor.check import Check

LOW_MEMORY = 4 * 2**30
LOW_DISK = 5 * 2**30
HUB_TIMEOUT = 3.0  # seconds


def machine_checks() -> Iterator[Check]:
    """All checks of the machine, cheap ones first."""
    yield python_check()
    yield from package_checks()
    yield memory_check()
    yield disk_check()
    yield from device_checks()
    yield hub_check()


def python_check() -> Check:
    """Whether this Python is one that the package declares."""
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata("whence")["Requires-Python"]
    running = platform.python_version()
    if SpecifierSet(wanted).contains(running, prereleases=True):
        return Check("python", "ok", f"{running} on {platform.system()} {platform.machine()}")
    return Check("python", "fail", f"{running}, {wanted} is needed", "uv python install 3.11")


def package_checks() -> Iterator[Check]:
    """One line for the packages that are as tested, one for each that is not."""
    from packaging.requirements import Requirement

    tested = []
    for line in metadata.requires("whence") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Check(requirement.name, "fail", "not installed", "uv sync")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            tested.append(f"{requirement.name} {version}")
        else:
            found = f"{version} is installed, tested with {requirement.specifier}"
            yield Check(requirement.name, "warn", found, "uv sync")
    yield Check("packages", "ok", f"{len(tested)} as tested: {', '.join(tested)}")


def memory_check() -> Check:
    """Memory of the host."""
    import psutil

    memory = psutil.virtual_memory()
    cores = os.cpu_count()
    found = f"{_size(memory.available)} free of {_size(memory.total)}, {cores} cores"
    if memory.available < LOW_MEMORY:
        return Check("memory", "warn", found, "close something, or use a small model")
    return Check("memory", "ok", found)


def disk_check() -> Check:
    """Room where models are cached and where runs are written by default."""
    from huggingface_hub import constants

    places = {"models": Path(constants.HF_HUB_CACHE), "runs": Path.cwd()}
    free = {what: shutil.disk_usage(_existing(place)).free for what, place in places.items()}
    found = ", ".join(f"{_size(room)} free for {what}" for what, room in free.items())
    if min(free.values()) < LOW_DISK:
        return Check("disk", "warn", found, "make room, or set HF_HOME and --output-dir elsewhere")
    return Check("disk", "ok", found)


def device_checks() -> Iterator[Check]:
    """Each device that torch can compute on, proved with a small product."""
    import torch

    names = ["cpu"]
    names += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    for name in names:
        yield _device_check(name)
    if torch.cuda.device_count() == 0 and shutil.which("nvidia-smi"):
        yield Check(
            "gpu",
            "warn",
            f"nvidia-smi is here, but torch {torch.__version__} sees no GPU",
            "install the CUDA build of torch, and check the driver with nvidia-smi",
        )


def _device_check(name: str) -> Check:
    import torch

    threads = torch.get_num_threads()
    found = f"{threads} {'thread' if threads == 1 else 'threads'}" if name == "cpu" else ""
    if name.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(name)
        half = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        found = f"{torch.cuda.get_device_name(name)}, {_size(free)} free of {_size(total)}, {half}"
    factor = torch.arange(64, dtype=torch.float32).reshape(8, 8)
    try:
        product = (factor.to(name) @ factor.to(name)).cpu()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return Check(name, "fail", f"{found}: {reason}", "update the driver, or use --device cpu")
    # Sums of 8 products below 4,096 are exact in float32, and in TF32 whose inputs are these.
    if not torch.equal(product, factor @ factor):
        return Check(name, "fail", f"{found}: it multiplies wrongly", "use --device cpu")
    return Check(name, "ok", found or "works")


def hub_check(timeout: float = HUB_TIMEOUT) -> Check:
    """Whether models and data sets can be fetched. Not being able to is no failure."""
    from huggingface_hub import constants

    folders = "local folders, cached models and `tiny` work"
    if constants.HF_HUB_OFFLINE:
        return Check("hub", "warn", f"HF_HUB_OFFLINE is set: {folders}", "unset it to download")
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=timeout).close()
    except HTTPError as error:
        if error.code >= 500:
            found = f"{constants.ENDPOINT} answers {error.code}: {folders}"
            return Check("hub", "warn", found, "try again later")
    except OSError as error:
        found = f"{constants.ENDPOINT} is not reached in {timeout:g} s ({error}): {folders}"
        return Check("hub", "warn", found, "check the network or HF_ENDPOINT to download")
    return Check("hub", "ok", f"{constants.ENDPOINT} answers")


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that is there."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _size(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
