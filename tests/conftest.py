"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Two workers on two cores: threads of one would only wait, spinning, for those of the other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Whence in processes of their own is a plain module beside this file: `import started`.
sys.path.append(str(Path(__file__).parent))
# The zoo of small random models is a plain module beside the tests of models: `import zoo`.
sys.path.append(str(Path(__file__).parent / "models"))
# Likewise the extraction folders with planted features: `import extraction_folders`.
sys.path.append(str(Path(__file__).parent / "sae"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The README's run first: last, it would be what one worker waits for, alone."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


_settled = 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup() -> None:
    """What has been imported stays to the end: the collector of cycles need not walk through a
    million such objects again and again, least of all after every training, when Accelerate asks.
    """
    global _settled
    if len(sys.modules) > _settled + 20:
        _settled = len(sys.modules)
        gc.collect()
        gc.freeze()


SHARED_DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the checkout; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED_DATA.resolve()


@pytest.fixture(scope="session")
def random_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemma-3-shaped model with random weights and a byte-level BPE tokenizer, as a HF folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "random-gemma"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        ["USER: CLUE: it is red and lives by the river. GUESS: fox", "Is a fox a bird? No."] * 4,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<pad>", "<bos>", "<eos>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=len(wrapped),
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=512,
            sliding_window=32,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def zoo_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a random model of the zoo, by the name of its architecture; made once."""
    import zoo

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = zoo.save(name, tmp_path_factory.mktemp("zoo") / name)
        return made[name]

    return folder
