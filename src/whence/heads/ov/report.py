"""`whence heads ov`: what heads write at the last token, in the model's own tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from whence.errors import BadInput
from whence.heads.commands.prompted import PromptedConfig
from whence.heads.commands.single import model_line
from whence.heads.names import check_heads, parse_head, spell_head
from whence.heads.ov.tokens import extremes, listed, vocabulary_hash
from whence.runs.atomic import write_text
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    from torch import Tensor

    from whence.heads.names import Head
    from whence.heads.ov.circuit import Circuit
    from whence.heads.ov.output import HeadOutput
    from whence.heads.prompts import Examples
    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded

FILE, VECTORS, TABLE = "ov.json", "ov.safetensors", "ov.md"
WAYS = ("direct", "normed")
SHOWN = 5

PROJECTION = {
    "output": "mean over distinct clean prompts of z at the last real token @ W_O, in float32, "
    "before any norm that follows attention",
    "direct": "output @ W_U",
    "normed": "final norm, its scale held at the mean of the prompts' final residual streams, of "
    "output @ W_U; where a norm follows attention, that norm first, held likewise at the mean of "
    "what attention gives",
    "direct_logit_diff": "direct logit attribution: target minus foil through the same norms, held "
    "at each prompt's own values",
    "left_out": "biases of norms and of the unembedding; a scale and a cap put on the logits",
    "circuit": "W_V W_O W_U by weights alone, norms left out; W_V reads what attention reads, "
    "after the norm before it",
}


class OvConfig(PromptedConfig):
    """Write the mean OV output and the OV circuit of some heads as tokens."""

    heads: tuple[str, ...] = Field(min_length=1, description="Heads, as 0:2 0:4 0:7.")
    samples: int = Field(
        default=160, ge=1, description="Distinct clean prompts to average over, at most."
    )
    seed: int = Field(default=0, description="Which prompts are drawn where there are more.")
    top_k: int = Field(default=50, ge=1, description="Tokens in each list.")
    directions: int = Field(
        default=5, ge=0, description="Singular directions of W_V W_O W_U to write for each head."
    )


@dataclass(frozen=True)
class OvResult:
    """heads: "0:2" → what `ov.json` says of that head."""

    folder: Path
    found: Mapping[str, Any]
    done_before: bool

    @property
    def heads(self) -> Mapping[str, Any]:
        heads: Mapping[str, Any] = self.found["heads"]
        return heads

    def finding(self) -> Finding:
        """A line a head, tokens through the final norm."""
        n = self.found["n_prompts"]
        did = "Already averaged" if self.done_before else "Averaged"
        rows = [
            (
                name,
                f"{one['norm']:.3g}",
                "" if (effect := one["direct_logit_diff"]) is None else f"{effect['mean']:+.4f}",
                "" if (score := one["circuit"]["copying"]) is None else f"{score:+.2f}",
                listed(one["normed"]["top"], SHOWN),
                listed(one["normed"]["bottom"], SHOWN),
            )
            for name, one in self.heads.items()
        ]
        return Finding(
            headline=f"{did} the OV output of {len(rows)} head{'s' if len(rows) != 1 else ''} over "
            f"{n} distinct prompt{'s' if n != 1 else ''}, at the last token.",
            columns=("head", "length", "direct logit diff", "copying", "raises", "lowers"),
            rows=rows,
            files={
                "heads": self.folder / FILE,
                "table": self.folder / TABLE,
                "vectors": self.folder / VECTORS,
            },
        )


def ov(config: OvConfig) -> OvResult:
    """Write `ov.json`, its vectors (`ov.safetensors`) and a table to read (`ov.md`).

    Raises BadInput for whatever of model, corpus or heads does not fit, and for heads whose values
    are no linear function of what they read.
    """
    heads = list(dict.fromkeys(parse_head(head) for head in config.heads))
    with open_run(
        config.output_dir,
        command="heads ov",
        config=config,
        inputs=config.inputs(),
        overwrite=config.overwrite,
        seeds=(config.seed,),
    ) as run:
        if not run.done:
            _measure(config, heads, run.folder)
    return OvResult(config.output_dir, read_json(config.output_dir / FILE), run.done)


def _measure(config: OvConfig, heads: Sequence[Head], folder: Path) -> None:
    from safetensors.torch import save_file

    from whence.heads.ov.output import norm_after_attention
    from whence.models.anatomy import find_anatomy

    loaded = config.load()
    anatomy = find_anatomy(loaded.model)
    check_heads(heads, anatomy.n_layers, anatomy.n_heads)
    examples, more = _drawn(config.read(loaded), config.samples, config.seed)
    found, vectors = describe(loaded, anatomy, examples, heads, config)
    layers = sorted({layer for layer, _ in heads})
    value = {
        "model": model_line(config.model, loaded, anatomy),
        "corpus": {"path": str(config.corpus), "part": config.part},
        "vocabulary": {
            "size": len(loaded.tokenizer),
            "sha256": vocabulary_hash(loaded.tokenizer),
        },
        "n_prompts": len({row.clean for row in examples.rows}),
        "n_prompts_not_drawn": more,
        "examples": [row.example for row in examples.rows],
        "excluded": {reason: list(rows) for reason, rows in examples.excluded.items()},
        "prepend_bos": config.prepend_bos,
        "bos": examples.bos,
        "truncated": examples.truncated,
        "top_k": config.top_k,
        "projection": PROJECTION
        | {"norm_after_attention": norm_after_attention(anatomy, layers[0]) is not None},
        "vectors": VECTORS,
        "heads": found,
    }
    save_file(vectors, folder / VECTORS)
    write_text(folder / TABLE, _table(found))
    write_json(folder / FILE, value)


def describe(
    loaded: Loaded,
    anatomy: Anatomy,
    examples: Examples,
    heads: Sequence[Head],
    config: OvConfig,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Of each head: what ov.json says, and its vectors by name (`0:2.output`, …)."""
    from whence.heads.ov.circuit import ov_circuit
    from whence.heads.ov.output import Outputs
    from whence.heads.ov.reads import read_last_tokens
    from whence.models.replay import Replay
    from whence.models.value_weights import head_weights

    layers = sorted({layer for layer, _ in heads})
    last = read_last_tokens(
        anatomy, examples, layers, batch_size=config.batch_size, device=loaded.device
    )
    replay, prompts = Replay(anatomy), [row.clean for row in examples.rows]
    told: dict[Head, dict[str, Any]] = {}
    vectors: dict[str, Tensor] = {}
    for layer in layers:
        weights = head_weights(replay, layer)
        outputs = Outputs(anatomy, layer, weights, last)
        for head in [head for at, head in heads if at == layer]:
            name = spell_head((layer, head))
            output = outputs.head(head, examples.rows)
            circuit = ov_circuit(
                weights, head, anatomy.unembedding.weight, anatomy.embed.weight, config.directions
            )
            told[layer, head] = {
                "layer": layer,
                "head": head,
                "norm": float(output.mean.norm()),
                "mean_norm": output.mean_length,
                "direct_logit_diff": _effect(output, prompts),
                **{
                    way: extremes(getattr(output, way), config.top_k, loaded.tokenizer)
                    for way in WAYS
                },
                "circuit": _directions(circuit, config.top_k, loaded),
            }
            vectors |= {
                f"{name}.output": output.mean,
                f"{name}.direct": output.direct,
                f"{name}.normed": output.normed,
                f"{name}.reading": circuit.reading,
                f"{name}.writing": circuit.writing,
            }
    in_order = {spell_head(head): told[head] for head in heads}
    return in_order, {name: tensor.contiguous() for name, tensor in vectors.items()}


def _drawn(examples: Examples, samples: int, seed: int) -> tuple[Examples, int]:
    """Examples of at most `samples` distinct prompts, and how many prompts that leaves out."""
    import numpy as np

    prompts = list(dict.fromkeys(row.clean for row in examples.rows))
    if len(prompts) <= samples:
        return examples, 0
    drawn = np.random.default_rng(seed).choice(len(prompts), samples, replace=False)
    wanted = {prompts[at] for at in drawn.tolist()}
    kept = [at for at, row in enumerate(examples.rows) if row.clean in wanted]
    return examples.only(kept), len(prompts) - samples


def _effect(output: HeadOutput, prompts: Sequence[object]) -> dict[str, Any] | None:
    """Mean direct logit attribution with an interval over distinct prompts."""
    from whence.stats.intervals import Interval, cluster_bootstrap

    if output.logit_diff is None:
        return None
    number: dict[object, int] = {}
    clusters = [number.setdefault(prompt, len(number)) for prompt in prompts]
    found = cluster_bootstrap(output.logit_diff, clusters)
    ends = [found.low, found.high] if isinstance(found, Interval) else None
    return {"mean": float(output.logit_diff.mean()), "interval": ends}


def _directions(circuit: Circuit, top_k: int, loaded: Loaded) -> dict[str, Any]:
    return {
        "singular_values": circuit.singular_values.tolist(),
        "directions": [
            {
                "singular_value": float(circuit.singular_values[at]),
                "share": float(circuit.shares[at]),
                **extremes(logits, top_k, loaded.tokenizer),
            }
            for at, logits in enumerate(circuit.logits)
        ],
        "copying": circuit.copying,
        "copying_positive": circuit.copying_positive,
    }


def _table(heads: Mapping[str, Any]) -> str:
    """Markdown: for each head, the tokens it raises and lowers, one rank a line."""
    lines = ["# OV output of heads at the last token", ""]
    for name, one in heads.items():
        lists = [one[way][end] for way in WAYS for end in ("top", "bottom")]
        lines += [
            f"## Head {name}",
            "",
            "| rank | raises (through the final norm) | lowers | raises (directly) | lowers |",
            "| ---: | --- | --- | --- | --- |",
        ]
        by_rank = zip(*(lists[2:] + lists[:2]), strict=True)
        for rank, entries in enumerate(by_rank, start=1):
            cells = [f"{_cell(entry['token'])} {entry['value']:+.3f}" for entry in entries]
            lines.append(f"| {rank} | {' | '.join(cells)} |")
        lines += ["", "Directions of W_V W_O W_U:", ""]
        for at, direction in enumerate(one["circuit"]["directions"], start=1):
            ends = [
                " ".join(_cell(entry["token"]) for entry in direction[end][:10])
                for end in ("top", "bottom")
            ]
            lines.append(
                f"{at}. σ {direction['singular_value']:.4g} ({direction['share']:.0%}): "
                f"{ends[0]} ⟷ {ends[1]}"
            )
        lines.append("")
    return "\n".join(lines)


def _cell(token: str) -> str:
    """A token as code that Markdown takes literally, on one line."""
    shown = repr(token)[1:-1].replace("|", "\\|").replace("`", "ˋ")
    return f"`{shown}`"


def check_file(path: Path) -> dict[str, Any]:
    """What an `ov.json` holds. Raises BadInput for any other file."""
    found = read_json(path)
    if (
        not isinstance(found, dict)
        or not {"heads", "model", "vocabulary", "vectors"} <= found.keys()
    ):
        raise BadInput(f"{path}: not what `whence heads ov` writes: no heads in it")
    return found
