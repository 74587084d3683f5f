"""What the numeric proofs say of one model, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from whence.doctor.anatomy import anatomy_checks
from whence.doctor.check import Check
from whence.models import proof

if TYPE_CHECKING:
    from whence.models.load import Loaded


def model_checks(loaded: Loaded) -> Iterator[Check]:
    """Prove weights, tokenizer, that neither batch nor padding matters, and where parts are."""
    weights = proof.weights(loaded.model)
    context = proof.context_length(loaded.model.config)
    yield _loaded(loaded, weights, context)
    yield _finite_weights(weights)
    yield from tokenizer_checks(loaded)
    rows = proof.prompt_ids(loaded.tokenizer, context)
    if not rows:
        yield Check("tokenizer", "fail", "it makes no token of plain English", "use another one")
        return
    if not _encodable(loaded, rows):
        yield Check(
            "vocabulary",
            "fail",
            f"the tokenizer has {len(loaded.tokenizer):,} tokens, the model embeds "
            f"{_embedded(loaded):,}",
            "use the tokenizer that belongs to the model, or resize the model's embeddings",
        )
        return
    yield Check("vocabulary", "ok", f"every id has one of {_embedded(loaded):,} embeddings")
    if not _finite_logits(loaded, rows):
        yield Check(
            "logits",
            "fail",
            "NaN or infinity among the next-token logits",
            "try --dtype float32; if they stay, the weights are broken: download them again",
        )
        return
    yield Check("logits", "ok", "finite after prompts of four lengths")
    floor = proof.noise_floor(loaded, rows)
    yield _floor(floor)
    yield from batch_checks(floor, proof.batch_effect(loaded, rows))
    yield from anatomy_checks(loaded, max(rows, key=len))
    yield _lora(weights)


def tokenizer_checks(loaded: Loaded) -> Iterator[Check]:
    """What the tokenizer adds by itself, and what Whence makes of it."""
    t = proof.tokenizer_behaviour(loaded.tokenizer)
    if t.bos_id is None:
        bos = "has none"
    elif t.adds_bos:
        bos = f"id {t.bos_id}, added before every prompt"
    else:
        bos = f"id {t.bos_id}, not added by the tokenizer, so Whence adds none"
    yield Check("BOS", "ok", bos)
    eos = "added by the tokenizer; Whence drops it after a prompt" if t.adds_eos else "not added"
    yield Check("EOS", "ok", f"id {t.eos_id}, {eos}, and ends every completion")
    pad = "which is EOS: masked, so never seen" if t.pads_with_eos else "masked"
    yield Check("padding token", "ok", f"id {t.pad_id} on the {t.padding_side}, {pad}")
    template = "present" if t.has_chat_template else "none: prompts go in as they are"
    yield Check("chat template", "ok", template)


def batch_checks(floor: proof.Floor, effect: proof.BatchEffect) -> Iterator[Check]:
    """Whether a prompt in a batch, padded or not, gives what it gives alone."""
    for name, moved in (
        ("batch size", effect.unpadded),
        ("right padding", effect.right),
        ("left padding", effect.left),
    ):
        found = f"max |Δ logit| {moved:.1e} against a prompt alone, {_against(moved, floor)}"
        if floor.covers(moved):
            yield Check(name, "ok", found)
        else:
            advice = "results would depend on the batch: try --dtype float32 or another "
            yield Check(name, "fail", found, f"{advice}transformers, or report the architecture")
    if effect.left_unplaced is not None and not floor.covers(effect.left_unplaced):
        yield Check(
            "positions",
            "ok",
            "not counted from the mask by this model: left-padded batches need position ids, as "
            "generate() gives",
        )


def _loaded(loaded: Loaded, weights: proof.Weights, context: int | None) -> Check:
    dtype = str(loaded.dtype).removeprefix("torch.")
    length = f"context {context:,}" if context else "no longest context"
    adapter = f", adapter {loaded.adapter}" if loaded.adapter else ""
    kind = getattr(loaded.model.config, "model_type", "model")
    return Check(
        "model",
        "ok",
        f"{kind}, {weights.parameters:,} parameters, {dtype} on {loaded.device}, {length}{adapter}",
    )


def _finite_weights(weights: proof.Weights) -> Check:
    broken = weights.not_finite
    if not broken:
        return Check("weights", "ok", "all finite")
    return Check(
        "weights",
        "fail",
        f"NaN or infinity in {len(broken)} of them (first: {broken[0]})",
        "download the model again, or load it with --dtype float32",
    )


def _embedded(loaded: Loaded) -> int:
    return int(loaded.model.get_input_embeddings().weight.shape[0])


def _encodable(loaded: Loaded, rows: list[list[int]]) -> bool:
    """Whether every id that can come out of the tokenizer has an embedding."""
    highest = max([len(loaded.tokenizer) - 1, *(max(row) for row in rows)])
    return highest < _embedded(loaded)


def _finite_logits(loaded: Loaded, rows: list[list[int]]) -> bool:
    return all(bool(proof.next_token_logits(loaded, [row]).isfinite().all()) for row in rows)


def _floor(floor: proof.Floor) -> Check:
    parts = [f"embeddings moved in the last place {floor.last_place:.1e}"]
    if floor.widened is not None:
        parts.append(f"against float32 {floor.widened:.1e}")
    found = f"max |Δ logit| {floor.value:.1e} ({', '.join(parts)})"
    return Check("noise floor", "ok", found)


def _against(moved: float, floor: proof.Floor) -> str:
    return f"{moved / floor.value:.2g} × the noise floor" if floor.value else "noise floor 0"


def _lora(weights: proof.Weights) -> Check:
    layers = weights.linear_layers
    if not layers:
        return Check("LoRA", "warn", "no linear layer to attach to", "name --target-modules")
    listed = ", ".join(f"{name} ×{count}" for name, count in layers.items())
    return Check("LoRA", "ok", f"all-linear attaches to {listed}")
