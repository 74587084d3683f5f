"""Where SAEs come from: a release in SAELens's list, or a folder that SAELens saved one in."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.hub import files_only
from whence.runs.fingerprint import fingerprint, hash_folder
from whence.sae.settings import CONFIG_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    import torch

TRAINED_AS = ("batchtopk", "matryoshka_batchtopk")
"""Architectures that only exist while they are trained; saved for use, they are jumprelu."""


def from_release(release: str, sae_id: str, device: torch.device | str, dtype: torch.dtype) -> Any:
    """One SAE of a release.

    Raises BadInput with the nearest names where there is no such release or id, and where its files
    are neither in the cache nor to be had.
    """
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import (
        get_pretrained_saes_directory,
        get_repo_id_and_folder_name,
    )

    directory = get_pretrained_saes_directory()
    if release in directory:
        known = directory[release].saes_map
        if sae_id not in known:
            raise BadInput(
                f'release {release} has no SAE "{sae_id}"; it has {len(known)}, such as '
                f"{_nearest(sae_id, known)}"
            )
    elif "/" not in release:
        raise BadInput(
            f'SAELens lists no release "{release}" (nearest: {_nearest(release, directory)}); '
            "give one of its releases, a hub repository (owner/name), or folders by --sae-path"
        )
    repository, folder = get_repo_id_and_folder_name(release, sae_id)
    what = f'SAE "{sae_id}" of {release}'
    with _advised(what, repository, folder), _quietly(), _offline_where_it_must(repository):
        return SAE.from_pretrained(release, sae_id, device=str(device), dtype=_name(dtype))


def from_folder(folder: Path, device: torch.device | str, dtype: torch.dtype) -> tuple[Any, str]:
    """The SAE in a folder, for use or from training, and the hash of its configuration and weights.

    Raises BadInput where it cannot be read.
    """
    from sae_lens import SAE

    try:
        with _quietly():
            if _is_from_training(folder):
                sae = _trained(folder, device, dtype)
            else:
                sae = SAE.load_from_disk(folder, device=str(device), dtype=_name(dtype))
    except Exception as error:  # whatever a file that is not an SAE makes of the reader
        raise BadInput(f"{folder}: not an SAE that SAELens can read ({_line(error)})") from error
    return sae, fingerprint(hash_folder(folder, [CONFIG_FILE, WEIGHTS_FILE]))


def _is_from_training(folder: Path) -> bool:
    """Whether a folder holds what only training has: thresholds that an SAE for use keeps apart."""
    from safetensors import safe_open

    if json.loads((folder / CONFIG_FILE).read_text()).get("architecture") in TRAINED_AS:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            return "topk_threshold" in file.keys()  # noqa: SIM118 (not a mapping)
    with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
        return "log_threshold" in file.keys()  # noqa: SIM118


def _trained(folder: Path, device: torch.device | str, dtype: torch.dtype) -> Any:
    """What `save_inference_model` would have saved, without the way over the disk."""
    from sae_lens import SAE, TrainingSAE

    training = TrainingSAE.load_from_disk(folder, device=str(device), dtype=_name(dtype))
    weights = training.state_dict()
    training.process_state_dict_for_saving_inference(weights)
    sae = SAE.from_dict(training.cfg.get_inference_sae_cfg_dict())
    sae.load_state_dict(weights)
    return sae.to(device=str(device), dtype=dtype)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without SAELens's advice on how to load a TransformerLens model, which is not loaded here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _offline_where_it_must(repository: str) -> Iterator[None]:
    """Let the hub's client look at the cache alone where there is no network: it would try again
    and again, and SAELens passes it no setting."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or files_only(repository)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _advised(what: str, repository: str, folder: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise BadInput(
            f"{what}: {repository} is gated: accept its terms on its hub page, then run "
            "`hf auth login` (or set HF_TOKEN)"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BadInput(f"{what}: no repository {repository} on the hub") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise BadInput(
            f"{what} is not in the local cache and the hub cannot be reached (or HF_HUB_OFFLINE is "
            f'set): run `hf download {repository} --include "{folder}/*"` where there is a '
            "network, or give a folder by --sae-path"
        ) from error
    except errors.EntryNotFoundError as error:
        raise BadInput(f"{what}: {repository} has no {folder} with an SAE in it") from error
    except Exception as error:  # loaders of two dozen formats, each with errors of its own
        raise BadInput(f"{what} cannot be loaded: {_line(error)}") from error


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known)[:3]
    return ", ".join(near)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _line(error: Exception) -> str:
    told = " ".join(str(error).split())  # torch says in its second line which weight it misses
    return f"{type(error).__name__}: {told[:200]}" if told else type(error).__name__
