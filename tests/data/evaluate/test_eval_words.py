"""`whence data eval-words`: every arm plays the same games on one base, and they are compared."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from whence.data.evaluate import words
from whence.data.evaluate.guesses import guess_words, is_correct
from whence.data.evaluate.words import EvalWordsConfig, eval_words
from whence.data.train import LoraSettings, OptimSettings, train_adapter
from whence.errors import BadInput
from whence.models.alignment import align_rows
from whence.models.load import load_model, using_adapter
from whence.runs.jsonfile import read_json, read_jsonl, write_json
from whence.runs.manifest import write_split
from whence.stats.paired import mcnemar_exact

GAMES = 12


@pytest.fixture(scope="module")
def base(random_gemma):
    return load_model(str(random_gemma), device="cpu")


@pytest.fixture(scope="module")
def world(base, tmp_path_factory):
    """Games whose answer is always fox, one adapter that has learned so and one that has not."""
    home = tmp_path_factory.mktemp("eval-words")
    rows = pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(GAMES)],
            "prompt": [f"USER: CLUE: it is red {'and old ' * (i % 5)}" for i in range(GAMES)],
            "completion": ["GUESS: fox"] * GAMES,
        }
    )
    write_split(rows, home / "eval.parquet")
    write_json(
        home / "manifest.json", {"splits": {"eval": {"path": "eval.parquet", "rows": GAMES}}}
    )
    aligned = align_rows(rows, base.tokenizer, 64)
    for name, steps in (("knows", 30), ("new", 1)):
        optim = OptimSettings(
            learning_rate=5e-3,
            max_steps=steps,
            per_device_train_batch_size=GAMES,
            gradient_accumulation_steps=1,
            lr_scheduler_type="constant",
        )
        train_adapter(base, aligned, lora=LoraSettings(), optim=optim, seed=0, output=home / name)
    return home


@pytest.fixture
def config(world, random_gemma, tmp_path):
    return EvalWordsConfig(
        manifest=world / "manifest.json",
        base_model=str(random_gemma),
        device="cpu",
        top_adapter=world / "knows",
        random_adapter=world / "new",
        adapter=(f"again={world / 'knows'}",),
        max_length=96,
        output_json=tmp_path / "words.json",
    )


def test_arms_are_compared_on_the_same_games(config, base, world):
    result = eval_words(config)
    assert list(result.accuracy) == ["base", "top", "random", "again"]
    assert result.accuracy["top"] == result.accuracy["again"] == 1
    assert result.accuracy["base"] == 0
    pairs = [(c["arm"], c["control"]) for c in result.comparisons]
    assert pairs == [("top", "base"), ("random", "base"), ("again", "base"), ("top", "random")]
    assert result.finding().headline == result.comparisons[-1]["sentence"]
    assert "one seed" in result.finding().headline

    lines = pd.DataFrame(read_jsonl(result.predictions))
    assert lines.groupby("arm").size().tolist() == [GAMES] * 4
    rows = pd.read_parquet(world / "eval.parquet")
    with using_adapter(base, world / "knows") as adapted:
        answers = guess_words(adapted, rows["prompt"].tolist(), max_length=96)
    assert lines.loc[lines["arm"] == "top", "text"].tolist() == answers
    assert [is_correct(text, "fox") for text in answers] == [True] * GAMES
    written = read_json(config.output_json)
    assert written["arms"]["top"] == {"right": GAMES, "accuracy": 1.0}
    right = {arm: lines.loc[lines["arm"] == arm, "correct"] for arm in ("top", "random")}
    assert written["mcnemar_exact_p"]["top − random"] == mcnemar_exact(
        right["top"], right["random"]
    )


def test_a_killed_run_plays_only_the_arms_that_are_left(config, monkeypatch):
    elsewhere = config.output_json.with_name("whole.json")
    whole = eval_words(config.model_copy(update={"output_json": elsewhere}))
    played: list[str] = []

    def play_until(stop: int):
        def play(loaded, prompts, **settings):
            if len(played) == stop:
                raise KeyboardInterrupt
            played.append(settings["label"])
            return guess_words(loaded, prompts, **settings)

        monkeypatch.setattr(words, "guess_words", play)

    play_until(2)
    with pytest.raises(KeyboardInterrupt):
        eval_words(config)
    assert not config.output_json.exists()
    play_until(99)
    resumed = eval_words(config)
    assert played == [f"answers of {arm}" for arm in ("base", "top", "random", "again")]
    assert resumed.accuracy == whole.accuracy
    assert resumed.comparisons == whole.comparisons


def test_done_is_done(config, monkeypatch):
    config = config.model_copy(update={"top_adapter": None, "random_adapter": None, "adapter": ()})
    first = eval_words(config)
    assert list(first.accuracy) == ["base"]
    monkeypatch.setattr("whence.models.load.load_model", None)
    assert eval_words(config) == first


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adapter": ("top=x",)}, "already an arm"),
        ({"adapter": ("x",)}, "NAME=PATH"),
        ({"adapter": ("a/b=x",)}, "letters, digits"),
        ({"eval_split": "evil"}, 'did you mean "eval"'),
        ({"top_adapter": "nowhere"}, "nowhere"),
        ({"output_json": "words"}, "needs a suffix"),
    ],
)
def test_what_cannot_be_used_is_named(config, changes, says):
    settings = config.model_dump() | changes
    with pytest.raises(BadInput, match=says):
        eval_words(EvalWordsConfig(**settings))
    assert not config.output_json.exists()


def test_an_adapter_of_another_base_is_refused_before_any_game(config, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(config.base_model)
    with torch.no_grad():
        other.model.embed_tokens.weight.mul_(1.1)
    other.save_pretrained(tmp_path / "other")
    load_model(config.base_model).tokenizer.save_pretrained(tmp_path / "other")
    monkeypatch.setattr(words, "guess_words", None)
    with pytest.raises(BadInput, match="was trained on"):
        eval_words(config.model_copy(update={"base_model": str(tmp_path / "other")}))
    assert list(tmp_path.glob("words*")) == []
