"""Logits at chosen positions only.

A language model's head is its widest matrix, and a training example's prompt carries no label: at
Gemma's vocabulary most of a forward pass would be spent on logits that nobody reads. Here the
decoder runs alone, and the head is applied where an answer is wanted. Models scale or cap their
logits in ways that no interface declares, so `proven` compares with the model's own forward first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Largest share of the largest logit by which two ways to the same logits may differ.
NOISE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}


def hidden_states(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Output of the decoder, after its final norm, before the head. [batch, pos, d_model].

    An adapter around the model takes part: LoRA layers live inside the decoder.
    """
    decoder = causal_lm(model).base_model
    output = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    states: Tensor = output.last_hidden_state
    return states


def unembed(model: Any, states: Tensor) -> Tensor:
    """Logits of final hidden states, [..., d_model] → [..., vocab], with the model's scale and cap.

    The names of scales are those of Cohere, Falcon-H1, Granite and HyperCLOVA X; the cap is
    Gemma 2's. What else a model does to its logits, `proven` finds.
    """
    import torch

    network = causal_lm(model)
    config = network.config.get_text_config()
    logits: Tensor = network.get_output_embeddings()(states)
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if (scale := getattr(config, name, None)) is not None:
            logits = logits * scale
            break
    if (scaling := getattr(config, "logits_scaling", None)) is not None:
        logits = logits * scaling if config.model_type == "hyperclovax" else logits / scaling
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = cap * torch.tanh(logits / cap)
    return logits


def proven(model: Any, input_ids: Tensor) -> bool:
    """Whether `unembed(hidden_states(…))` gives the model's own logits on these ids [1, pos].

    False for a model that cannot be taken apart this way; then only its whole forward will do.
    """
    import torch

    mask = torch.ones_like(input_ids)
    with torch.inference_mode():
        theirs = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
        try:
            ours = unembed(model, hidden_states(model, input_ids, mask))
        except (AttributeError, TypeError, RuntimeError):
            return False
        if ours.shape != theirs.shape:
            return False
        noise = NOISE.get(str(theirs.dtype).removeprefix("torch."), 1e-4)
        return bool((ours - theirs).abs().max() <= noise * theirs.abs().max())


def causal_lm(model: Any) -> Any:
    """The Transformers model itself, without a PEFT wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
