r"""Capture of 4 layers × 2 poolings in one pass, against a plain pass for each of the 8.

    uv run python benchmarks/anchors_capture.py
    uv run python benchmarks/anchors_capture.py --shape gemma3 --traces 4

Random weights in the shape of a real family, cut to what two cores can do; traces of random tokens,
in sentences of 10 to 40. Two contenders read one trace, then the next, the first to go changing:

    whence   `capture_trace`, as `whence anchors extract --layers quartiles --pooling mean,tokens`
    plain    for each layer and pooling the decoder with output_hidden_states=True, pooled after:
             what a sweep costs that extracts one layer and one pooling at a time

The plain decoder computes no logits either, so the comparison is kind to it. Both keep what they
pooled of one trace. Then each reads the longest trace in a process of its own, and the largest
resident size that the kernel saw is compared, less what the loaded model takes. Prints a table, the
ratio of seconds and the largest difference; fails under a ratio of 4, where whence needs more
memory than plain, and where numbers differ by more than 1e-5 of the largest. Minutes: 4 on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whence.anchors.features.capture_trace import capture_trace
from whence.anchors.features.wanted import Pooling, Wanted, array_name, layers_of
from whence.anchors.spans.locate import Span
from whence.models.anatomy import Anatomy, find_anatomy

POOLINGS: tuple[Pooling, ...] = ("mean", "tokens")
TOLERANCE = 1e-5
Arrays = dict[str, np.ndarray]


def make_model(shape: str, layers: int, width: int) -> Anatomy:
    """A decoder of this family with random weights, taken apart."""
    import transformers

    torch.manual_seed(0)
    shared: dict[str, Any] = {
        "vocab_size": 8192,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
    }
    if shape == "gemma3":
        config = transformers.Gemma3TextConfig(**shared, head_dim=width // 8, sliding_window=512)
        return find_anatomy(transformers.Gemma3ForCausalLM(config).eval())
    return find_anatomy(transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shared)).eval())


def make_trace(number: int, tokens: int) -> tuple[list[int], list[Span]]:
    """Random ids, and sentences of 10 to 40 tokens behind a prompt of 50."""
    rng = random.Random(number)
    spans, at = [], 50
    while at < tokens - 10:
        end = min(at + rng.randint(10, 40), tokens)
        spans.append(Span(at, end))
        at = end
    return [rng.randrange(3, 8192) for _ in range(tokens)], spans


def plain(anatomy: Anatomy, ids: list[int], spans: list[Span], layers: tuple[int, ...]) -> Arrays:
    """A whole pass for every layer and pooling."""
    return {
        array_name(layer, pooling): plain_pass(anatomy, ids, spans, layer, pooling)
        for layer in layers
        for pooling in POOLINGS
    }


def plain_pass(
    anatomy: Anatomy, ids: list[int], spans: list[Span], layer: int, pooling: Pooling
) -> np.ndarray:
    """One layer, pooled one way. The last hidden state that Transformers gives is normalised, so
    the last block's own output is read off its module."""
    seen: list[torch.Tensor] = []
    handle = anatomy.blocks[-1].module.register_forward_hook(
        lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    try:
        with torch.no_grad():
            states = anatomy.decoder(
                input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True
            ).hidden_states
    finally:
        handle.remove()
    hidden = (seen[0] if layer == anatomy.n_layers - 1 else states[layer + 1])[0].float()
    pieces = [hidden[a:b] for a, b in spans]
    if pooling == "mean":
        pieces = [piece.mean(dim=0, keepdim=True) for piece in pieces]
    return torch.cat(pieces).numpy()


def whence(anatomy: Anatomy, ids: list[int], spans: list[Span], layers: tuple[int, ...]) -> Arrays:
    return capture_trace(anatomy, ids, spans, Wanted(layers, POOLINGS), "trace")


CONTENDERS = {"whence": whence, "plain": plain}


def resident(name: str) -> int:
    """VmRSS (now) or VmHWM (most so far) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("no /proc/self/status: memory is measured on Linux only")


def memory_alone(options: argparse.Namespace) -> None:
    """In a process of its own: read one trace, print the peak above the loaded model as JSON."""
    anatomy = make_model(options.shape, options.layers, options.width)
    layers = layers_of(("quartiles",), anatomy.n_layers)
    ids, spans = make_trace(0, 64)
    CONTENDERS[options.only](anatomy, ids, spans, layers)  # what is loaded late is loaded now
    ids, spans = make_trace(0, options.longest)
    before = resident("VmRSS")
    CONTENDERS[options.only](anatomy, ids, spans, layers)
    print(json.dumps({"peak": resident("VmHWM"), "above": resident("VmHWM") - before}))


def measured_memory(options: argparse.Namespace, name: str) -> dict[str, int]:
    words = [sys.executable, __file__, "--only", name, "--shape", options.shape]
    for flag in ("layers", "width", "longest", "threads"):
        words += [f"--{flag}", str(getattr(options, flag))]
    output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found: dict[str, int] = json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=("qwen2", "gemma3"), default="qwen2")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--traces", type=int, default=20)
    parser.add_argument("--lengths", type=int, nargs=2, default=(800, 1600), help="tokens")
    parser.add_argument("--longest", type=int, default=8000, help="tokens of the memory's trace")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=tuple(CONTENDERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only:
        memory_alone(options)
        return
    anatomy = make_model(options.shape, options.layers, options.width)
    layers = layers_of(("quartiles",), anatomy.n_layers)
    rng = random.Random(0)
    traces = [make_trace(n, rng.randint(*options.lengths)) for n in range(options.traces)]
    print(
        f"{options.shape}: {anatomy.n_layers} layers of width {anatomy.d_model}; layers "
        f"{', '.join(map(str, layers))} × {', '.join(POOLINGS)}; {options.traces} traces of "
        f"{options.lengths[0]} to {options.lengths[1]} tokens; {options.threads} threads"
    )
    seconds, worst = dict.fromkeys(CONTENDERS, 0.0), 0.0
    for contender in CONTENDERS.values():
        contender(anatomy, *make_trace(0, 200), layers)  # warm up
    for turn, (ids, spans) in enumerate(traces):
        found: dict[str, Arrays] = {}
        for name in sorted(CONTENDERS, reverse=bool(turn % 2)):
            started = time.perf_counter()
            found[name] = CONTENDERS[name](anatomy, ids, spans, layers)
            seconds[name] += time.perf_counter() - started
        for name, array in found["plain"].items():
            off = np.abs(array - found["whence"][name]).max() / np.abs(array).max()
            worst = max(worst, float(off))
    memory = {name: measured_memory(options, name) for name in CONTENDERS}
    print(f"| | seconds | peak above the model, {options.longest:,} tokens | peak in all |")
    print("| --- | --- | --- | --- |")
    for name in CONTENDERS:
        above, peak = memory[name]["above"] / 1e6, memory[name]["peak"] / 1e6
        print(f"| {name} | {seconds[name]:.1f} | {above:,.0f} MB | {peak:,.0f} MB |")
    ratio = seconds["plain"] / seconds["whence"]
    print(f"\nplain / whence, seconds: {ratio:.2f}")
    print(f"plain / whence, memory: {memory['plain']['above'] / memory['whence']['above']:.2f}")
    print(f"largest difference, of the largest activation: {worst:.1e}")
    if ratio < 4 or memory["plain"]["above"] <= memory["whence"]["above"] or worst > TOLERANCE:
        raise SystemExit("not as it must be: ≥ 4 times as fast, less memory, the same numbers")


if __name__ == "__main__":
    main()
