"""SAEs are loaded as SAELens has them, and what cannot be extracted with is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import random_saes
import torch
import zoo
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
    Transcoder,
    TranscoderConfig,
)
from sae_lens.saes.sae import SAEMetadata
from safetensors.torch import load_file, save_file

from whence.errors import BadInput
from whence.models.anatomy import find_anatomy
from whence.models.sites import Site
from whence.sae import settings as settings_module
from whence.sae.load import LoadedSae, check_fits, encode, ignores_mean, load_saes
from whence.sae.settings import SaeSettings

HOOK = "blocks.1.hook_resid_post"
D_IN = 32


def load(*folders: Path, **settings: Any) -> list[LoadedSae]:
    return load_saes(SaeSettings(sae_path=tuple(map(str, folders)), **settings), "cpu")


def edited(folder: Path, **changes: Any) -> Path:
    """The folder with other values in its cfg.json."""
    path = folder / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize("kind", random_saes.KINDS)
def test_a_folder_gives_what_saelens_gives(kind: str, tmp_path: Path) -> None:
    folder = random_saes.save_sae(tmp_path / "mine", kind, HOOK, D_IN, neuronpedia_id="m/1-res")
    (loaded,) = load(folder)
    assert (loaded.sae_id, loaded.site, loaded.hook_name) == ("mine", Site("resid_post", 1), HOOK)
    assert (loaded.d_in, loaded.d_sae, loaded.architecture) == (D_IN, 72, kind)
    assert (loaded.path, loaded.release, loaded.neuronpedia_id) == (folder, None, "m/1-res")
    assert not loaded.centred
    x = 2 * torch.randn(20, D_IN)
    expected = SAE.load_from_disk(folder).encode(x)
    assert torch.equal(encode(loaded, x), expected)
    assert 0 < float((expected > 0).float().mean()) < 0.9


def test_weights_of_another_dtype_are_read_in_float32(tmp_path: Path) -> None:
    folder = random_saes.save_sae(tmp_path / "half", "standard", HOOK, D_IN, dtype="bfloat16")
    (loaded,) = load(folder)
    assert encode(loaded, torch.randn(3, D_IN).bfloat16()).dtype == torch.float32


def training_sae(kind: str) -> Any:
    metadata = SAEMetadata(hook_name=HOOK, model_name="random")
    classes: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "standard": (StandardTrainingSAE, StandardTrainingSAEConfig, {}),
        "jumprelu": (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig, {}),
        "topk": (TopKTrainingSAE, TopKTrainingSAEConfig, {"k": 5}),
        "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, {"k": 5}),
    }
    sae_class, config_class, own = classes[kind]
    sae = sae_class(config_class(d_in=D_IN, d_sae=72, metadata=metadata, **own))
    random_saes.redrawn(sae, 3)
    if kind == "batchtopk":
        sae.topk_threshold += 0.4
    return sae


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk", "batchtopk"])
def test_a_folder_from_training_is_as_the_same_sae_saved_for_use(kind: str, tmp_path: Path) -> None:
    sae = training_sae(kind)
    sae.save_model(tmp_path / "checkpoint")
    sae.save_inference_model(tmp_path / "final")
    checkpoint, final = load(tmp_path / "checkpoint", tmp_path / "final")
    assert checkpoint.architecture == final.architecture
    assert final.architecture == ("jumprelu" if kind == "batchtopk" else kind)
    x = 3 * torch.randn(50, D_IN)
    assert torch.allclose(encode(checkpoint, x), encode(final, x), atol=1e-6)
    assert float(encode(final, x).max()) > 0.4
    assert checkpoint.fingerprint != final.fingerprint


def test_an_old_checkpoint_keeps_the_logarithm_of_its_thresholds(tmp_path: Path) -> None:
    sae = training_sae("jumprelu")
    sae.save_model(tmp_path / "new")
    sae.save_model(tmp_path / "old")
    weights = load_file(tmp_path / "old" / "sae_weights.safetensors")
    weights["log_threshold"] = weights.pop("threshold").log()
    save_file(weights, tmp_path / "old" / "sae_weights.safetensors")
    new, old = load(tmp_path / "new", tmp_path / "old")
    x = torch.randn(50, D_IN)
    assert torch.allclose(encode(new, x), encode(old, x), atol=1e-6)


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("blocks.2.hook_out", Site("resid_post", 2)),
        ("blocks.2.hook_in", Site("resid_pre", 2)),
        ("blocks.0.attn.hook_out", Site("attn_out", 0)),
        ("blocks.0.hook_mlp_out", Site("mlp_out", 0)),
        ("blocks.7.mlp.hook_post", Site("mlp_post", 7)),
        ("hook_embed", Site("embed")),
    ],
)
def test_sites_by_both_of_transformer_lens_names(hook: str, site: Site, tmp_path: Path) -> None:
    (loaded,) = load(random_saes.save_sae(tmp_path / "s", "standard", hook, D_IN))
    assert loaded.site == site
    assert loaded.hook_name == hook


def test_heads_are_laid_side_by_side(tmp_path: Path) -> None:
    for reshape in ("hook_z", "none"):
        folder = random_saes.save_sae(
            tmp_path / reshape, "standard", "blocks.0.attn.hook_z", 32, reshape_activations=reshape
        )
        (loaded,) = load(folder)
        z = torch.randn(5, 4, 8)
        flat = random_saes.make_sae("standard", HOOK, 32).encode(z.reshape(5, 32))
        assert torch.allclose(encode(loaded, z), flat, atol=1e-6)
        assert loaded.sae.decode(flat).shape == (5, 32)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"hook_name": "blocks.1.hook_resid_mid"}, "none of the sites read here.*hook_resid_post"),
        ({"hook_name": "blocks.1.ln2.hook_normalized"}, "none of the sites"),
        ({"hook_name": "ln_final.hook_normalized"}, "none of the sites"),
        ({"hook_name": None}, "name no hook"),
        ({"hook_head_index": 2}, "reads head 2"),
        ({"hook_name_out": "blocks.1.hook_mlp_out"}, "is a transcoder"),
        (
            {
                "hook_name": "blocks.1.attn.hook_z",
                "model_from_pretrained_kwargs": {"fold_value_biases": True},
            },
            "fold_value_biases",
        ),
    ],
)
def test_what_is_not_an_sae_of_a_site(changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    folder = random_saes.save_sae(tmp_path / "s", "standard", HOOK, D_IN)
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    with pytest.raises(BadInput, match=line) as error:
        load(edited(folder, metadata=metadata | changes))
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_transcoder(tmp_path: Path) -> None:
    metadata = SAEMetadata(hook_name="blocks.1.hook_mlp_in", hook_name_out="blocks.1.hook_mlp_out")
    config = TranscoderConfig(
        d_in=8, d_out=8, d_sae=16, apply_b_dec_to_input=False, metadata=metadata
    )
    Transcoder(config).save_model(tmp_path / "t")
    with pytest.raises(BadInput, match=r"is a transcoder: it reads blocks.1.hook_mlp_in"):
        load(tmp_path / "t")


@pytest.mark.parametrize("how", ["expected_average_only_in", "covariance_whitening"])
def test_a_rescaling_that_is_not_there(how: str, tmp_path: Path) -> None:
    folder = random_saes.save_sae(tmp_path / "s", "standard", HOOK, D_IN, normalize_activations=how)
    with pytest.raises(BadInput, match=f"{how}.*fold it"):
        load(folder)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    folder = random_saes.save_sae(tmp_path / "s", "topk", HOOK, D_IN)
    with pytest.raises(BadInput, match=r"architecture is abstopk.*standard, gated, jumprelu, topk"):
        load(edited(folder, architecture="abstopk"))
    with pytest.raises(BadInput, match="not an SAE that SAELens can read"):
        load(edited(folder, architecture="mystery"))


def test_broken_folders(tmp_path: Path) -> None:
    folder = random_saes.save_sae(tmp_path / "s", "standard", HOOK, D_IN)
    with pytest.raises(BadInput, match=f"{tmp_path}: no cfg.json.*did you mean.*: s"):
        load(tmp_path)
    with pytest.raises(BadInput, match="no such folder"):
        load(tmp_path / "absent")
    weights = load_file(folder / "sae_weights.safetensors")
    nan = {**weights, "b_enc": torch.full_like(weights["b_enc"], float("nan"))}
    save_file(nan, folder / "sae_weights.safetensors")
    with pytest.raises(BadInput, match="its weight b_enc holds numbers that are not finite"):
        load(folder)
    del weights["b_enc"]
    save_file(weights, folder / "sae_weights.safetensors")
    with pytest.raises(BadInput, match=r"not an SAE that SAELens can read.*b_enc"):
        load(folder)
    (folder / "sae_weights.safetensors").write_bytes(b"{}")
    with pytest.raises(BadInput, match="not an SAE that SAELens can read"):
        load(folder)
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(BadInput, match=r"no sae_weights\.safetensors"):
        load(folder)


def test_two_of_one_name(tmp_path: Path) -> None:
    first = random_saes.save_sae(tmp_path / "a" / "s", "standard", HOOK, D_IN)
    second = random_saes.save_sae(tmp_path / "b" / "s", "standard", HOOK, D_IN)
    with pytest.raises(BadInput, match='would be called "s"'):
        load(first, second)


def test_releases_and_ids_that_are_not_there() -> None:
    def ask(release: str, sae_id: str) -> None:
        load_saes(SaeSettings(sae_release=release, sae_id=(sae_id,)), "cpu")

    with pytest.raises(BadInput, match=r'no release "gpt2-smal-res-jb" .*gpt2-small-res-jb'):
        ask("gpt2-smal-res-jb", "blocks.8.hook_resid_pre")
    with pytest.raises(BadInput, match=r"no SAE .blocks.88.hook_resid_pre.*blocks.8.hook_resid"):
        ask("gpt2-small-res-jb", "blocks.88.hook_resid_pre")
    # The tests run without the hub.
    with pytest.raises(BadInput, match=r"not in the local cache.*hf download jbloom/GPT2-Small"):
        ask("gpt2-small-res-jb", "blocks.8.hook_resid_pre")
    with pytest.raises(BadInput, match=r"not in the local cache.*hf download someone/saes"):
        ask("someone/saes", "layer_3")


def test_a_release_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub's client would give, given by a folder: cfg and weights go SAELens's own way."""
    import sae_lens.loading.pretrained_sae_loaders as loaders

    release = tmp_path / "hub"
    random_saes.save_sae(release / "layer_3", "jumprelu", "blocks.3.hook_resid_post", D_IN)

    def download(repo_id: str, filename: str, **_: Any) -> str:
        if not (release / filename).is_file():
            raise loaders.EntryNotFoundError(filename)
        return str(release / filename)

    monkeypatch.setattr(loaders, "hf_hub_download", download)
    monkeypatch.setattr("whence.sae.sources.files_only", lambda _: True)
    (loaded,) = load_saes(SaeSettings(sae_release="some/saes", sae_id=("layer_3",)), "cpu")
    assert (loaded.sae_id, loaded.release, loaded.path) == ("layer_3", "some/saes", None)
    assert loaded.fingerprint == "some/saes/layer_3"
    x = torch.randn(4, D_IN)
    expected = random_saes.make_sae("jumprelu", HOOK, D_IN).encode(x)
    assert torch.allclose(encode(loaded, x), expected, atol=1e-6)


@pytest.mark.parametrize(
    "given",
    [{}, {"sae_release": "r"}, {"sae_id": ("x",)}, {"sae_id": ("x",), "sae_path": ("p",)}],
)
def test_release_and_ids_go_together(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="--sae-"):
        SaeSettings(**given)


def test_tiny_means_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module.resources, "files", lambda _: tmp_path)
    with pytest.raises(BadInput, match="ships no SAE"):
        SaeSettings(sae_path=("tiny",)).sae_folders()
    for name in ("b", "a"):
        random_saes.save_sae(tmp_path / "sae" / name, "standard", HOOK, D_IN)
    home = tmp_path / "sae"
    assert SaeSettings(sae_path=("tiny",)).sae_folders() == [home / "a", home / "b"]


def test_what_does_not_fit_the_model(tmp_path: Path) -> None:
    anatomy = find_anatomy(zoo.make("gpt2"))

    def fit(name: str, hook: str, d_in: int) -> LoadedSae:
        (loaded,) = load(random_saes.save_sae(tmp_path / name, "standard", hook, d_in))
        check_fits(loaded, anatomy)
        return loaded

    with pytest.raises(
        BadInput, match=r'SAE "layer" reads blocks.3.*: the model has layers 0 to 2'
    ):
        fit("layer", "blocks.3.hook_resid_post", 32)
    with pytest.raises(BadInput, match=r"reads 31 numbers a token \(d_in\).* the model has 32"):
        fit("width", HOOK, 31)
    with pytest.raises(BadInput, match=r"reads 8 numbers.* the model has 32"):
        fit("head", "blocks.0.attn.hook_z", 8)
    with pytest.raises(BadInput, match=r"reads 32 numbers.* the model has 128"):
        fit("mlp", "blocks.0.mlp.hook_post", 32)
    fit("z", "blocks.0.attn.hook_z", 32)
    fit("post", "blocks.0.mlp.hook_post", 128)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gpt2", True), ("gpt_neox", True), ("opt", True), ("gemma3", False), ("llama", False)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layer_norm_is_told_from_rms_norm(name: str, expected: bool, dtype: torch.dtype) -> None:
    anatomy = find_anatomy(zoo.make(name, dtype=dtype))
    assert ignores_mean(anatomy.final_norm, anatomy) == expected


@pytest.mark.parametrize(
    ("name", "hook", "width", "expected"),
    [
        ("gpt2", HOOK, 32, True),
        ("gpt2", "blocks.1.hook_mlp_out", 32, True),
        ("gpt2", "blocks.1.attn.hook_z", 32, False),
        ("gemma3", HOOK, 48, False),
    ],
)
def test_centring_is_for_what_is_written_to_a_stream_that_layer_norms_read(
    name: str, hook: str, width: int, expected: bool, tmp_path: Path
) -> None:
    kwargs = {"center_writing_weights": True}
    folder = random_saes.save_sae(
        tmp_path / "s", "standard", hook, width, model_from_pretrained_kwargs=kwargs
    )
    (loaded,) = load(folder)
    check_fits(loaded, find_anatomy(zoo.make(name)))
    assert loaded.centred == expected
    x = torch.randn(3, width) + 1.0
    read = x - x.mean(dim=-1, keepdim=True) if expected else x
    assert torch.allclose(encode(loaded, x), SAE.load_from_disk(folder).encode(read), atol=1e-6)


def test_a_model_without_a_place_is_named(
    tmp_path: Path, zoo_folder: Callable[[str], Path]
) -> None:
    from transformers import AutoModelForCausalLM

    anatomy = find_anatomy(AutoModelForCausalLM.from_pretrained(zoo_folder("mixtral")))
    (loaded,) = load(random_saes.save_sae(tmp_path / "s", "standard", "blocks.0.mlp.hook_post", 48))
    with pytest.raises(BadInput, match=r"mlp.hook_post: not found in Mixtral"):
        check_fits(loaded, anatomy)
