"""Random encoders small enough to be trained in a second, as Hugging Face folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = "red fox river blue fish swims it is a bird sun moon tree house dog cat".split()
MARK = "heron"
"""The word that marks the rows to be found."""


def save_encoder(folder: Path, kind: str = "modernbert") -> Path:
    """A random ModernBERT or BERT with a word-level tokenizer over `WORDS` and `MARK`."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertModel,
        ModernBertConfig,
        ModernBertModel,
        PreTrainedTokenizerFast,
    )

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    words = {word: i for i, word in enumerate([*special, *WORDS, MARK])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    size = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    if kind == "bert":
        BertModel(BertConfig(**size), add_pooling_layer=False).save_pretrained(folder)
    else:
        ends = {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
        ModernBertModel(ModernBertConfig(**size, **ends, local_attention=16)).save_pretrained(
            folder
        )
    return folder


def marked_texts(n: int, seed: int = 0, share: float = 0.25) -> tuple[list[str], np.ndarray]:
    """Texts of 3 to 15 random words, of which about `share` hold `MARK` somewhere; which do."""
    rng = np.random.default_rng(seed)
    marked = rng.random(n) < share
    texts = []
    for mark in marked:
        words = rng.choice(WORDS, size=rng.integers(3, 16)).tolist()
        if mark:
            words.insert(int(rng.integers(0, len(words) + 1)), MARK)
        texts.append(" ".join(words))
    return texts, marked
