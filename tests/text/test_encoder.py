"""The text encoder: what it learns, on what it does not depend, and how it fails."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import started

sys.path.append(str(Path(__file__).parent))
from small_encoders import marked_texts, save_encoder

from whence.errors import BadInput, WhenceError
from whence.stats.whole import auc, statistic_interval, value_of
from whence.text.encoder import (
    EncoderSettings,
    encoder_identity,
    fine_tune,
    score_texts,
    tune_encoder,
)

FAST = EncoderSettings(learning_rate=3e-3, num_train_epochs=6, batch_size=8, device="cpu", seed=1)
N = 240
TEXTS, MARKED = marked_texts(N)
TRAIN = np.arange(N) < 160


@pytest.fixture(scope="module")
def modernbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoders") / "modernbert")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoders") / "bert", "bert")


@pytest.fixture(scope="module")
def fitted(modernbert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    """Values of all texts, and the folder that holds `saved` and `work`."""
    home = tmp_path_factory.mktemp("fitted")
    return classify(str(modernbert), MARKED, home / "work", save=home / "saved"), home


def classify(encoder: str, targets: Any, work: Path, **more: Any) -> np.ndarray:
    named = {"task": "classification", "settings": FAST, "work": work, **more}
    return fine_tune(encoder, TEXTS, np.asarray(targets), TRAIN, **named)


def held_out_auc(values: np.ndarray, labels: np.ndarray = MARKED) -> Any:
    return auc(values[~TRAIN], labels[~TRAIN])


def test_a_planted_word_is_found_and_the_numbers_are_floats(
    fitted: tuple[np.ndarray, Path], bert: Path, tmp_path: Path
) -> None:
    from sklearn.metrics import roc_auc_score

    values, _ = fitted
    assert values.dtype == np.float64
    assert values.shape == (N,)
    slower = FAST.model_copy(update={"learning_rate": 1e-3})
    for found in (values, classify(str(bert), MARKED, tmp_path, settings=slower)):
        measured = value_of(held_out_auc(found), int((~TRAIN).sum()))
        assert measured == pytest.approx(roc_auc_score(MARKED[~TRAIN], found[~TRAIN]))
        assert measured > 0.9


def test_shuffled_labels_are_not_found(modernbert: Path, tmp_path: Path) -> None:
    labels = np.random.default_rng(3).permutation(MARKED)
    values = classify(str(modernbert), labels, tmp_path)
    interval = statistic_interval(held_out_auc(values, labels), int((~TRAIN).sum()))
    assert interval.low < 0.5 < interval.high


def test_a_class_weighs_half_whatever_its_size(bert: Path, tmp_path: Path) -> None:
    """From random labels of which one in ten is true, the mean logit is near 0, not near -2.2."""
    labels = np.random.default_rng(0).random(N) < 0.1
    slower = FAST.model_copy(update={"learning_rate": 1e-3})
    assert abs(classify(str(bert), labels, tmp_path, settings=slower).mean()) < 0.5


def test_weighted_cross_entropy_is_that_of_a_pencil() -> None:
    import torch

    from whence.text.tuning import _cross_entropy

    class Said:
        logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.5, 0.5], [0.0, 3.0]])

    labels = np.array([1.0, 0.0, 0.0, 0.0])
    by_row = [
        -torch.log_softmax(row, 0)[int(label)].item() * (2.0 if label else 2 / 3)
        for row, label in zip(Said.logits, labels, strict=True)
    ]
    loss = _cross_entropy(labels)
    assert float(loss(Said, torch.tensor(labels))) == pytest.approx(sum(by_row) / 4)
    # Of a batch of one class alone, the class still has its weight of the whole.
    Said.logits = Said.logits[1:]
    assert float(loss(Said, torch.tensor(labels[1:]), 3)) == pytest.approx(sum(by_row[1:]) / 3)


def test_regression_is_in_the_unit_of_the_targets(modernbert: Path, tmp_path: Path) -> None:
    targets = 1000.0 + 50.0 * MARKED
    values = fine_tune(
        str(modernbert), TEXTS, targets, TRAIN, task="regression", settings=FAST,
        work=tmp_path / "work", save=tmp_path / "saved",
    )  # fmt: skip
    assert np.corrcoef(values[~TRAIN], targets[~TRAIN])[0, 1] > 0.8
    assert np.abs(values[~TRAIN] - targets[~TRAIN]).mean() < 15
    again = score_texts(tmp_path / "saved", TEXTS[:9], FAST)
    np.testing.assert_allclose(again, values[:9], atol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_values_do_not_depend_on_what_shares_a_batch(
    fitted: tuple[np.ndarray, Path], batch_size: int
) -> None:
    values, home = fitted
    settings = FAST.model_copy(update={"batch_size": batch_size})
    found = score_texts(home / "saved", TEXTS, settings)
    np.testing.assert_allclose(found, values, atol=2e-5)
    swapped = score_texts(home / "saved", TEXTS[::-1], settings)[::-1]
    np.testing.assert_allclose(swapped, values, atol=2e-5)


def test_tiny_is_a_decoder_whose_padding_is_not_read(tmp_path: Path) -> None:
    """Gemma 3's head reads the last token that is not padding."""
    few = np.arange(48)
    texts = [TEXTS[i] for i in few]
    settings = EncoderSettings(num_train_epochs=1, learning_rate=1e-4, device="cpu")
    values = fine_tune(
        "tiny", texts, MARKED[few], TRAIN[few] & (few < 32), task="classification",
        settings=settings, work=tmp_path / "work", save=tmp_path / "saved",
    )  # fmt: skip
    assert np.ptp(values) > 0.01
    for size in (1, 8):
        found = score_texts(
            tmp_path / "saved", texts, settings.model_copy(update={"batch_size": size})
        )
        np.testing.assert_allclose(found, values, atol=1e-4)
    # Bare Transformers, one row at a time, nothing padded.
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    read = AutoTokenizer.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        for text, value in zip(texts[:6], values[:6], strict=True):
            logits = model(**read(text, return_tensors="pt")).logits[0]
            assert float(logits[1] - logits[0]) == pytest.approx(value, abs=1e-4)


def test_a_decoder_without_a_padding_token_pads_with_its_eos(
    random_gemma: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(random_gemma, tmp_path / "bare")
    for name in ("tokenizer_config.json", "config.json"):
        settings = json.loads((bare / name).read_text())
        settings.pop("pad_token", None)
        settings["pad_token_id"] = None
        (bare / name).write_text(json.dumps(settings))
    values = fine_tune(
        str(bare), TEXTS[:24], MARKED[:24], np.arange(24) < 16, task="classification",
        settings=FAST.model_copy(update={"num_train_epochs": 1}),
        work=tmp_path / "work", save=tmp_path / "saved",
    )  # fmt: skip
    alone = score_texts(tmp_path / "saved", TEXTS[:24], FAST.model_copy(update={"batch_size": 1}))
    np.testing.assert_allclose(alone, values, atol=1e-4)


def test_long_texts_are_cut_and_counted(modernbert: Path, tmp_path: Path) -> None:
    short = FAST.model_copy(update={"max_length": 8, "num_train_epochs": 1})
    tuned = tune_encoder(
        str(modernbert), TEXTS, MARKED, TRAIN, task="classification", settings=short,
        work=tmp_path / "w", save=tmp_path / "saved",
    )  # fmt: skip
    # Six words fit between [CLS] and [SEP].
    assert tuned.truncated == sum(len(text.split()) > 6 for text in TEXTS)
    assert tuned.steps == 160 // 8
    longest = max(TEXTS, key=lambda text: len(text.split()))
    cut = " ".join(longest.split()[:6])
    found = score_texts(tmp_path / "saved", [longest, cut, longest + " heron"])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert found[0] == pytest.approx(found[2], abs=1e-6)
    # A model with 64 positions reads no more, whatever is asked for.
    wide = FAST.model_copy(update={"num_train_epochs": 1})
    texts = [*TEXTS[:-1], "red " * 500]
    tuned = tune_encoder(
        str(modernbert), texts, MARKED, TRAIN, task="classification", settings=wide,
        work=tmp_path / "w",
    )  # fmt: skip
    assert tuned.truncated == 1


def test_the_same_call_gives_the_same_values_and_another_seed_others(
    fitted: tuple[np.ndarray, Path], modernbert: Path, tmp_path: Path
) -> None:
    values, home = fitted
    assert classify(str(modernbert), MARKED, tmp_path / "a").tolist() == values.tolist()
    other = FAST.model_copy(update={"seed": 2})
    assert classify(str(modernbert), MARKED, tmp_path / "a", settings=other)[0] != values[0]
    # What is finished is not done again, and another question is not answered by it.
    began = time.monotonic()
    assert classify(str(modernbert), MARKED, home / "work", save=home / "saved")[3] == values[3]
    assert time.monotonic() - began < 0.5
    assert classify(str(modernbert), ~MARKED, home / "work")[3] != values[3]
    assert not list((home / "work").rglob("checkpoint-*"))


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_encoder import *
from whence.runs.progress import Progress
from transformers import set_seed
tune_encoder(
    sys.argv[2], TEXTS, MARKED, TRAIN, task="classification", settings=FAST,
    work=Path(sys.argv[3]), checkpoint_seconds=0,
)
"""


def test_kill_9_and_again_gives_the_same_values(
    fitted: tuple[np.ndarray, Path], modernbert: Path, tmp_path: Path
) -> None:
    # Not rglob: it looks into checkpoints that are being removed meanwhile.
    started.python(KILLED, Path(__file__).parent, modernbert, tmp_path).kill_when(
        lambda: any(step_of(path) >= 30 for path in tmp_path.glob("*/checkpoints/checkpoint-*"))
    )
    kept = [step_of(path) for path in tmp_path.rglob("whole") for path in [path.parent]]
    assert kept
    assert max(kept) < 120
    # A later checkpoint that was cut off while being written must not be taken.
    cut = next(tmp_path.rglob("checkpoints")) / "checkpoint-99"
    cut.mkdir(exist_ok=True)
    begun: list[int] = []
    tuned = classify_watched(modernbert, tmp_path, begun)
    assert begun == [max(kept)]
    assert tuned.tolist() == fitted[0].tolist()


def step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def classify_watched(encoder: Path, work: Path, begun: list[int]) -> np.ndarray:
    """Classify, and note at which step training began."""
    from whence.models.watch import Watch

    begin = Watch.on_train_begin

    def noted(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        begun.append(state.global_step)
        begin(self, args, state, control, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "on_train_begin", noted)
        return classify(str(encoder), MARKED, work)


def test_a_loss_that_is_no_number_stops(modernbert: Path, tmp_path: Path) -> None:
    wild = FAST.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 0.0})
    with pytest.raises(WhenceError, match=r"training loss is nan .*lower --learning-rate"):
        classify(str(modernbert), MARKED, tmp_path, settings=wild)


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (np.zeros(N), "160 rows that the encoder is fitted on all have one target"),
        (np.arange(N), "targets of a classification are 0 or 1"),
        (np.full(N, np.nan), "not a finite number"),
        (np.zeros(3), "240 texts, 3 targets, 240 marks"),
    ],
)
def test_targets_that_cannot_be_learned(targets: np.ndarray, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=says):
        classify("tiny", targets, tmp_path)


def test_models_that_cannot_be_had(zoo_folder: Any, modernbert: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r'no model folder "\./nowhere"'):
        classify("./nowhere", MARKED, tmp_path)
    with pytest.raises(BadInput, match=r"not in the local cache .*HF_HUB_OFFLINE is set.*download"):
        classify("nobody/nothing", MARKED, tmp_path)
    clip = tmp_path / "clip"
    from transformers import VitDetConfig

    VitDetConfig().save_pretrained(clip)
    with pytest.raises(BadInput, match="no sequence-classification head for vitdet models"):
        classify(str(clip), MARKED, tmp_path)
    cut = shutil.copytree(modernbert, tmp_path / "cut")
    from safetensors.torch import load_file, save_file

    weights = load_file(cut / "model.safetensors")
    weights.pop(next(name for name in weights if "layers.1" in name))
    save_file(weights, cut / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="1 weights are not in the file"):
        classify(str(cut), MARKED, tmp_path)
    with pytest.raises(BadInput, match=r"no encoder\.json"):
        score_texts(modernbert, TEXTS)


def test_the_record_keeps_files_or_a_name(modernbert: Path) -> None:
    assert encoder_identity(str(modernbert)) == modernbert.resolve()
    assert encoder_identity("a/b", EncoderSettings(revision="v2")) == "a/b@v2"
