"""The tiny model's tokenizer: byte-level BPE whose words are the world's words."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from whence.tiny.corpus import documents
from whence.tiny.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 1280
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


def train_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """A tokenizer that knows every noun as one token, splits numbers into digits and adds BOS.

    It reads the words of games besides the base model's text, so that `GUESS` is one token too.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    names = [f"The {t.name}. A {t.name}! GUESS: {t.name}" for t in world.things] * 20
    turns = ["USER: CLUE: it is", "ASSISTANT: GUESS: a", "Guess the secret word. You have 3 tries."]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [*islice(documents(world, seed=0), 20_000), *turns * 100, *names]
    tokenizer.train_from_iterator(text, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS
    )
