"""SAEs of random weights, and the same models under TransformerLens, to compare with.

A plain module: `import random_saes`. Weights are wide enough that about half of all features are
active at a token, and thresholds lie among the activations, so that a wrong input, a wrong
threshold or a wrong token changes many of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sae_lens import (
    SAE,
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from sae_lens.saes.sae import SAEMetadata

KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "standard": (StandardSAE, StandardSAEConfig, {}),
    "gated": (GatedSAE, GatedSAEConfig, {}),
    "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig, {}),
    "topk": (TopKSAE, TopKSAEConfig, {"k": 7, "rescale_acts_by_decoder_norm": True}),
}


def make_sae(
    kind: str, hook: str, d_in: int, d_sae: int = 72, *, seed: int = 0, **settings: Any
) -> Any:
    """A SAELens SAE. settings: of its configuration; those it has not are metadata."""
    sae_class, config_class, own = KINDS[kind]
    fields = config_class.__dataclass_fields__
    given = own | {name: value for name, value in settings.items() if name in fields}
    metadata = {name: value for name, value in settings.items() if name not in fields}
    config = config_class(
        d_in=d_in,
        d_sae=d_sae,
        metadata=SAEMetadata(**{"hook_name": hook, "model_name": "random"} | metadata),
        **given,
    )
    return redrawn(sae_class(config), seed)


def redrawn(sae: Any, seed: int) -> Any:
    """The SAE with weights drawn as the head of this file says."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sae.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            scale = 0.5 / weight.shape[0] ** 0.5 if weight.dim() > 1 else 0.2
            weight.copy_(noise.abs() if name == "threshold" else scale * noise)
    return sae


def save_sae(folder: Path, kind: str, hook: str, d_in: int, d_sae: int = 72, **more: Any) -> Path:
    """A folder that SAELens saved such an SAE in."""
    make_sae(kind, hook, d_in, d_sae, **more).save_model(folder)
    return folder


def bridge(folder: Path) -> Any:
    """SAELens's own model over TransformerLens, around the weights of a Hugging Face folder."""
    from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.init_kwargs["name_or_path"] = str(folder)
    return SAETransformerBridge.boot_transformers(
        str(folder), hf_model=model, tokenizer=tokenizer, device="cpu"
    )


def by_saelens(model: Any, sae: SAE[Any], ids: list[int]) -> torch.Tensor:
    """Feature activations [tokens, d_sae] of one row, as SAELens has them."""
    name = model.get_sae_hook_name(sae)
    with torch.no_grad():
        _, cache = model.run_with_cache_with_saes(
            torch.tensor([ids]), saes=[sae], use_error_term=True, names_filter=[name]
        )
    return cache[name][0]
