r"""SAE features of a pool: `whence sae extract` against a loop over rows, in turns.

    python benchmarks/sae.py                      # 500 rows; about 15 minutes on 2 cores
    python benchmarks/sae.py --rows 60 --turns 3

Random weights in the shape of Gemma 3 1B, cut in depth to what two cores can do, and a random SAE
of 16k features at two thirds of the depth, of which one in a hundred is active at a token. Rows are
as long as those of the earlier system's runs, 146 tokens in the mean. Both have the same weights:

    whence   `reduce_rows`, the engine of `whence sae extract`: batches by length, stopped behind
             the SAE's block, reduced as they are encoded
    loop     the earlier system: TransformerLens (its bridge around the same model) and
             `run_with_cache(names_filter=…)` of one row, logits and all, then `SAE.encode` and the
             ten statistics of [tokens, d_sae]

Each does one block of rows, then the other does the same; who is first changes from block to block.
Prints a table, the ratio, and the peak memory of each alone, in a process of its own that does one
block. Fails where numbers differ by more than 1e-4: mean activations by the largest of their row,
statistics by their own size. An activation within rounding of 0 may be active for one and not for
the other: rows whose counts of active entries differ are counted, and of them only the means are
compared.

What to expect: multiplications a token are printed for both. The head is a third of all at 26
layers and half of all at 9, so the ratio of a cut model is larger than that of the whole one (for
which `--layers 26` asks), and larger on a GPU than on a CPU, where one row fills the machine.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from sae_lens.saes.sae import SAEMetadata

from whence.models.anatomy import Anatomy, find_anatomy
from whence.sae.extract.one_pass import Counting, reduce_rows
from whence.sae.load import LoadedSae, check_fits, load_saes
from whence.sae.rows import TokenRow
from whence.sae.sample_stats import SAMPLE_STATS
from whence.sae.settings import SaeSettings

TOLERANCE = 1e-4
ACTIVE = 0.01
COUNTS = [
    SAMPLE_STATS.index(name)
    for name in ("active_entry_fraction", "active_feature_fraction", "feature_concentration_hhi")
]
"""Statistics of which entries are active alone; they differ where one entry does."""
Arrays = tuple[np.ndarray, np.ndarray]
"""Mean activations [rows, d_sae] and statistics [rows, 10]."""


def make_model(options: argparse.Namespace) -> Any:
    """A Gemma-3-1B-shaped model of fewer layers and tokens, random, in evaluation mode."""
    import transformers

    torch.manual_seed(0)
    config = transformers.Gemma3TextConfig(
        vocab_size=options.vocab,
        hidden_size=1152,
        intermediate_size=6912,
        num_hidden_layers=options.layers,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        sliding_window=512,
    )
    return transformers.Gemma3ForCausalLM(config).eval().to(options.device)


def make_rows(options: argparse.Namespace) -> list[TokenRow]:
    """Rows of random tokens, lengths as even as chance has it."""
    rng = random.Random(0)
    return [
        TokenRow(
            row_id=str(at),
            ids=[
                2,
                *(rng.randrange(3, options.vocab) for _ in range(rng.randint(*options.lengths))),
            ],
            bos=1,
            truncated=False,
        )
        for at in range(options.rows)
    ]


def make_sae(
    anatomy: Anatomy, layer: int, d_sae: int, rows: Sequence[TokenRow], folder: Path
) -> Any:
    """A random SAE whose biases leave the `ACTIVE` most active share of features at some tokens."""
    from whence.models.capture import capture

    metadata = SAEMetadata(hook_name=f"blocks.{layer}.hook_resid_post", model_name="random")
    sae = StandardSAE(StandardSAEConfig(d_in=anatomy.d_model, d_sae=d_sae, metadata=metadata))
    ids = torch.tensor([rows[0].ids], device=anatomy.embed.weight.device)
    x = capture(anatomy, ids, sites=[metadata.hook_name])[metadata.hook_name][0, 1:].cpu()
    with torch.no_grad():
        sae.W_enc.copy_(torch.randn(sae.W_enc.shape) / x.norm(dim=-1).mean())
        sae.b_enc.fill_(-float(torch.quantile((x @ sae.W_enc).flatten()[: 10**6], 1 - ACTIVE)))
    sae.save_model(folder)


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


def by_whence(
    anatomy: Anatomy, sae: LoadedSae, rows: Sequence[TokenRow], batch_tokens: int
) -> Arrays:
    found = reduce_rows(anatomy, [sae], rows, Counting(), looked_at=(), batch_tokens=batch_tokens)
    means = np.zeros((len(rows), sae.d_sae), dtype=np.float32)
    stats = np.zeros((len(rows), len(SAMPLE_STATS)), dtype=np.float32)
    for at, row in found[sae.sae_id].rows.items():
        means[at, row.ids] = row.means
        stats[at] = row.stats
    return means, stats


def by_loop(bridge: Any, sae: LoadedSae, rows: Sequence[TokenRow]) -> Arrays:
    means, stats = [], []
    for row in rows:
        ids = torch.tensor([row.ids], device=sae.sae.W_dec.device)
        _, cache = bridge.run_with_cache(ids, names_filter=[sae.hook_name])
        activations = sae.sae.encode(cache[sae.hook_name])[0]
        active = activations > 0
        means.append((activations * active).mean(dim=0).cpu().numpy())
        stats.append(ten_statistics(activations, active))
    return np.stack(means), np.asarray(stats, dtype=np.float32)


def ten_statistics(activations: torch.Tensor, active: torch.Tensor) -> list[float]:
    """Of one row [tokens, d_sae], dense, as the earlier system took them."""
    values = activations[active]
    per_token = active.sum(dim=1).float()
    per_feature = active.sum(dim=0).float()
    share = per_feature / per_feature.sum().clamp(min=1)
    spread = float(per_token.std(correction=0))
    return [
        float(len(activations)),
        float(active.float().mean()),
        float((per_feature > 0).float().mean()),
        float(values.mean()) if len(values) else 0.0,
        float(values.std(correction=0)) if len(values) else 0.0,
        float(values.max()) if len(values) else 0.0,
        float(per_token.mean()),
        spread,
        spread / (float(per_token.mean()) + 1e-8),
        float((share**2).sum()),
    ]


def apart(mine: Arrays, other: Arrays) -> tuple[float, int]:
    """Largest relative difference, and how many rows have an activation at the edge of 0."""
    scale = other[0].max(axis=1)
    means = np.abs(mine[0] - other[0]).max(axis=1) / scale
    counts = [each[1][:, COUNTS] for each in (mine, other)]
    alike = np.isclose(*counts, rtol=2e-6, atol=0).all(axis=1)
    stats = np.abs(mine[1] - other[1]) / np.maximum(np.abs(other[1]), 1e-6)
    return max(float(means.max()), float(stats[alike].max(initial=0.0))), int((~alike).sum())


def memory_of(contender: str) -> list[float]:
    """Of a process that has the model and does one block with one contender, in GB: the most that
    it held meanwhile, and how much of that was not there before."""
    words = [sys.executable, __file__, *sys.argv[1:], "--only", contender]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in told.split()[-2:]]


def resident(what: str) -> float:
    """VmRSS (now) or VmHWM (most since it was last reset) of this process, in GB. Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1e6
    raise SystemExit("no /proc/self/status: memory is measured on Linux only")


def alone(work: Callable[[], Any]) -> None:
    """Print what `memory_of` reads."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of making the model
    before = resident("VmRSS")
    work()
    print(resident("VmHWM"), resident("VmHWM") - before)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--turns", type=int, default=10, help="blocks that the rows are cut into")
    parser.add_argument("--lengths", type=int, nargs=2, default=(48, 244), help="tokens of a row")
    parser.add_argument("--layers", type=int, default=9, help="of 26")
    parser.add_argument("--vocab", type=int, default=262144)
    parser.add_argument("--d-sae", type=int, default=16384)
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--only", choices=("whence", "loop"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    measure(options)
    if options.only is None:  # the model is gone by now, and the children have the room
        for name in ("whence", "loop"):
            peak, above = memory_of(name)
            print(f"peak memory of {name} alone: {peak:.2f} GB, {above:.2f} above model and SAE")


def measure(options: argparse.Namespace) -> None:
    """The comparison; or what one contender holds, where only that is asked for."""
    rows = make_rows(options)
    turns = min(options.turns, len(rows))
    blocks = [rows[at * len(rows) // turns : (at + 1) * len(rows) // turns] for at in range(turns)]
    model = make_model(options)
    anatomy = find_anatomy(model)
    layer = options.layers * 2 // 3 - 1
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        make_sae(anatomy, layer, options.d_sae, rows, Path(folder) / "sae")
        (sae,) = load_saes(SaeSettings(sae_path=(f"{folder}/sae",)), options.device)
        check_fits(sae, anatomy)
        if options.only == "whence":
            alone(lambda: by_whence(anatomy, sae, blocks[0], options.batch_tokens))
        elif options.only == "loop":
            alone(lambda: by_loop(make_bridge(model, Path(folder)), sae, blocks[0]))
        else:
            compare(options, anatomy, sae, make_bridge(model, Path(folder)), blocks)


def compare(
    options: argparse.Namespace,
    anatomy: Anatomy,
    sae: LoadedSae,
    bridge: Any,
    blocks: Sequence[Sequence[TokenRow]],
) -> None:
    contenders = {
        "whence": lambda block: by_whence(anatomy, sae, block, options.batch_tokens),
        "loop": lambda block: by_loop(bridge, sae, block),
    }
    tokens = sum(len(row.ids) for block in blocks for row in block)
    print(
        f"{options.layers} layers of Gemma 3 1B, vocabulary {options.vocab:,}; SAE of "
        f"{sae.d_sae:,} features at {sae.hook_name}; {sum(map(len, blocks))} rows, {tokens:,} "
        f"tokens; {options.device}, {torch.get_num_threads()} threads"
    )
    block = sum(weight.numel() for weight in anatomy.blocks[0].module.parameters())
    encoder = sae.d_in * sae.d_sae
    mine = block * (sae.site.layer or 0) + block + encoder
    theirs = block * options.layers + anatomy.d_vocab * anatomy.d_model + encoder
    print(
        f"multiplications a token: whence {mine / 1e6:.0f} M, loop {theirs / 1e6:.0f} M, "
        f"{theirs / mine:.2f} times as many"
    )
    for work in contenders.values():
        work(blocks[0][:1])  # warm up
    print("| block | whence s | loop s | largest difference | active features a token |")
    print("| --- | --- | --- | --- | --- |")
    seconds = dict.fromkeys(contenders, 0.0)
    worst, edges = 0.0, 0
    for turn, block in enumerate(blocks):
        took, found = {}, {}
        for name in sorted(contenders, reverse=bool(turn % 2)):
            started = time.perf_counter()
            found[name] = contenders[name](block)
            took[name] = time.perf_counter() - started
            seconds[name] += took[name]
        difference, edge = apart(found["whence"], found["loop"])
        worst, edges = max(worst, difference), edges + edge
        l0 = found["whence"][1][:, SAMPLE_STATS.index("token_active_mean")].mean()
        print(
            f"| {turn} | {took['whence']:.2f} | {took['loop']:.2f} | {difference:.1e} | {l0:.0f} |",
            flush=True,
        )
    print(f"| all | {seconds['whence']:.1f} | {seconds['loop']:.1f} | {worst:.1e} | |\n")
    print(f"loop / whence: {seconds['loop'] / seconds['whence']:.2f}")
    print(f"rows with an activation at the edge of 0: {edges}")
    if worst > TOLERANCE:
        raise SystemExit(f"the numbers differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
