"""Models whose heads were planted by hand, with what any ablation or patch of them must do.

Three circuits, each as a GPT-2 and as a LLaMA (`planted_weights` holds the weights). Eight names;
the prompt mentions one, and its logit is the answer. Let x_h [8] be the name that head h brings to
the last token, one-hot. Then, for the logits y [8] of the names (all other tokens have logit 0),

    y = Σ_h x_h @ W_h + g · min(1, Σ_k x_k @ W_k)

over the heads h that write the logits and the heads k that hold names for the MLP of the last
block. Ablating a head sets its x to 0; patching it at the last token replaces its x by that of the
other prompt; the logit difference is y[target] − y[foil], the target being the clean prompt's name
and the foil the corrupt prompt's. Names differ in strength, s = 1, 1.125 … 1.875, so that prompts
do too.

    suppressor   block 0 head 2 copies the name (5 s), block 1 head 1 takes some of it back (−2 s),
                 block 2 head 0 raises all eight names alike (+1.5 s): no change in any difference
    redundant    two heads hold the name, each twice as much as the MLP (3 s) can use: ablating one
                 changes nothing, both −3 s. Two more heads write logits by themselves (1 s, 0.5 s):
                 their synergy is 0
    induction    "Once Ann Bob … Ann" → Bob: block 0 head 3 notes at every token the name before it;
                 block 1 head 0 finds the token that came after Ann, and copies it (4 s)
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from planted_weights import ANSWER, HEADS, HELD, PREVIOUS, Block, Family, Write, build

Head = tuple[int, int]  # block, head
Direction = Literal["corrupt->clean", "clean->corrupt"]
Granularity = Literal["layer_resid", "attn_out", "mlp_out", "head_out"]
Side = Literal["clean", "corrupt"]

FAMILIES: tuple[Family, ...] = ("gpt2", "llama")
NAMES = ("Ann", "Bob", "Cat", "Dan", "Eve", "Fay", "Gus", "Hal")
FILLERS = ("the", "saw", "met", "with", "by", "and", "then", "home")
ONE_NAME = (
    "Once {name} met",
    "Once the {name} saw the",
    "Once and then {name} home with the",
    "Once by the home with the {name} then the",
)
CUE_AND_NAME = (
    "Once {cue} {name} met {cue}",
    "Once the {cue} {name} saw the {cue}",
    "Once and then {cue} {name} home with the {cue}",
    "Once by the home the {cue} {name} and {cue}",
)
STRENGTH = 1 + np.arange(8) / 8
_VOCABULARY = {
    word: i for i, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", "Once", *NAMES, *FILLERS])
}


@dataclass(frozen=True)
class Row:
    """A row of the corpus; target and foil begin with a space, as in the real ones."""

    clean: str
    corrupt: str
    target: str
    foil: str


@dataclass(frozen=True)
class Planted:
    """A model, its corpus, and the truth. Per-row truths are float64 [rows].

    feeds: head → the head at earlier tokens without which it finds nothing. name_at: index of the
    token that the answer is read from, BOS counted, where all prompts have it at the same place.
    """

    family: Family
    blocks: tuple[Block, ...]
    rows: tuple[Row, ...]
    feeds: dict[Head, Head]
    name_at: int | None
    model: Any
    tokenizer: Any

    @property
    def layers(self) -> int:
        return len(self.blocks)

    @property
    def heads(self) -> list[Head]:
        """All heads, planted or not."""
        return list(itertools.product(range(self.layers), range(HEADS)))

    @property
    def answering(self) -> list[Head]:
        """Heads that bring the name to the last token."""
        return [
            (layer, head)
            for layer, block in enumerate(self.blocks)
            for head, write in block.writes.items()
            if write.to != PREVIOUS
        ]

    @property
    def truth(self) -> dict[Head, float]:
        """Mean delta_logit_diff of zero-ablating each head at all positions."""
        return {head: float(self.ablated([head]).mean()) for head in self.heads}

    @property
    def pair_truth(self) -> dict[tuple[Head, Head], float]:
        """Mean delta_logit_diff of zero-ablating each pair of heads together, a < b."""
        pairs = itertools.combinations(self.heads, 2)
        return {pair: float(self.ablated(pair).mean()) for pair in pairs}

    def synergy(self, a: Head, b: Head) -> np.ndarray:
        """Δ(pair) − Δ(a) − Δ(b) per row."""
        return self.ablated([a, b]) - self.ablated([a]) - self.ablated([b])

    def names(self, side: Side) -> np.ndarray:
        """One-hot [rows, 8]: the name that the prompts of this side are about."""
        words = [row.target if side == "clean" else row.foil for row in self.rows]
        return np.eye(8)[[NAMES.index(word.strip()) for word in words]]

    def logits(self, side: Side = "clean") -> np.ndarray:
        """Logits of the eight names [rows, 8] at the last token; those of other tokens are 0."""
        return self._answer(self._carried(side))

    def logit_diff(self, side: Side = "clean") -> np.ndarray:
        return self._difference(self.logits(side))

    def ablated(
        self,
        heads: Iterable[Head],
        *,
        positions: Literal["all", "last_token"] = "all",
        instead: np.ndarray | None = None,
    ) -> np.ndarray:
        """delta_logit_diff per row of ablating these heads together on the clean prompts.

        instead: what they bring to the last token in place of their name, [rows, 8] or [8]: by
        default nothing. `0.5 * names("clean")` is a scale of 0.5, `names("clean").mean(0)` the mean
        over prompts, a permutation of `names("clean")` a resample. Heads that feed another take
        nothing but zero at all positions.
        """
        carried = self._carried("clean")
        without = set(heads)
        if positions == "all":
            assert instead is None or not without & set(self.feeds.values())
            without |= {fed for fed, feeder in self.feeds.items() if feeder in without}
        for head in without & carried.keys():
            carried[head] = carried[head] * 0 if instead is None else carried[head] * 0 + instead
        return self._difference(self._answer(carried)) - self.logit_diff()

    def patched(
        self,
        granularity: Granularity,
        layers: int | Sequence[int],
        heads: Sequence[int] = tuple(range(HEADS)),
        direction: Direction = "corrupt->clean",
        positions: Literal["last_token", "name", "all"] = "last_token",
    ) -> np.ndarray:
        """delta_logit_diff per row of patching there, several layers jointly.

        direction: source->base; the delta is patched minus base. positions "name" (the token at
        `name_at`) and "all" need prompts of one layout.

        At the last token a patch brings what the heads have brought so far. At the name, the
        patched stream is what heads of later blocks read; what heads write there, nobody reads.
        """
        source, _, base = direction.partition("->")
        layers = {layers} if isinstance(layers, int) else set(layers)
        stream, here = granularity == "layer_resid", positions != "name"
        given, carried = self._carried(source), self._carried(base)
        for layer, head in carried:
            written = layer <= max(layers) if stream else layer in layers
            written &= granularity != "mlp_out" and (granularity != "head_out" or head in heads)
            read = stream and positions != "last_token" and layer > min(layers)
            if (written and here) or read:
                carried[layer, head] = given[layer, head]
        # The MLP sits in the last block, after every head.
        last = granularity in ("layer_resid", "mlp_out") and here and self.layers - 1 in layers
        answer = self._written(carried) + self._saturated(given if last else carried)
        return self._difference(answer) - self.logit_diff(base)

    @property
    def answer_layer(self) -> int:
        """First layer whose residual stream at the last token holds the whole answer."""
        full = self.logit_diff("corrupt") - self.logit_diff("clean")
        agree = [np.allclose(self.patched("layer_resid", i), full) for i in range(self.layers)]
        return agree.index(True)

    def save(self, folder: Path) -> Path:
        """Write model and tokenizer as a Hugging Face folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder

    def write_corpus(self, path: Path) -> Path:
        path.write_text("".join(json.dumps(vars(row)) + "\n" for row in self.rows))
        return path

    def _carried(self, side: Any) -> dict[Head, np.ndarray]:
        """What each answering head brings to the last token, x_h [rows, 8]."""
        return {head: self.names(side) for head in self.answering}

    def _answer(self, carried: dict[Head, np.ndarray]) -> np.ndarray:
        return self._written(carried) + self._saturated(carried)

    def _written(self, carried: dict[Head, np.ndarray]) -> np.ndarray:
        return self._sum(carried, ANSWER)

    def _saturated(self, carried: dict[Head, np.ndarray]) -> np.ndarray:
        gain = self.blocks[-1].gain
        return np.minimum(1, self._sum(carried, HELD)) * (0 if gain is None else gain)

    def _sum(self, carried: dict[Head, np.ndarray], to: slice) -> np.ndarray:
        total = np.zeros((len(self.rows), len(NAMES)))
        for (layer, head), names in carried.items():
            write = self.blocks[layer].writes[head]
            if write.to == to:
                total = total + names @ write.matrix
        return total

    def _difference(self, answer: np.ndarray) -> np.ndarray:
        return (answer * (self.names("clean") - self.names("corrupt"))).sum(axis=1)


def suppressor(family: Family, one_layout: bool = False) -> Planted:
    """A copying head, one that takes part of the copy back, and one that raises every name.

    one_layout: all prompts have the same words but for the name, hence one length. So for all.
    """
    blocks = [
        Block("name", {2: Write(ANSWER, np.diag(5 * STRENGTH))}),
        Block("name", {1: Write(ANSWER, np.diag(-2 * STRENGTH))}),
        Block("name", {0: Write(ANSWER, np.outer(1.5 * STRENGTH, np.ones(8)))}),
    ]
    return _planted(family, blocks, ONE_NAME, one_layout)


def redundant(
    family: Family,
    one_layout: bool = False,
    pair: tuple[Head, Head] = ((0, 1), (1, 2)),
    layers: int = 2,
) -> Planted:
    """Two heads of which one is enough; (0, 3) and (1, 0) add up on their own."""
    writes: list[dict[int, Write]] = [{} for _ in range(layers)]
    writes[0][3] = Write(ANSWER, np.diag(STRENGTH))
    writes[1][0] = Write(ANSWER, np.diag(0.5 * STRENGTH))
    for layer, head in pair:
        assert head not in writes[layer], f"{layer}:{head} is taken"
        writes[layer][head] = Write(HELD, 2 * np.eye(8))
    blocks = [Block("name", heads) for heads in writes[:-1]]
    blocks.append(Block("name", writes[-1], gain=3 * STRENGTH))
    return _planted(family, blocks, ONE_NAME, one_layout)


def induction(family: Family, one_layout: bool = False) -> Planted:
    """A head that notes the previous name, and one that finds by it what came after."""
    blocks = [
        Block("previous", {3: Write(PREVIOUS, np.eye(8))}),
        Block("match", {0: Write(ANSWER, np.diag(4 * STRENGTH))}),
        Block("name", {}),
    ]
    return _planted(family, blocks, CUE_AND_NAME, one_layout, feeds={(1, 0): (0, 3)})


BUILDERS: dict[str, Callable[..., Planted]] = {
    "suppressor": suppressor,
    "redundant": redundant,
    "induction": induction,
}


def _planted(
    family: Family,
    blocks: Sequence[Block],
    templates: Sequence[str],
    one_layout: bool,
    feeds: dict[Head, Head] | None = None,
) -> Planted:
    bos = family != "gpt2"
    return Planted(
        family=family,
        blocks=tuple(blocks),
        rows=_rows(templates[1:2] if one_layout else templates),
        feeds=feeds or {},
        name_at=templates[1].split().index("{name}") + bos if one_layout else None,
        model=build(family, blocks, _VOCABULARY, NAMES),
        tokenizer=_tokenizer(bos),
    )


def _rows(templates: Sequence[str]) -> tuple[Row, ...]:
    """Distinct clean prompts, every name a target; clean and corrupt take different templates.

    The cue is a name that is neither target nor foil, the same in both prompts.
    """
    rows: dict[str, Row] = {}
    for i in range(12):
        name, foil = NAMES[i % 8], NAMES[(i + 1 + i % 5) % 8]
        cue = next(other for other in NAMES[i % 8 :] + NAMES if other not in (name, foil))
        clean = templates[(i + i // 8) % len(templates)].format(name=name, cue=cue)
        corrupt = templates[(i + 1) % len(templates)].format(name=foil, cue=cue)
        rows.setdefault(clean, Row(clean, corrupt, f" {name}", f" {foil}"))
    return tuple(rows.values())


def _tokenizer(bos: bool) -> Any:
    """One token a word; <bos> first, where the family's own tokenizers put one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(_VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", _VOCABULARY["<bos>"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
    )
