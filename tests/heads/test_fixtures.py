"""The fixtures that tests of heads build on are what they say."""

from __future__ import annotations

import json

from whence.models.load import load_model


def single(tokenizer, word):
    return len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1


def test_the_small_corpus_has_single_token_answers_in_the_zoo(zoo_folder, small_corpus):
    tokenizer = load_model(str(zoo_folder("gpt2")), device="cpu").tokenizer
    rows = [json.loads(line) for line in small_corpus.read_text().splitlines()]
    assert all(single(tokenizer, row[key]) for row in rows for key in ("target", "foil"))
    assert len({row["clean"] for row in rows}) == len(rows) - 1
    assert len({len(tokenizer(row["clean"])["input_ids"]) for row in rows}) > 3
    assert zoo_folder("gpt2") == zoo_folder("gpt2")


def test_the_probe_model_fits_the_real_corpora(probe_gpt2, shared_data):
    loaded = load_model(str(probe_gpt2), device="cpu")
    assert (loaded.model.config.n_layer, loaded.model.config.n_head) == (14, 8)
    for path in (shared_data / "probes" / "corpora").glob("*.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            assert single(loaded.tokenizer, row["target"])
            assert single(loaded.tokenizer, row["foil"])
