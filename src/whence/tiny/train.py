"""The recipe of the tiny base model: `whence tiny train` makes the shipped weights again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.progress import Progress
from whence.runs.store import open_run
from whence.tiny.checkpoint import load_checkpoint, save_checkpoint
from whence.tiny.corpus import documents
from whence.tiny.exam import grade, questions
from whence.tiny.model import fresh_model
from whence.tiny.tokenizer import train_tokenizer
from whence.tiny.world import make_world

if TYPE_CHECKING:
    import torch
    from transformers import Gemma3ForCausalLM, PreTrainedTokenizerBase

BLOCK = 128
"""Tokens in a training row: documents end to end, each with BOS before and EOS after."""
CHECKPOINT_EVERY = 100


class TrainConfig(OutputConfig):
    """Train the tiny world's tokenizer and base model from nothing, and examine them."""

    output_dir: Path = Field(default=Path("runs/tiny"), description="Folder for the model.")
    world_seed: int = Field(default=0, description="Which world.")
    seed: int = Field(default=0, description="Initial weights and order of the text.")
    steps: int = Field(default=2600, ge=1, description="Optimizer steps.")
    batch_size: int = Field(default=24, ge=1, description=f"Rows of {BLOCK} tokens in a step.")
    matrix_rate: float = Field(default=0.02, gt=0, description="Peak rate of Muon, for matrices.")
    other_rate: float = Field(
        default=2.5e-3, gt=0, description="Peak rate of AdamW, for embeddings and norms."
    )


@dataclass(frozen=True)
class TrainedTiny:
    """The trained model's folder, its size, and the share of exam questions it answers."""

    folder: Path
    parameters: int
    exam: dict[str, float]

    def finding(self) -> Finding:
        return Finding(
            f"The tiny model answers {self.exam['facts']:.1%} of the held-out facts.",
            columns=("subject", "right"),
            rows=[(subject, f"{share:.1%}") for subject, share in self.exam.items()],
            files={"model": self.folder},
        )


def token_stream(tokenizer: PreTrainedTokenizerBase, texts: Iterator[str], count: int) -> Any:
    """`count` token ids, `int16[count]`: documents end to end."""
    import numpy as np

    ids: list[int] = []
    while len(ids) < count:
        for row in tokenizer(list(islice(texts, 2000)))["input_ids"]:
            ids += [*row, tokenizer.eos_token_id]
    return np.asarray(ids[:count], dtype=np.int16)


def _optimizers(model: Gemma3ForCausalLM, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else."""
    import torch

    inner = {id(p) for layer in model.model.layers for p in layer.parameters() if p.dim() == 2}
    matrices = [p for p in model.parameters() if id(p) in inner]
    others = [p for p in model.parameters() if id(p) not in inner]
    return [
        torch.optim.Muon(matrices, lr=config.matrix_rate, weight_decay=0.0),
        torch.optim.AdamW(others, lr=config.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _schedule(step: int, steps: int) -> float:
    """Share of the peak rate: up over 100 steps, down a cosine to 2 %."""
    return min(1.0, (step + 1) / 100) * max(0.02, 0.5 * (1 + math.cos(math.pi * step / steps)))


def train_base(
    config: TrainConfig, checkpoint: Path
) -> tuple[Gemma3ForCausalLM, PreTrainedTokenizerBase]:
    """The model in float32 on the CPU, and its tokenizer. Goes on from `checkpoint` if it is there.

    Runs on the GPU where there is one; forward passes are in bfloat16 autocast, weights float32.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    world = make_world(config.world_seed)
    tokenizer = train_tokenizer(world)
    model = fresh_model(tokenizer, config.seed).to(device)
    optimizers = _optimizers(model, config)
    done = load_checkpoint(checkpoint, model, optimizers)
    shape = (config.steps, config.batch_size, BLOCK)
    # The corpus with this seed + 1: `whence tiny make --kind corpus` hands out seed 0 by default.
    texts = documents(world, config.seed + 1)
    rows = token_stream(tokenizer, texts, math.prod(shape)).reshape(shape)
    model.train()
    with Progress("training", config.steps, "steps", done) as progress:
        for step in range(done, config.steps):
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group.setdefault("peak", group["lr"])
                    group["lr"] = group["peak"] * _schedule(step, config.steps)
            ids = torch.from_numpy(rows[step].astype("int64")).to(device)
            with torch.autocast(device, torch.bfloat16):
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            progress.advance()
            if (step + 1) % CHECKPOINT_EVERY == 0:
                save_checkpoint(checkpoint, model, optimizers, step + 1)
    return model.cpu().eval(), tokenizer


def train(config: TrainConfig) -> TrainedTiny:
    """Train, store in bfloat16, and grade what was stored.

    The folder is a plain Hugging Face model with `exam.json` beside the weights.
    """
    with open_run(
        config.output_dir,
        command="tiny train",
        config=config,
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            import torch

            model, tokenizer = train_base(config, run.scratch / "checkpoint.safetensors")
            model = model.to(torch.bfloat16)
            model.save_pretrained(run.folder)
            tokenizer.save_pretrained(run.folder)
            asked = questions(make_world(config.world_seed))
            write_json(
                run.folder / "exam.json",
                {
                    "parameters": model.num_parameters(),
                    "questions": len(asked),
                    "right": grade(model.float(), tokenizer, asked),
                },
            )
    exam = read_json(config.output_dir / "exam.json")
    return TrainedTiny(config.output_dir, exam["parameters"], exam["right"])
