"""`whence heads inspect`: attention patterns of chosen heads, before and after ablating others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.errors import BadInput
from whence.heads.commands.prompted import PromptedConfig
from whence.heads.commands.single import model_line
from whence.heads.groups import Side
from whence.heads.names import check_heads, parse_head, spell_head
from whence.heads.ov.tokens import token_text
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import numpy as np

    from whence.heads.names import Head
    from whence.heads.prompts import Examples
    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded

FILE, TABLE, PATTERNS, PAGE = "inspect.json", "inspect.parquet", "patterns.safetensors", "page.html"
STATES = ("before", "after")
KEYS = 5
SHOWN = 20


class InspectConfig(PromptedConfig):
    """Look at the attention patterns of some heads on some rows."""

    batch_size: ClassVar[int] = 1  # type: ignore[misc]

    heads: tuple[str, ...] = Field(min_length=1, description="Heads to look at, as 0:2 0:4 0:7.")
    ablate: tuple[str, ...] = Field(
        default=(),
        description="Heads to set to zero at all tokens, as 0:7; only heads of later layers can "
        "change.",
    )
    row: tuple[int, ...] = Field(
        default=(0,), min_length=1, description="Rows of the corpus, from 0."
    )
    side: Side = Field(default="clean", description="Prompt of the row: clean or corrupt.")


@dataclass(frozen=True)
class Look:
    """One head on one prompt. patterns: state ("before", "after") → [query, key] float32."""

    row: int
    head: Head
    patterns: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class InspectResult:
    """heads: "0:2" → what `inspect.json` says of that head, means over the rows."""

    folder: Path
    found: Mapping[str, Any]
    done_before: bool

    @property
    def heads(self) -> Mapping[str, Any]:
        heads: Mapping[str, Any] = self.found["heads"]
        return heads

    def finding(self) -> Finding:
        """A line a head: where it looks, and how much of that moved."""
        ablated = self.found["ablated"]
        columns = ["head", "entropy", "to first", "to previous", "to self", "induction"]
        names = ("entropy", "to_first", "to_previous", "to_self", "induction")
        rows = []
        for head, one in list(self.heads.items())[:SHOWN]:
            row = [head]
            for name in names:
                row.append(
                    " → ".join(_number(one[state][name]) for state in STATES if state in one)
                )
            rows.append([*row, *([f"{one['change']:.1%}"] if ablated else [])])
        n = len(self.found["rows"])
        did = f" before and after {', '.join(ablated)} set to zero" if ablated else ""
        return Finding(
            headline=f"Attention of {len(self.heads)} head{'s' if len(self.heads) != 1 else ''} on "
            f"{n} prompt{'s' if n != 1 else ''}{did}.",
            columns=(*columns, *(["attention moved"] if ablated else [])),
            rows=rows,
            files={
                "page": self.folder / PAGE,
                "heads": self.folder / FILE,
                "every row": self.folder / TABLE,
                "patterns": self.folder / PATTERNS,
            },
        )


def inspect(config: InspectConfig) -> InspectResult:
    """Write `inspect.json`, `inspect.parquet`, `patterns.safetensors` and `page.html`.

    The model is loaded with eager attention, the one kind that gives its pattern.

    Raises BadInput for whatever of model, corpus, rows or heads does not fit.
    """
    heads = list(dict.fromkeys(parse_head(head) for head in config.heads))
    ablated = list(dict.fromkeys(parse_head(head) for head in config.ablate))
    with open_run(
        config.output_dir,
        command="heads inspect",
        config=config,
        inputs=config.inputs(),
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _measure(config, heads, ablated, run.folder)
    return InspectResult(config.output_dir, read_json(config.output_dir / FILE), run.done)


def look(
    anatomy: Anatomy,
    prompts: Mapping[int, Sequence[int]],
    heads: Sequence[Head],
    ablated: Sequence[Head],
) -> list[Look]:
    """Patterns of `heads` on each prompt (row → ids), and again with `ablated` set to zero."""
    import torch

    from whence.models.capture import capture
    from whence.models.intervene import Edit, scale_heads
    from whence.models.sites import Site

    sites = {layer: Site("pattern", layer).name for layer, _ in heads}
    edits: dict[str | Site, Edit] = {
        Site("z", layer): scale_heads({head: 0.0 for at, head in ablated if at == layer})
        for layer in {layer for layer, _ in ablated}
    }
    runs: dict[str, dict[str | Site, Edit]] = {"before": {}} | ({"after": edits} if edits else {})
    device = anatomy.embed.weight.device
    looks = []
    for row, ids in prompts.items():
        batch = torch.tensor([list(ids)], device=device)
        seen = {
            state: capture(anatomy, batch, sites=list(sites.values()), edits=own)
            for state, own in runs.items()
        }
        for layer, head in heads:
            patterns = {
                state: found[sites[layer]][0, head].float().cpu().numpy()
                for state, found in seen.items()
            }
            looks.append(Look(row, (layer, head), patterns))
    return looks


def _measure(
    config: InspectConfig, heads: Sequence[Head], ablated: Sequence[Head], folder: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    from whence.heads.inspect.page import write_page
    from whence.models.anatomy import find_anatomy

    loaded = config.load(attn_implementation="eager")
    anatomy = find_anatomy(loaded.model)
    for some in (heads, ablated):
        check_heads(some, anatomy.n_layers, anatomy.n_heads)
    examples = config.read(loaded)
    prompts = _prompts(config, examples)
    looks = look(anatomy, prompts, heads, ablated)
    tokens = {
        row: [token_text(loaded.tokenizer, token) for token in ids] for row, ids in prompts.items()
    }
    value = _value(config, loaded, anatomy, prompts, tokens, looks) | {"bos": examples.bos}
    vectors = {
        f"row{one.row}.{spell_head(one.head)}.{state}": torch.from_numpy(pattern).contiguous()
        for one in looks
        for state, pattern in one.patterns.items()
    }
    save_file(vectors, folder / PATTERNS)
    write_parquet(_table(looks, prompts), folder / TABLE)
    write_page(folder / PAGE, value, looks)
    write_json(folder / FILE, value)


def _prompts(config: InspectConfig, examples: Examples) -> dict[int, Sequence[int]]:
    """Row → ids of its prompt. Raises BadInput for a row that is not there, and says why."""
    read = {example.example: example for example in examples.rows}
    found: dict[int, Sequence[int]] = {}
    for row in dict.fromkeys(config.row):
        if row not in read:
            left_out = next((why for why, rows in examples.excluded.items() if row in rows), None)
            part = "" if config.part == "all" else f" in its {config.part} part"
            why = left_out or f"the corpus has no such row{part}"
            raise BadInput(f"{config.corpus}: --row {row}: {why}")
        ids = getattr(read[row], config.side)
        if ids is None:
            raise BadInput(f"{config.corpus}: --row {row}: it has no {config.side} prompt")
        found[row] = ids
    return found


def _value(
    config: InspectConfig,
    loaded: Loaded,
    anatomy: Anatomy,
    prompts: Mapping[int, Sequence[int]],
    tokens: Mapping[int, Sequence[str]],
    looks: Sequence[Look],
) -> dict[str, Any]:
    from whence.heads.inspect.scores import (
        mean_scores,
        pattern_change,
        pattern_scores,
        strongest_keys,
    )

    heads: dict[str, Any] = {}
    for head in dict.fromkeys(one.head for one in looks):
        own = [one for one in looks if one.head == head]
        told: dict[str, Any] = {"layer": head[0], "head": head[1]}
        for state in own[0].patterns:
            told[state] = mean_scores(
                [pattern_scores(one.patterns[state], prompts[one.row]) for one in own]
            )
        if "after" in own[0].patterns:
            changes = [pattern_change(*(one.patterns[state] for state in STATES)) for one in own]
            told["change"] = sum(changes) / len(changes)
        told["last_token_looks_at"] = [
            {
                "row": one.row,
                **{
                    state: [
                        {"position": key, "token": tokens[one.row][key], "weight": weight}
                        for key, weight in strongest_keys(pattern, KEYS)
                    ]
                    for state, pattern in one.patterns.items()
                },
            }
            for one in own
        ]
        heads[spell_head(head)] = told
    return {
        "model": model_line(config.model, loaded, anatomy),
        "corpus": {"path": str(config.corpus), "part": config.part},
        "side": config.side,
        "prepend_bos": config.prepend_bos,
        "ablated": [spell_head(parse_head(head)) for head in dict.fromkeys(config.ablate)],
        "rows": [
            {"row": row, "ids": list(ids), "tokens": list(tokens[row])}
            for row, ids in prompts.items()
        ],
        "heads": heads,
    }


def _table(looks: Sequence[Look], prompts: Mapping[int, Sequence[int]]) -> Any:
    """One row a prompt, head and state: the scores, and how much attention the ablation moved."""
    import pyarrow as pa

    from whence.heads.inspect.scores import SCORES, pattern_change, pattern_scores

    rows = []
    for one in looks:
        for state, pattern in one.patterns.items():
            change = pattern_change(one.patterns["before"], pattern)
            rows.append(
                {
                    "row": one.row,
                    "layer": one.head[0],
                    "head": one.head[1],
                    "state": state,
                    "tokens": len(prompts[one.row]),
                    **pattern_scores(pattern, prompts[one.row]),
                    "change": change,
                }
            )
    whole = [(name, pa.int32()) for name in ("row", "layer", "head")]
    parts = [(name, pa.float64()) for name in (*SCORES, "change")]
    schema = pa.schema([*whole, ("state", pa.string()), ("tokens", pa.int32()), *parts])
    return pa.Table.from_pylist(rows, schema=schema)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
