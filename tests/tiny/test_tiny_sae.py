"""The shipped SAEs are what `recovery.json` says; the recipe makes the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.tiny.sae.passages import Passage, make_passages
from whence.tiny.sae.recipe import SaeConfig, train_saes
from whence.tiny.where import PathConfig, path, sae_folders
from whence.tiny.world import make_world

FOLDERS = sae_folders()
FRESH = 77
"""Seed of text that neither training nor `recovery.json` saw."""


@pytest.fixture(scope="module")
def anatomy_and_tokenizer() -> tuple[Any, Any]:
    from whence.models.anatomy import find_anatomy
    from whence.models.load import load_model

    loaded = load_model("tiny", dtype="float32", device="cpu")
    return find_anatomy(loaded.model), loaded.tokenizer


@pytest.fixture(scope="module")
def fresh(anatomy_and_tokenizer: tuple[Any, Any]) -> tuple[list[Passage], dict[str, Any]]:
    """Fresh passages, and the residual stream over them by folder name."""
    from whence.tiny.sae.activations import residual_stream

    anatomy, tokenizer = anatomy_and_tokenizer
    passages = make_passages(make_world(0), tokenizer, n_documents=400, n_games=260, seed=FRESH)
    layers = {folder.name: int(folder.name.rsplit("_", 1)[1]) for folder in FOLDERS}
    values = residual_stream(anatomy, passages, list(layers.values()))
    return passages, {name: values[layer] for name, layer in layers.items()}


def opened(folder: Path) -> tuple[Any, dict[str, Any]]:
    from sae_lens import SAE

    return SAE.load_from_disk(folder), read_json(folder / "recovery.json")


def test_the_package_holds_them_and_they_are_small() -> None:
    files = [file for folder in FOLDERS for file in folder.iterdir()]
    assert len(FOLDERS) >= 1
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    assert sum(file.stat().st_size for file in files) < 3e6


def test_paths_one_a_line() -> None:
    shown = path(PathConfig(sae=True)).finding().headline.splitlines()
    assert [Path(line) for line in shown] == FOLDERS
    assert path().finding().headline == str(path().folder)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_saelens_reads_it_and_it_fits_the_model(
    folder: Path, anatomy_and_tokenizer: tuple[Any, Any]
) -> None:
    import torch

    from whence.models.sites import parse_site

    anatomy, tokenizer = anatomy_and_tokenizer
    sae, found = opened(folder)
    assert sae.cfg.d_in == anatomy.d_model
    assert sae.cfg.d_sae == found["features"]
    assert {weight.dtype for weight in sae.parameters()} == {torch.float32}
    assert sae.cfg.architecture() == "jumprelu"
    metadata = sae.cfg.metadata
    site = parse_site(metadata.hook_name, anatomy.n_layers)
    assert (site.kind, folder.name) == ("resid_post", f"resid_post_layer_{site.layer}")
    assert metadata.model_name == "tiny"
    assert metadata.prepend_bos is (tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id)
    assert metadata.sae_lens_version


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_fit_on_fresh_text_is_what_is_published(folder: Path, fresh: Any) -> None:
    import torch

    sae, found = opened(folder)
    x = torch.from_numpy(fresh[1][folder.name])
    with torch.no_grad():
        features = sae.encode(x)
        rest = x - sae.decode(features)
    explained = 1 - float(rest.square().sum() / (x - x.mean(dim=0)).square().sum())
    assert explained == pytest.approx(found["explained_variance"], abs=0.01)
    assert float((features > 0).sum()) / len(x) == pytest.approx(found["l0"], rel=0.05)
    assert explained >= 0.9
    assert 5 <= found["l0"] <= 40


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_features_find_their_concepts_on_fresh_text(folder: Path, fresh: Any) -> None:
    """Feature and threshold as published; the controls may choose anew, on this very text."""
    import torch

    from whence.tiny.sae.concepts import label
    from whence.tiny.sae.recovery import Choice, Half, axes, best_features, f1, random_directions

    passages, values = fresh
    sae, found = opened(folder)
    half = Half(torch.from_numpy(values[folder.name]), label(passages, make_world(0)))
    published = {(each["group"], each["name"]): each for each in found["concepts"]}
    stated = {
        concept: published[concept.group, concept.name]
        for concept in half.concepts
        if concept.group == "value stated"
    }
    assert len(stated) == 56
    with torch.no_grad():
        features = sae.encode(half.x)
    again = {
        concept: f1(
            Choice(row["feature"], row["threshold"], 0.0),
            features[:, row["feature"]],
            half,
            concept,
        )
        for concept, row in stated.items()
    }
    assert sorted(again.values())[len(again) // 2] >= 0.9
    for concept, row in stated.items():
        # a score near 1 may not move by much; where few tokens are positive it may move by more
        assert again[concept] == pytest.approx(row["f1"], abs=0.25), concept
    few = {concept: half.concepts[concept] for concept in list(stated)[::8]}
    for encode in (random_directions(half, sae.cfg.d_sae, seed=1), axes(half)):
        control = best_features(encode(half.x), few)
        better = [again[concept] - choice.f1 for concept, choice in control.items()]
        assert sorted(better)[len(better) // 2] > 0.15


def test_the_page_says_what_was_measured() -> None:
    """docs/tiny-world.md, row by row."""
    page = (Path(__file__).parents[2] / "docs" / "tiny-world.md").read_text()
    first, second = (opened_report(folder) for folder in FOLDERS)
    for key, digits in (("explained_variance", 3), ("l0", 1), ("dead_features", 0)):
        assert f"| {first[key]:.{digits}f} | {second[key]:.{digits}f} |" in page
    for one, other in zip(first["groups"], second["groups"], strict=True):
        cells = [one["group"], str(one["concepts"])]
        cells += [f"{each['f1_median']:.2f} ({each['f1_lowest']:.2f})" for each in (one, other)]
        cells += [
            f"{one[f'f1_{name}_median']:.2f}, {other[f'f1_{name}_median']:.2f}"
            for name in ("random", "axes", "probe")
        ]
        assert f"| {' | '.join(cells)} |" in page


def opened_report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(folder / "recovery.json")
    return found


def tiny_config(folder: Path, **changes: Any) -> SaeConfig:
    settings: dict[str, Any] = {
        "layers": (1, 3), "features": 32, "k": 4, "documents": 40, "games": 20,
        "heldout_documents": 60, "heldout_games": 40, "steps": 12, "batch_size": 64,
    }  # fmt: skip
    return SaeConfig(output_dir=folder, **{**settings, **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "whence.json"
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saes") / "once"
    train_saes(tiny_config(folder))
    return folder


def test_the_recipe_gives_the_same_bytes_again(trained: Path, tmp_path: Path) -> None:
    train_saes(tiny_config(tmp_path / "again"))
    first = content(trained)
    assert sorted(first) == [
        f"resid_post_layer_{layer}/{name}"
        for layer in (1, 3)
        for name in ("cfg.json", "recovery.json", "sae_weights.safetensors")
    ]
    assert content(tmp_path / "again") == first
    # in another process too: nothing hangs on the order of a set
    for folder in (*FOLDERS, trained / "resid_post_layer_1"):
        settings = list(read_json(folder / "cfg.json"))
        assert settings == sorted(settings)


def test_another_seed_gives_other_weights(trained: Path, tmp_path: Path) -> None:
    train_saes(tiny_config(tmp_path / "other", layers=(1,), seed=1))
    name = "resid_post_layer_1/sae_weights.safetensors"
    assert content(tmp_path / "other")[name] != content(trained)[name]


def test_done_once_is_done(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from whence.tiny.sae import training

    monkeypatch.delattr(training, "train")
    result = train_saes(tiny_config(trained))
    assert result.done
    finding = result.finding()
    assert finding.headline.startswith("Already done: 2 SAEs")
    assert [row[0] for row in finding.rows] == ["resid_post_layer_1", "resid_post_layer_3"]


def test_killed_at_the_second_layer_goes_on_there(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.tiny.sae import training

    class Killed(BaseException):
        pass

    calls: list[int] = []

    def dying(at: int) -> Callable[..., Any]:
        def train(*arguments: Any, **settings: Any) -> Any:
            calls.append(at)
            if len(calls) == at:
                raise Killed
            return whole(*arguments, **settings)

        return train

    whole = training.train
    monkeypatch.setattr(training, "train", dying(2))
    with pytest.raises(Killed):
        train_saes(tiny_config(tmp_path / "cut"))
    monkeypatch.setattr(training, "train", dying(0))
    train_saes(tiny_config(tmp_path / "cut"))
    assert calls == [2, 2, 0]  # the first layer was not trained again
    assert content(tmp_path / "cut") == content(trained)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": (6,)}, "--layers 6: the tiny model has layers 0 to 5"),
        ({"layers": (2, 2)}, "--layers 2 2: give each layer once"),
        ({"layers": ()}, "give each layer once, one or more"),
        ({"k": 33}, "--k 33 of 32 --features"),
        ({"documents": 1, "games": 0}, "make no batch of 64: raise --documents or --games"),
    ],
)
def test_what_cannot_be_trained_is_said(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        train_saes(tiny_config(tmp_path / "bad", **changes))
    assert not (tmp_path / "bad").exists()


def test_storing_in_float16_changes_next_to_nothing(tmp_path: Path) -> None:
    """And what is read again is float32."""
    import torch

    from whence.tiny.sae.recovery import fit_of
    from whence.tiny.sae.training import store, train

    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(24, 16, generator=generator)
    x = torch.rand(2048, 24, generator=generator).mul(3).sub(2).relu() @ directions
    sae = train(
        iter([x[i : i + 256] for i in range(0, 2048, 256)] * 60),
        d_in=16, features=48, k=6, steps=300, batch_size=256, rate=3e-3, seed=0,
        metadata={"hook_name": "blocks.0.hook_resid_post"},
    )  # fmt: skip
    sae.save_inference_model(tmp_path / "whole")
    whole, _ = _read(tmp_path / "whole")
    stored = store(sae, tmp_path / "small")
    assert stored.dtype == torch.float32
    before, after = fit_of(whole, x), fit_of(stored, x)
    assert before.explained_variance > 0.8
    assert after.explained_variance == pytest.approx(before.explained_variance, abs=1e-4)
    assert after.l0 == pytest.approx(before.l0, rel=0.01)
    sizes = [(tmp_path / n / "sae_weights.safetensors").stat().st_size for n in ("whole", "small")]
    assert sizes[1] < 0.6 * sizes[0]


def _read(folder: Path) -> tuple[Any, Path]:
    from sae_lens import SAE

    return SAE.load_from_disk(folder), folder
