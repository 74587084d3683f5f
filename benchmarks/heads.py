r"""A sweep over every head against loops over hooks, layer by layer in turns.

    uv run --with "transformer-lens>=3.9,<4" python benchmarks/heads.py --shape gpt2-small
    uv run --with "transformer-lens>=3.9,<4" python benchmarks/heads.py --shape gemma3-1b \
        --layers 0 5 10 15 20 25

Random weights in the shape of a real model; prompts of random tokens, as long as those of real
corpora. Four contenders do the heads of one layer, then of the next, the first to go changing from
layer to layer:

    whence   the engine of `whence heads sweep`: all metrics of every head
    hooks    Transformers, a forward hook that zeroes one head, one padded batch of all prompts
    lens     TransformerLens `run_with_hooks` on blocks.L.attn.hook_z, the same batch
    floor    only the blocks that any exact sweep must run: suffixes from the layer on, nothing else

hooks and lens read the logit difference alone. Where only some layers are asked for, whence is
charged its share of what a sweep does once (the undisturbed run), and carries its state on through
the layers between, outside the clock, as a whole sweep would have done by then. Prints a table, the
ratios, and the largest difference of a logit difference; fails where that is more than 1e-4.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from whence.heads.battery import HeadsZero, Positions
from whence.heads.groups import make_groups, units_of
from whence.heads.interventions import interventions
from whence.heads.prompts import Example
from whence.heads.sweep import Sweep
from whence.models.anatomy import Anatomy, find_anatomy
from whence.models.replay import Replay

TOLERANCE = 1e-4
SHAPES = ("gpt2-small", "gemma3-1b", "gemma3-270m", "test")


def make_model(shape: str, device: str) -> Any:
    """A model of this shape with random weights, in evaluation mode."""
    import transformers

    torch.manual_seed(0)
    if shape == "gpt2-small":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    elif shape.startswith("gemma3"):
        large = shape == "gemma3-1b"
        config = transformers.Gemma3TextConfig(
            vocab_size=262144,
            hidden_size=1152 if large else 640,
            intermediate_size=6912 if large else 2048,
            num_hidden_layers=26 if large else 18,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=256,
            sliding_window=512,
        )
        model = transformers.Gemma3ForCausalLM(config)
    else:
        config = transformers.GPT2Config(n_layer=3, n_embd=64, n_head=4, vocab_size=1000)
        model = transformers.GPT2LMHeadModel(config)
    return model.eval().to(device)


def make_examples(count: int, shortest: int, longest: int, vocabulary: int) -> list[Example]:
    """Prompts of random tokens with random answers; lengths as even as chance has it."""
    rng = random.Random(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, vocabulary) for _ in range(length))

    examples = []
    for at in range(count):
        target, foil = rng.sample(range(3, vocabulary), 2)
        clean = ids(rng.randint(shortest, longest))
        examples.append(Example(at, clean, None, (target,), (foil,)))
    return examples


class Whence:
    """The engine, one start layer at a time."""

    def __init__(
        self, anatomy: Anatomy, examples: Sequence[Example], layers: Sequence[int]
    ) -> None:
        device = anatomy.embed.weight.device
        units = units_of(examples, "first_token")
        groups = make_groups(examples, units, "first_token", max_rows=32, device=device)
        self.sweep = Sweep(Replay(anatomy), groups, Positions("all"), False, memory_gb=2.0)
        asked = interventions(HeadsZero(), anatomy, [0])
        self.asked = [one for one in asked if one.layer in layers or one.head == 0]
        self.runs = self.sweep.run(self.asked)

    def layer(self, layer: int) -> torch.Tensor:
        start, _, readings = next(self.runs)
        assert start == layer
        return torch.tensor(readings["logit_diff"])


class Padded:
    """One batch of all prompts, padded on the right, and the reading of their last real tokens."""

    def __init__(self, examples: Sequence[Example], device: Any) -> None:
        longest = max(len(e.clean) for e in examples)
        rows = [[*e.clean, *[0] * (longest - len(e.clean))] for e in examples]
        self.ids = torch.tensor(rows, device=device)
        lengths = torch.tensor([len(e.clean) for e in examples], device=device)
        self.mask = (torch.arange(longest, device=device) < lengths[:, None]).long()
        self.row, self.last = torch.arange(len(examples), device=device), lengths - 1
        self.target = torch.tensor([e.target[0] for e in examples], device=device)
        self.foil = torch.tensor([e.foil[0] for e in examples], device=device)

    def difference(self, logits: torch.Tensor) -> torch.Tensor:
        last = logits[self.row, self.last].float()
        return (last[self.row, self.target] - last[self.row, self.foil]).double().cpu()


def hooks_layer(anatomy: Anatomy, batch: Padded, layer: int) -> torch.Tensor:
    """A forward pass a head, its slice of what the output projection reads set to zero."""
    found = []
    for head in range(anatomy.n_heads):

        def zero(_module: Any, args: Any, head: int = head) -> Any:
            z = args[0].clone()
            z[..., head * anatomy.d_head : (head + 1) * anatomy.d_head] = 0
            return (z, *args[1:])

        handle = anatomy.blocks[layer].out_proj.register_forward_pre_hook(zero)
        try:
            logits = anatomy.model(input_ids=batch.ids, attention_mask=batch.mask).logits
        finally:
            handle.remove()
        found.append(batch.difference(logits))
    return torch.stack(found)


def lens_layer(bridge: Any, batch: Padded, layer: int, heads: int) -> torch.Tensor:
    """TransformerLens's own way: `run_with_hooks`, one head at a time."""
    found = []
    for head in range(heads):

        def zero(z: torch.Tensor, hook: Any, head: int = head) -> torch.Tensor:
            z = z.clone()
            of_heads = z if z.ndim == 4 else z.unflatten(-1, (heads, -1))
            of_heads[:, :, head] = 0
            return z

        logits = bridge.run_with_hooks(
            batch.ids,
            attention_mask=batch.mask,
            fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)],
        )
        found.append(batch.difference(logits))
    return torch.stack(found)


def floor_layer(anatomy: Anatomy, whence: Whence, states: dict[int, Any], layer: int) -> None:
    """Suffixes from `layer` on, for every head and prompt, in the batches of the engine."""
    replay = whence.sweep.replay
    for at, group in enumerate(whence.sweep.groups):
        most = whence.sweep.interventions_at_once(group)
        for first in range(0, anatomy.n_heads, most):
            copies = min(most, anatomy.n_heads - first)
            replay.blocks(states[layer][at].repeat(copies, 1, 1), layer)


def make_bridge(model: Any, folder: Path) -> Any:
    """TransformerLens around the very same weights."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    from whence.models.load import load_tokenizer

    load_tokenizer("tiny").save_pretrained(folder)  # any tokenizer will do: ids are given
    model.config.architectures = [type(model).__name__]  # what `save_pretrained` would note
    model.config.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.init_kwargs["name_or_path"] = str(folder)
    device = str(next(model.parameters()).device)
    return TransformerBridge.boot_transformers(
        str(folder), hf_model=model, tokenizer=tokenizer, device=device
    )


def timed(work: Callable[[], Any], cuda: bool) -> tuple[float, Any]:
    if cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    result = work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="gpt2-small")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--lengths", type=int, nargs=2, default=(6, 14), help="tokens of a prompt")
    parser.add_argument("--layers", type=int, nargs="*", help="layers to sweep; default all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--without", nargs="*", default=(), help="contenders to leave out")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    cuda = options.device.startswith("cuda")
    model = make_model(options.shape, options.device)
    anatomy = find_anatomy(model)
    layers = options.layers or list(range(anatomy.n_layers))
    examples = make_examples(options.prompts, *options.lengths, anatomy.d_vocab)
    batch = Padded(examples, options.device)
    whence = Whence(anatomy, examples, layers)
    states: dict[int, Any] = {}
    contenders: dict[str, Callable[[int], Any]] = {
        "whence": whence.layer,
        "hooks": lambda layer: hooks_layer(anatomy, batch, layer),
        "floor": lambda layer: floor_layer(anatomy, whence, states, layer),
    }
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        if "lens" not in options.without:
            bridge = make_bridge(model, Path(folder))
            contenders["lens"] = lambda layer: lens_layer(bridge, batch, layer, anatomy.n_heads)
        names = [name for name in contenders if name not in options.without]
        hidden = [whence.sweep.replay.enter(group.ids) for group in whence.sweep.groups]
        for layer in range(anatomy.n_layers):
            if layer in layers:
                states[layer] = hidden
            hidden = [whence.sweep.replay.blocks(h, layer, layer + 1) for h in hidden]
        anatomy.model(input_ids=batch.ids, attention_mask=batch.mask)  # warm up
        seconds = dict.fromkeys(names, 0.0)
        worst = 0.0
        once, _ = timed(whence.sweep.baseline, cuda)
        whence.sweep.replay.block_tokens = 0
        counted = 0
        print(
            f"{options.shape}: {anatomy.n_layers} layers × {anatomy.n_heads} heads, vocabulary "
            f"{anatomy.d_vocab:,}; {options.prompts} prompts of {options.lengths[0]} to "
            f"{options.lengths[1]} tokens; {options.device}, {torch.get_num_threads()} threads"
        )
        print("| layer | " + " | ".join(f"{name} s" for name in names) + " |")
        print("| --- |" + " --- |" * len(names))
        for turn, layer in enumerate(range(anatomy.n_layers)):
            if layer not in layers:
                whence.layer(layer)
                continue
            order = names[turn % len(names) :] + names[: turn % len(names)]
            took, found = {}, {}
            for name in order:
                before = whence.sweep.replay.block_tokens
                took[name], found[name] = timed(partial(contenders[name], layer), cuda)
                seconds[name] += took[name]
                if name == "whence":
                    counted += whence.sweep.replay.block_tokens - before
            for name in ("hooks", "lens"):
                if name in found:
                    worst = max(worst, float((found[name] - found["whence"]).abs().max()))
            row = " | ".join(f"{took[name]:.2f}" for name in names)
            print(f"| {layer} | {row} |", flush=True)
    share = len(layers) / anatomy.n_layers
    seconds["whence"] += once * share
    print("| all | " + " | ".join(f"{seconds[name]:.1f}" for name in names) + " |\n")
    print(f"the undisturbed run: {once:.1f} s, of which whence is charged {once * share:.1f} s")
    for name in ("hooks", "lens"):
        if name in seconds:
            print(f"{name} / whence: {seconds[name] / seconds['whence']:.2f}")
    if "floor" in seconds:
        print(f"whence / floor, seconds: {seconds['whence'] / seconds['floor']:.2f}")
    tokens = sum(group.ids.numel() for group in whence.sweep.groups)
    least = sum(anatomy.n_heads * (anatomy.n_layers - layer) for layer in layers) * tokens
    counted += round(anatomy.n_layers * tokens * share)
    print(f"whence / floor, block forwards: {counted / least:.3f}")
    print(f"largest difference of a logit difference: {worst:.1e}")
    if worst > TOLERANCE:
        raise SystemExit(f"the numbers differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
