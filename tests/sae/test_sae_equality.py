"""Every feature of every real token is SAELens's own, batched with rows of other lengths or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_saes
import torch
from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.sae import SAEMetadata

from whence.models.anatomy import find_anatomy
from whence.models.load import load_model
from whence.sae.extract import one_pass
from whence.sae.extract import reduce as reduce_module
from whence.sae.extract.one_pass import Counting, reduce_rows
from whence.sae.extract.reduce import Entries, RowReduction
from whence.sae.load import check_fits, load_saes
from whence.sae.rows import TokenRow
from whence.sae.settings import SaeSettings

LENGTHS = (9, 4, 17, 1, 12, 30, 7, 3)
TOLERANCE = 1e-4


def random_rows(seed: int = 0) -> list[TokenRow]:
    generator = torch.Generator().manual_seed(seed)
    return [
        TokenRow(str(at), [1, *torch.randint(3, 320, (n,), generator=generator).tolist()], 1, False)
        for at, n in enumerate(LENGTHS)
    ]


@pytest.fixture
def every_token(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[torch.Tensor]]:
    """Runs the engine and gives what it saw: activations [tokens, d_sae] of each row.

    Chunks hold 11 tokens, so rows begin and end within them and some span several; and a chunk's
    active entries come in several runs.
    """
    seen: dict[int, list[torch.Tensor]] = {}

    class Watched(RowReduction):
        def add(self, tokens: int, entries: Entries) -> None:
            dense = torch.zeros(tokens, self.d_sae)
            token, feature, value = entries
            dense[torch.from_numpy(token), torch.from_numpy(feature)] = torch.from_numpy(
                value
            ).float()
            seen.setdefault(id(self), []).append(dense)
            super().add(tokens, entries)

        def finish(self) -> Any:
            row = super().finish()
            object.__setattr__(row, "dense", torch.cat(seen.pop(id(self))))
            return row

    monkeypatch.setattr(one_pass, "RowReduction", Watched)

    def run(
        model: Path, folder: Path, rows: list[TokenRow], batch_tokens: int
    ) -> list[torch.Tensor]:
        (loaded,) = load_saes(SaeSettings(sae_path=(str(folder),)), "cpu")
        monkeypatch.setattr(reduce_module, "ENTRIES_AT_ONCE", 60)
        monkeypatch.setattr(one_pass, "CHUNK_BYTES", 11 * one_pass.BYTES_AN_ENTRY * loaded.d_sae)
        anatomy = find_anatomy(load_model(str(model), device="cpu").model)
        check_fits(loaded, anatomy)
        found = reduce_rows(
            anatomy, [loaded], rows, Counting(), looked_at={0, 5}, batch_tokens=batch_tokens
        )[loaded.sae_id]
        assert set(found.fits) == {0, 5}
        return [found.rows[at].dense for at in range(len(rows))]  # type: ignore[attr-defined]

    return run


@pytest.fixture(scope="module")
def bridges(zoo_folder: Callable[[str], Path]) -> Mapping[str, Any]:
    return {name: random_saes.bridge(zoo_folder(name)) for name in ("gpt2", "gemma3")}


WIDTHS = {
    "gpt2": {"hook_z": 32, "hook_post": 128, "other": 32},
    "gemma3": {"hook_z": 64, "hook_post": 48, "other": 48},
}


def saved(folder: Path, kind: str, name: str, hook: str) -> Path:
    widths = WIDTHS[name]
    d_in = widths.get(hook.rpartition(".")[2], widths["other"])
    more: dict[str, Any] = {"reshape_activations": "hook_z"} if hook.endswith("hook_z") else {}
    if kind == "layer_norm":
        more["normalize_activations"], kind = "layer_norm", "standard"
    if kind != "batchtopk":
        return random_saes.save_sae(folder, kind, hook, d_in, **more)
    metadata = SAEMetadata(hook_name=hook, model_name="random")
    config = BatchTopKTrainingSAEConfig(d_in=d_in, d_sae=72, k=5, metadata=metadata)
    sae = random_saes.redrawn(BatchTopKTrainingSAE(config), 0)
    sae.topk_threshold += 0.5
    sae.save_inference_model(folder)
    return folder


CASES = [
    *((kind, "blocks.1.hook_resid_post") for kind in (*random_saes.KINDS, "batchtopk")),
    ("layer_norm", "blocks.1.hook_resid_post"),
    ("jumprelu", "blocks.2.hook_resid_pre"),
    ("jumprelu", "blocks.2.hook_resid_post"),
    ("jumprelu", "blocks.1.hook_attn_out"),
    ("jumprelu", "blocks.0.hook_mlp_out"),
    ("jumprelu", "blocks.1.attn.hook_z"),
    ("jumprelu", "blocks.1.mlp.hook_post"),
]


@pytest.mark.parametrize("name", ["gpt2", "gemma3"])
@pytest.mark.parametrize(("kind", "hook"), CASES)
def test_saelens_and_whence_agree(
    name: str,
    kind: str,
    hook: str,
    every_token: Callable[..., list[torch.Tensor]],
    bridges: Mapping[str, Any],
    zoo_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    folder = saved(tmp_path / "sae", kind, name, hook)
    rows = random_rows()
    mine = every_token(zoo_folder(name), folder, rows, 40)
    sae: SAE[Any] = SAE.load_from_disk(folder)
    largest = 0.0
    for row, found in zip(rows, mine, strict=True):
        expected = random_saes.by_saelens(bridges[name], sae, row.ids)
        assert found.shape == expected.shape == (len(row.ids), 72)
        assert float((found - expected).abs().max()) <= TOLERANCE
        largest = max(largest, float(expected.max()))
    assert largest > 1.0


@pytest.mark.parametrize(
    "part", ["hook_resid_pre", "hook_resid_post", "hook_mlp_out", "hook_attn_out"]
)
def test_the_centred_gpt2_of_transformer_lens(
    part: str,
    every_token: Callable[..., list[torch.Tensor]],
    zoo_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """`HookedSAETransformer` with centred writing weights, which GPT-2's res-jb SAEs were trained
    on, against the plain Hugging Face model and `centred`."""
    hook = f"blocks.1.{part}"
    kwargs = {"center_writing_weights": True}
    folder = random_saes.save_sae(
        tmp_path / "sae", "standard", hook, 32, model_from_pretrained_kwargs=kwargs
    )
    plain = random_saes.save_sae(tmp_path / "plain", "standard", hook, 32)
    model = centred_gpt2(zoo_folder("gpt2"))
    sae: SAE[Any] = SAE.load_from_disk(folder)
    rows = random_rows()
    mine = every_token(zoo_folder("gpt2"), folder, rows, 40)
    uncentred = every_token(zoo_folder("gpt2"), plain, rows, 40)
    name = f"{hook}.hook_sae_acts_post"
    apart = 0.0
    for row, found, other in zip(rows, mine, uncentred, strict=True):
        with torch.no_grad():
            _, cache = model.run_with_cache_with_saes(
                torch.tensor([row.ids]), saes=[sae], use_error_term=True, names_filter=[name]
            )
        assert float((found - cache[name][0]).abs().max()) <= TOLERANCE
        apart = max(apart, float((other - found).abs().max()))
    assert apart > 0.01  # centring is no small thing


def centred_gpt2(folder: Path) -> Any:
    """The weights of a GPT-2 folder in TransformerLens's own model, centred."""
    from sae_lens import HookedSAETransformer
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions.gpt2 import convert_gpt2_weights
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_pretrained(folder)
    config = HookedTransformerConfig(
        n_layers=hf.config.n_layer,
        d_model=hf.config.n_embd,
        n_ctx=hf.config.n_positions,
        n_heads=hf.config.n_head,
        d_head=hf.config.n_embd // hf.config.n_head,
        d_mlp=4 * hf.config.n_embd,
        d_vocab=hf.config.vocab_size,
        act_fn="gelu_new",
        normalization_type="LN",
        eps=hf.config.layer_norm_epsilon,
        original_architecture="GPT2LMHeadModel",
        device="cpu",
    )
    model = HookedSAETransformer(config)
    model.load_and_process_state_dict(
        convert_gpt2_weights(hf, config),
        fold_ln=False,
        center_writing_weights=True,
        center_unembed=False,
        fold_value_biases=False,
    )
    return model.eval()


def test_a_chunk_bounds_what_is_encoded_at_once(
    every_token: Callable[..., list[torch.Tensor]],
    zoo_folder: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sae_lens import StandardSAE

    folder = saved(tmp_path / "sae", "standard", "gpt2", "blocks.0.hook_resid_post")
    most: list[int] = []
    encode = StandardSAE.encode

    def watched(self: Any, x: torch.Tensor) -> torch.Tensor:
        most.append(len(x))
        return encode(self, x)

    monkeypatch.setattr(StandardSAE, "encode", watched)
    rows = random_rows()
    every_token(zoo_folder("gpt2"), folder, rows, 4096)
    total = sum(len(row.ids) for row in rows)
    assert max(most) == 11
    assert sum(most) == total  # each real token once, padding never
    assert np.ceil(total / 11) == len(most)
