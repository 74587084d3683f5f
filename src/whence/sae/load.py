"""Sparse autoencoders by SAELens, ready to read a Hugging Face model's own activations.

An SAE was trained on what TransformerLens calls a site, and in most cases that is what the model's
modules hold, bit for bit. Two things differ, and both are seen to here and nowhere else:

    hook_z      [tokens, head, d_head] is laid out as [tokens, head · d_head], as SAELens does
    centring    `center_writing_weights` (in the SAE's metadata: GPT-2's `res-jb` releases) takes
                the mean over d_model out of every weight that writes to the residual stream. All
                that is written is then x − mean(x), and so is the stream, and nothing else
                changes, because LayerNorm takes out the mean anyway. An RMSNorm does not, and
                TransformerLens leaves such models as they are: see `check_fits`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.sites import Kind, Site, parse_site
from whence.sae.settings import SaeSettings
from whence.sae.store import layer_file

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from whence.models.anatomy import Anatomy

ARCHITECTURES = ("standard", "gated", "jumprelu", "topk")
"""Each token by itself, activations never below 0. (Batch top-k is jumprelu once it is trained.)"""

SITES: tuple[Kind, ...] = (
    "embed", "resid_pre", "z", "attn_out", "mlp_post", "mlp_out", "resid_post",
)  # fmt: skip
WRITTEN: tuple[Kind, ...] = ("embed", "resid_pre", "attn_out", "mlp_out", "resid_post")
"""Sites that centring of the writing weights changes."""

# TransformerLens 3 calls the same places so where it wraps a Hugging Face model.
BRIDGE_NAMES = {
    "hook_in": "hook_resid_pre",
    "hook_out": "hook_resid_post",
    "attn.hook_out": "hook_attn_out",
    "mlp.hook_out": "hook_mlp_out",
}


@dataclass
class LoadedSae:
    """One SAE, in evaluation mode.

    sae_id: its id in the release, or the name of its folder. sae: the SAELens object; it encodes
    [tokens, d_in] (`hook_z` too). site, hook_name: where it reads, and how its metadata say so.
    centred: activations lose their mean over d_model before they are encoded; what the metadata
    ask for, and after `check_fits` what is right for the model. fingerprint: hash of a folder's
    cfg.json and weights, or release/id.
    """

    sae_id: str
    sae: Any
    site: Site
    hook_name: str
    d_in: int
    d_sae: int
    architecture: str
    centred: bool
    neuronpedia_id: str | None
    release: str | None
    path: Path | None
    fingerprint: str


def load_saes(
    settings: SaeSettings, device: torch.device | str, dtype: torch.dtype | None = None
) -> list[LoadedSae]:
    """The SAEs of `settings`, those of the release first, in the order given.

    dtype: of weights and activations; None is float32, whatever the model's. Raises BadInput for
    an SAE that cannot be had or read, has weights that are not finite, or is not an SAE that reads
    one token at one of the sites known here; and for two of one name.
    """
    import torch

    from whence.sae.sources import from_folder, from_release

    dtype = torch.float32 if dtype is None else dtype
    found: list[LoadedSae] = []
    for sae_id in settings.sae_id:
        assert settings.sae_release is not None
        sae = from_release(settings.sae_release, sae_id, device, dtype)
        what = f'SAE "{sae_id}" of {settings.sae_release}'
        identity = f"{settings.sae_release}/{sae_id}"
        found.append(_checked(what, sae, sae_id, identity, release=settings.sae_release))
    for folder in settings.sae_folders():
        sae, identity = from_folder(folder, device, dtype)
        found.append(_checked(str(folder), sae, folder.name, identity, path=folder))
    _need_distinct(found)
    return found


def check_fits(loaded: LoadedSae, anatomy: Anatomy) -> None:
    """Raise BadInput where the model has no such layer or site, or not d_in numbers a token there.

    Also settles `loaded.centred`: only where the model's final norm takes out the mean is the model
    that TransformerLens centres the same model, and only such models does it centre.
    """
    from whence.models.intervene import module_at

    try:
        site = parse_site(loaded.site, anatomy.n_layers)
    except BadInput as error:
        raise BadInput(f'SAE "{loaded.sae_id}" reads {error}') from None
    module_at(anatomy, site)
    width = site_width(anatomy, site)
    if width is not None and width != loaded.d_in:
        raise BadInput(
            f'SAE "{loaded.sae_id}" reads {loaded.d_in} numbers a token (d_in) at '
            f"{loaded.hook_name}, and the model has {width} there: it was trained on another model"
        )
    loaded.centred = loaded.centred and ignores_mean(anatomy.final_norm, anatomy)


def sae_input(loaded: LoadedSae, values: Tensor) -> Tensor:
    """What the SAE reads of a site's values [tokens, …]: [tokens, d_in] in its dtype, centred where
    it is to be."""
    flat = values.flatten(1).to(device=loaded.sae.W_dec.device, dtype=loaded.sae.W_dec.dtype)
    return flat - flat.mean(dim=-1, keepdim=True) if loaded.centred else flat


def encode(loaded: LoadedSae, values: Tensor) -> Tensor:
    """Feature activations [tokens, d_sae] of a site's values [tokens, …], no gradient kept."""
    import torch

    with torch.no_grad():
        activations: Tensor = loaded.sae.encode(sae_input(loaded, values))
    return activations


def site_width(anatomy: Anatomy, site: Site) -> int | None:
    """Numbers a token at a site; None where only running the model would tell (`mlp.hook_post`)."""
    if site.kind == "z":
        return anatomy.n_heads * anatomy.d_head
    if site.kind == "mlp_post":
        down: Any = anatomy.blocks[site.layer or 0].down
        width = getattr(down, "in_features", None)  # Linear; Conv1D keeps [in, out]
        if width is None and type(down).__name__ == "Conv1D":
            width = int(down.weight.shape[0])
        return width
    return anatomy.d_model


def ignores_mean(norm: Any, anatomy: Anatomy) -> bool:
    """Whether a norm gives the same for x and for x plus one number: LayerNorm, not RMSNorm."""
    import torch

    weight = next(iter(norm.parameters()), anatomy.embed.weight)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, anatomy.d_model, generator=generator).to(weight.device, weight.dtype)
    with torch.no_grad():
        plain, moved = norm(x).float(), norm(x + 4.0).float()
    return bool(torch.allclose(plain, moved, rtol=0.05, atol=0.05 * float(plain.abs().max())))


def _checked(
    what: str,
    sae: Any,
    sae_id: str,
    fingerprint: str,
    release: str | None = None,
    path: Path | None = None,
) -> LoadedSae:
    """Raise BadInput, beginning with `what`, for what cannot be extracted with."""
    import torch

    metadata = sae.cfg.metadata
    hook_name = metadata.hook_name
    if not hook_name:
        raise BadInput(f"{what}: its metadata name no hook, so where it reads is not known")
    outgoing = metadata.hook_name_out
    architecture = sae.cfg.architecture()
    if "transcoder" in architecture or outgoing not in (None, hook_name):
        raise BadInput(
            f"{what} is a transcoder: it reads {hook_name} and writes {outgoing}; give an SAE, "
            "which rebuilds what it reads"
        )
    if architecture not in ARCHITECTURES:
        raise BadInput(
            f"{what}: its architecture is {architecture}; SAEs that encode each token by itself "
            f"into activations of 0 or more are read ({', '.join(ARCHITECTURES)})"
        )
    if metadata.hook_head_index is not None:
        raise BadInput(
            f"{what} reads head {metadata.hook_head_index} of {hook_name} alone; only SAEs of "
            "whole sites are read"
        )
    site = _site(what, hook_name)
    kwargs = metadata.model_from_pretrained_kwargs or {}
    _need_same_activations(what, site, kwargs)
    if sae.cfg.normalize_activations in ("expected_average_only_in", "covariance_whitening"):
        raise BadInput(
            f"{what} was trained on activations that were rescaled "
            f"({sae.cfg.normalize_activations}), and how is not beside its weights; fold it into "
            "them with SAELens (fold_activation_norm_scaling_factor or fold_activation_whitening) "
            "and save it again"
        )
    for name, weight in sae.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise BadInput(f"{what}: its weight {name} holds numbers that are not finite")
    sae.eval().requires_grad_(False)
    # `sae_input` lays heads side by side, so that every SAE reads and writes [tokens, d_in].
    sae.turn_off_forward_pass_hook_z_reshaping()
    return LoadedSae(
        sae_id=sae_id,
        sae=sae,
        site=site,
        hook_name=hook_name,
        d_in=int(sae.cfg.d_in),
        d_sae=int(sae.cfg.d_sae),
        architecture=architecture,
        centred=bool(kwargs.get("center_writing_weights")) and site.kind in WRITTEN,
        neuronpedia_id=metadata.neuronpedia_id,
        release=release,
        path=path,
        fingerprint=fingerprint,
    )


def _site(what: str, hook_name: str) -> Site:
    name = re.sub(
        r"^(blocks\.\d+)\.(.+)$",
        lambda match: f"{match[1]}.{BRIDGE_NAMES.get(match[2], match[2])}",
        hook_name,
    )
    try:
        site = parse_site(name, n_layers=10**9)  # how many there are, `check_fits` asks
    except BadInput:
        site = None
    if site is None or site.kind not in SITES:
        known = ", ".join(Site(kind, None if kind == "embed" else 0).name for kind in SITES)
        raise BadInput(
            f'{what} reads "{hook_name}", which is none of the sites read here: '
            f"{known.replace('blocks.0.', 'blocks.L.')}"
        )
    return site


def _need_same_activations(what: str, site: Site, kwargs: Mapping[str, Any]) -> None:
    """Refuse SAEs that read heads which TransformerLens had changed.

    Of what its `from_pretrained` may do to weights, `fold_ln` and `center_unembed` change no site
    read here. `fold_value_biases` moves what value biases add to z behind the output projection,
    and `refactor_factored_attn_matrices` turns the axes of z: the model's own z is another one.
    """
    for name in ("fold_value_biases", "refactor_factored_attn_matrices"):
        if site.kind == "z" and kwargs.get(name):
            raise BadInput(
                f"{what} was trained on a model whose heads were changed ({name}); the model's "
                f"own {site.name} is not what it reads"
            )


def _need_distinct(found: list[LoadedSae]) -> None:
    names: dict[str, LoadedSae] = {}
    for each in found:
        other = names.setdefault(layer_file(each.sae_id), each)
        if other is not each:
            raise BadInput(
                f'two SAEs would be called "{each.sae_id}" on disk '
                f"({_where(other)} and {_where(each)}); give each once, or rename a folder"
            )


def _where(loaded: LoadedSae) -> str:
    return str(loaded.path or f"{loaded.sae_id} of {loaded.release}")
