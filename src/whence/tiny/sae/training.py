"""One SAE, trained by SAELens on activations that are there already, and stored small."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.runs.jsonfile import read_json, write_json
from whence.runs.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

MEASURED = 20
"""Batches that the scale of the activations is estimated on, before the first step."""


def train(
    batches: Iterator[Tensor],
    *,
    d_in: int,
    features: int,
    k: int,
    steps: int,
    batch_size: int,
    rate: float,
    seed: int,
    metadata: Mapping[str, Any],
) -> Any:
    """A BatchTopK SAE after `steps` batches [batch_size, d_in].

    Activations are scaled for training (by their mean norm), and the scale is folded into the
    weights at the end. One thread, so that the same seed gives the same bits.
    """
    import torch
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.sae_trainer import SAETrainer

    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sae = BatchTopKTrainingSAE(
            BatchTopKTrainingSAEConfig(
                d_in=d_in,
                d_sae=features,
                k=k,
                device="cpu",
                dtype="float32",
                normalize_activations="expected_average_only_in",
                metadata=SAEMetadata(**metadata),
            )
        )
        config = SAETrainerConfig(
            total_training_samples=steps * batch_size,
            train_batch_size_samples=batch_size,
            lr=rate,
            lr_end=rate / 10,
            lr_warm_up_steps=min(100, steps // 10),
            lr_decay_steps=steps // 4,
            dead_feature_window=max(1, steps // 10),
            feature_sampling_window=max(1, steps // 4),
            n_batches_for_norm_estimate=MEASURED,
            device="cpu",
        )
        with Progress("training", MEASURED + steps, "batches") as progress, _no_bar_of_saelens():
            return SAETrainer(config, sae, _counted(batches, progress)).fit()


def store(sae: Any, folder: Path) -> Any:
    """Save a trained SAE for inference, weights as float16, and give it back as SAELens reads it.

    It reads them as float32 again, as cfg.json says.
    """
    import torch
    from sae_lens import SAE
    from safetensors.torch import load_file, save_file

    weights, config = sae.save_inference_model(folder)
    tensors = {name: value.to(torch.float16) for name, value in load_file(weights).items()}
    save_file(tensors, weights)
    # SAELens writes its settings in an order that changes from process to process
    write_json(config, dict(sorted(read_json(config).items())))
    return SAE.load_from_disk(folder)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one core: how it divides a sum among several changes its last bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _counted(batches: Iterator[Tensor], progress: Progress) -> Iterator[Tensor]:
    for batch in batches:
        progress.advance()
        yield batch


@contextmanager
def _no_bar_of_saelens() -> Iterator[None]:
    """SAELens draws a bar of its own, into logs too; ours says the same."""
    from sae_lens.training import sae_trainer

    drawn = sae_trainer.tqdm
    sae_trainer.tqdm = functools.partial(drawn, disable=True)
    try:
        yield
    finally:
        sae_trainer.tqdm = drawn
