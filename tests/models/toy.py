"""A small decoder written by nobody: its parts have names that say nothing, and it can misbehave.

The block adds attention (`mixer`) and an MLP (`feed`) to its residual stream, as LLaMA's does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput


class ToyConfig(PreTrainedConfig):
    """widths: numbers of z in each block. The rest are ways to misbehave.

    per_token: blocks are given a second reading of the token ids beside the residual stream.
    hidden_projection: what attention's last matrix writes is scaled before attention gives it.
    """

    model_type = "toy"

    def __init__(
        self,
        vocab_size: int = 40,
        hidden_size: int = 12,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 3,
        widths: tuple[int, ...] = (12, 12),
        heads_really: int | None = None,
        attention_name: str = "mixer",
        per_token: bool = False,
        hidden_projection: bool = False,
        twice: bool = False,
        **more: Any,
    ) -> None:
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.num_hidden_layers, self.num_attention_heads = num_hidden_layers, num_attention_heads
        self.widths, self.heads_really = widths, heads_really or num_attention_heads
        self.attention_name, self.per_token = attention_name, per_token
        self.hidden_projection, self.twice = hidden_projection, twice
        super().__init__(**more)


class Mixer(nn.Module):
    def __init__(self, config: ToyConfig, width: int) -> None:
        super().__init__()
        self.heads, self.scaled = config.heads_really, config.hidden_projection
        self.read = nn.Linear(config.hidden_size, 3 * width)
        self.write = nn.Linear(width, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.read(hidden_states).chunk(3, dim=-1)
        )
        length = hidden_states.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        pattern = (q @ k.transpose(-1, -2)).masked_fill(later, -1e9).softmax(-1)
        written = self.write((pattern @ v).transpose(1, 2).flatten(2))
        return written * 0.5 if self.scaled else written, pattern


class ToyBlock(nn.Module):
    def __init__(self, config: ToyConfig, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.LayerNorm(config.hidden_size), nn.LayerNorm(config.hidden_size)
        self.add_module(config.attention_name, Mixer(config, width))
        self.attention_name = config.attention_name
        self.drop = nn.Dropout(0.1)
        self.feed = nn.Sequential(
            nn.Linear(config.hidden_size, 20), nn.GELU(), nn.Linear(20, config.hidden_size)
        )

    def forward(self, hidden_states: Tensor, beside: Tensor | None = None) -> Tensor:
        attention = getattr(self, self.attention_name)
        hidden_states = hidden_states + self.drop(attention(self.one(hidden_states))[0])
        hidden_states = hidden_states + self.drop(self.feed(self.two(hidden_states)))
        return hidden_states if beside is None else hidden_states + 0.1 * beside


class ToyModel(PreTrainedModel):
    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.steps = nn.ModuleList(ToyBlock(config, width) for width in config.widths)
        self.last = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, use_cache: bool = False
    ) -> BaseModelOutput:
        embedded = hidden = self.words(input_ids)
        for _ in range(2 if self.config.twice else 1):
            for step in self.steps:
                hidden = step(hidden, embedded.flip(0) if self.config.per_token else None)
        return BaseModelOutput(last_hidden_state=self.last(hidden))


class ToyForCausalLM(PreTrainedModel):
    config_class = ToyConfig
    base_model_prefix = "inner"

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.inner = ToyModel(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.inner.words

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor, **more: Any) -> CausalLMOutput:
        return CausalLMOutput(logits=self.head(self.inner(input_ids, **more).last_hidden_state))


def make_toy(**settings: Any) -> ToyForCausalLM:
    """A toy with random weights that are not faint."""
    model = ToyForCausalLM(ToyConfig(**settings)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model
