"""The recipe of the tiny model's SAEs: `whence tiny sae` makes the shipped folders again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from whence.errors import BadInput
from whence.runs.config import Numbers, OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import Run, open_run
from whence.tiny.train import BLOCK
from whence.tiny.where import path
from whence.tiny.world import make_world

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from whence.models.anatomy import Anatomy
    from whence.tiny.sae.passages import Passage

RECOVERY = "recovery.json"


class SaeConfig(OutputConfig):
    """Train sparse autoencoders on the tiny model's residual stream, and examine them.

    One folder an SAE, as SAELens reads it, with what it was found to recover in `recovery.json`.
    """

    output_dir: Path = Field(default=Path("runs/tiny-sae"), description="Folder for the SAEs.")
    layers: Numbers = Field(default=(2, 4), description="Blocks whose output is read, from 0.")
    features: int = Field(default=1024, ge=2, description="Features of an SAE (d_sae).")
    k: int = Field(default=10, ge=1, description="Features active at a token, on average.")
    documents: int = Field(default=11000, ge=0, description="Documents of the base model's text.")
    games: int = Field(default=6500, ge=0, description="Games, as finetuning reads them.")
    heldout_documents: int = Field(default=3000, ge=2, description="Other documents, to examine.")
    heldout_games: int = Field(default=2000, ge=0, description="Other games, to examine.")
    steps: int = Field(default=4000, ge=1, description="Optimizer steps.")
    batch_size: int = Field(default=1024, ge=1, description="Tokens in a step.")
    rate: float = Field(default=1e-3, gt=0, description="Peak rate of Adam.")
    world_seed: int = Field(default=0, description="Which world; the shipped model knows world 0.")
    seed: int = Field(default=0, description="Initial weights, text and its order.")


@dataclass(frozen=True)
class TrainedSaes:
    """saes: what each folder in `folder` was found to recover, by name (its `recovery.json`)."""

    folder: Path
    saes: Mapping[str, Mapping[str, Any]]
    done: bool

    def finding(self) -> Finding:
        least = min(each["explained_variance"] for each in self.saes.values())
        done = "Already done: " if self.done else ""
        return Finding(
            f"{done}{len(self.saes)} SAEs of the tiny model explain {least:.1%} or more of what "
            "they read.",
            columns=("SAE", "explained", "L0", "dead", "values stated, median F1", "untrained"),
            rows=[_finding_row(name, each) for name, each in self.saes.items()],
            files={name: self.folder / name for name in self.saes},
        )


def sae_id(layer: int) -> str:
    """The name of a layer's folder."""
    return f"resid_post_layer_{layer}"


def train_saes(config: SaeConfig) -> TrainedSaes:
    """Read the text once, then train, store and examine an SAE a layer.

    Resumable: activations and finished SAEs are kept, and an SAE that was cut off is begun again.
    Raises BadInput for a layer that the model does not have, a k of more than the features, and
    text that is too little for a batch.
    """
    if config.k > config.features:
        raise BadInput(f"--k {config.k} of {config.features} --features: give fewer to be active")
    with open_run(
        config.output_dir,
        command="tiny sae",
        config=config,
        inputs={"model": path().folder},
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            _train_saes(config, run)
    return TrainedSaes(
        config.output_dir,
        {sae_id(x): read_json(config.output_dir / sae_id(x) / RECOVERY) for x in config.layers},
        run.done,
    )


def _train_saes(config: SaeConfig, run: Run) -> None:
    import numpy as np

    from whence.models.anatomy import find_anatomy
    from whence.models.load import load_model
    from whence.tiny.sae.activations import kept_stream, residual_stream, shuffled
    from whence.tiny.sae.report import measure, two_halves
    from whence.tiny.sae.training import one_thread, store, train

    world = make_world(config.world_seed)
    loaded = load_model("tiny", dtype="float32", device="cpu")
    anatomy = find_anatomy(loaded.model)
    _need_layers(config.layers, anatomy)
    read, heldout = _texts(config, loaded.tokenizer)
    tokens = sum(len(passage.spans) for passage in read)
    if tokens < config.batch_size:
        raise BadInput(
            f"{tokens} tokens make no batch of {config.batch_size}: raise --documents or --games, "
            "or lower --batch-size"
        )
    with one_thread():
        files = kept_stream(run.scratch, anatomy, read, config.layers)
        for layer in config.layers:
            folder = run.folder / sae_id(layer)
            if (folder / RECOVERY).is_file():
                continue
            trained = train(
                shuffled(np.load(files[layer]), config.batch_size, config.seed),
                d_in=anatomy.d_model,
                features=config.features,
                k=config.k,
                steps=config.steps,
                batch_size=config.batch_size,
                rate=config.rate,
                seed=config.seed,
                metadata=_metadata(config, layer),
            )
            stored = store(trained, folder)
            values = residual_stream(anatomy, heldout, [layer])[layer]
            choosing, judging = two_halves(heldout, values, world)
            write_json(
                folder / RECOVERY,
                {
                    **_facts(config, layer, tokens, heldout, {p.text for p in read}),
                    **measure(stored, choosing, judging, config.seed),
                },
            )


def _need_layers(layers: Sequence[int], anatomy: Anatomy) -> None:
    if not layers or len(set(layers)) < len(layers):
        raise BadInput(f"--layers {' '.join(map(str, layers))}: give each layer once, one or more")
    for layer in layers:
        if not 0 <= layer < anatomy.n_layers:
            raise BadInput(
                f"--layers {layer}: the tiny model has layers 0 to {anatomy.n_layers - 1}"
            )


def _texts(
    config: SaeConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Passage], list[Passage]]:
    """What is trained on, and what is examined: other draws of the same kinds of text.

    Seed 1 is what the base model read; seed 0 is what `whence tiny make` hands out by default.
    """
    from whence.tiny.sae.passages import make_passages

    world = make_world(config.world_seed)
    return (
        make_passages(
            world,
            tokenizer,
            n_documents=config.documents,
            n_games=config.games,
            seed=config.seed + 1,
        ),
        make_passages(
            world,
            tokenizer,
            n_documents=config.heldout_documents,
            n_games=config.heldout_games,
            seed=config.seed + 2,
        ),
    )


def _metadata(config: SaeConfig, layer: int) -> dict[str, Any]:
    """What cfg.json says beside shapes, in SAELens's words."""
    from whence.tiny.sae.activations import hook_name

    return {
        "model_name": "tiny",
        "hook_name": hook_name(layer),
        "context_size": BLOCK,
        "prepend_bos": True,
        "dataset_path": f"whence.tiny: {config.documents} documents and {config.games} games, "
        f"seed {config.seed + 1}, BOS left out",
    }


def _facts(
    config: SaeConfig, layer: int, tokens: int, heldout: Sequence[Passage], read: set[str]
) -> dict[str, Any]:
    from whence.tiny.sae.activations import hook_name

    known = sum(passage.text in read for passage in heldout)
    return {
        "sae_id": sae_id(layer),
        "hook_name": hook_name(layer),
        "features": config.features,
        "k": config.k,
        "tokens_read": tokens,
        "tokens_trained_on": config.steps * config.batch_size,
        "seed": config.seed,
        "heldout": {
            "documents": config.heldout_documents,
            "games": config.heldout_games,
            "seed": config.seed + 2,
            "tokens": sum(len(passage.spans) for passage in heldout),
            "passages_read_in_training_too": round(known / len(heldout), 4),
        },
    }


def _finding_row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    stated = next((g for g in found["groups"] if g["group"] == "value stated"), None)
    return (
        name,
        f"{found['explained_variance']:.3f}",
        f"{found['l0']:.1f}",
        f"{found['dead_features']} of {found['features']}",
        f"{stated['f1_median']:.3f}" if stated else "too few",
        f"{stated['f1_random_median']:.3f}" if stated else "too few",
    )
