"""Features in tokens and turns, against the model and the SAE run by hand."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from whence.__main__ import main
from whence.errors import BadInput
from whence.models.alignment import align
from whence.models.load import load_tokenizer
from whence.runs.jsonfile import read_json, write_jsonl
from whence.sae.extract import ExtractConfig, extract
from whence.sae.localize import LocalizeConfig, localize

ROWS = [
    {
        "row_id": f"r{i}",
        "prompt": f"USER: CLUE: it is red <b>{i}</b>\n\nASSISTANT: GUESS: fox\n\n"
        f"USER: {'bird ' * i}",
        "completion": "GUESS: river" if i % 2 else "No.",
    }
    for i in range(8)
]


@pytest.fixture(scope="module")
def sae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sae_lens import TopKSAE, TopKSAEConfig

    torch.manual_seed(1)
    sae = TopKSAE(TopKSAEConfig(d_in=48, d_sae=64, k=6))
    with torch.no_grad():
        sae.W_enc.normal_()
    sae.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    sae.cfg.metadata.neuronpedia_id = "some-model/1-res"
    folder = tmp_path_factory.mktemp("saes") / "topk"
    sae.save_model(folder)
    return folder


@pytest.fixture(scope="module")
def extraction(
    random_gemma: Path, sae_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    home = tmp_path_factory.mktemp("extraction")
    write_jsonl(home / "rows.jsonl", ROWS)
    extract(
        ExtractConfig(
            model_name=str(random_gemma),
            sae_path=(str(sae_folder),),
            dataset_path=home / "rows.jsonl",
            output_dir=home / "x",
            device="cpu",
        )
    )
    return home / "x"


def by_hand(model: Path, sae: Path, row: dict[str, Any]) -> np.ndarray:
    """Activations [tokens, d_sae] of one aligned row, by Transformers' own hidden states."""
    from sae_lens import SAE

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    ids = align(row["prompt"], row["completion"], load_tokenizer(str(model)), 2048).input_ids
    with torch.no_grad():
        hidden = network(torch.tensor([ids]), output_hidden_states=True).hidden_states
        return np.asarray(SAE.load_from_disk(sae).encode(hidden[2][0]))


def test_strengths_are_those_of_each_row_alone(
    random_gemma: Path, sae_folder: Path, extraction: Path, tmp_path: Path
) -> None:
    truth = {row["row_id"]: by_hand(random_gemma, sae_folder, row) for row in ROWS}
    feature = int(np.argmax([min((t[:, j] > 0).sum() for t in truth.values()) for j in range(64)]))
    config = LocalizeConfig(
        sae_dir=extraction, features=(str(feature),), top_examples=3, output_dir=tmp_path / "l"
    )
    (found,) = localize(config).features
    tokens = pd.read_parquet(tmp_path / "l" / "tokens.parquet")
    expected = sorted(truth, key=lambda row_id: -truth[row_id][:, feature].max())[:3]
    assert [each["row_id"] for each in found["examples"]] == expected
    for row_id in expected:
        own = tokens[tokens["row_id"] == row_id]
        np.testing.assert_allclose(own["strength"], truth[row_id][:, feature], atol=1e-4)
        row = next(each for each in ROWS if each["row_id"] == row_id)
        assert "".join(own["piece"]) == row["prompt"] + row["completion"]
    turns = pd.read_parquet(tmp_path / "l" / "turns.parquet")
    assert turns["sampled"].all()  # eight rows are all there are
    assert set(turns["role"]) == {"special", "user", "assistant", "completion"}
    total = (turns["mean_strength"] * turns["tokens"]).groupby(turns["row_id"]).sum()
    for row_id, value in total.items():
        assert value == pytest.approx(truth[str(row_id)][:, feature].sum(), abs=1e-3)
    spans = pd.read_parquet(tmp_path / "l" / "spans.parquet")
    active = sum((each[:, feature] > 0).sum() for each in truth.values())
    assert (spans["stop"] - spans["start"]).sum() == active
    assert found["link"] == f"https://www.neuronpedia.org/some-model/1-res/{feature}"
    page = (tmp_path / "l" / "report.html").read_text()
    shown = html.unescape(re.sub(r"<[^>]+>", "", page))  # what is left is text, markup and all
    assert "CLUE: it is red <b>" in shown
    assert localize(config).done


def test_features_of_a_contrast(extraction: Path, tmp_path: Path) -> None:
    contrast = tmp_path / "contrast"
    contrast.mkdir()
    rows = [
        {
            "sae_id": "topk",
            "feature": f,
            "top_rate": 0.9,
            "rest_rate": r,
            "odds_ratio": 9.0,
            "p": q,
            "q": q,
        }
        for f, r, q in [(1, 0.1, 0.2), (2, 0.1, 1e-4), (3, 0.95, 1e-5), (4, 0.5, 1e-4)]
    ]
    pd.DataFrame(rows).to_parquet(contrast / "features.parquet")
    config = LocalizeConfig(sae_dir=extraction, contrast=contrast, output_dir=tmp_path / "l")
    found = localize(config).features
    assert [each["feature"] for each in found] == [2, 4]  # enriched, the larger difference first
    assert found[0]["contrast"]["q"] == 1e-4
    pd.DataFrame(rows).assign(sae_id="other").to_parquet(contrast / "features.parquet")
    with pytest.raises(BadInput, match="no features of"):
        localize(config.model_copy(update={"output_dir": tmp_path / "m"}))


def test_bos_that_was_not_counted_is_not_shown_as_active(
    random_gemma: Path, sae_folder: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "rows.jsonl", ROWS[:5])
    for text, count in ("aligned", False), ("joined", True):
        home = tmp_path / text
        extract(
            ExtractConfig(
                model_name=str(random_gemma),
                sae_path=(str(sae_folder),),
                dataset_path=tmp_path / "rows.jsonl",
                count_bos=count,
                text=text,  # type: ignore[arg-type]
                output_dir=home / "x",
            )
        )
        with np.load(home / "x" / "topk.npz") as arrays:
            feature = int(arrays["feature_presence"].sum(axis=0).argmax())
            mean, lengths = arrays["feature_activation_mean"][:, feature], arrays["seq_lens"]
        localize(
            LocalizeConfig(sae_dir=home / "x", features=(str(feature),), output_dir=home / "l")
        )
        turns = pd.read_parquet(home / "l" / "turns.parquet")
        total = (turns["mean_strength"] * turns["tokens"]).groupby(turns["row_id"]).sum()
        np.testing.assert_allclose(
            total.loc[[f"r{i}" for i in range(5)]], mean * lengths, atol=1e-3
        )


def test_bad_input_is_one_line(
    extraction: Path, sae_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["sae", "localize", "--sae-dir", str(extraction), "--output-dir", str(tmp_path / "l")]
    for more, said in (
        (["--features", "64"], "topk has features 0 to 63"),
        (["--features", "x"], "expected a number, or SAE_ID:NUMBER"),
        (["--features", "other:3"], 'no SAE "other"'),
        ([], "neither is given"),
        (["--contrast", str(tmp_path)], "no features.parquet"),
        (["--features", "1", "--sae-path", "tiny"], "resid_post_layer_4 is not among topk"),
        (["--features", "1", "--sae-path", str(tmp_path)], "no cfg.json in this folder"),
        (["--features", "1", "--model-name", "tiny"], "reads 48 numbers a token"),
    ):
        assert main([*base, *more]) == 2, more
        told = capsys.readouterr().err
        assert said in told, (said, told)
        assert "Traceback" not in told
        assert not (tmp_path / "l").exists()


def test_another_sae_is_refused(extraction: Path, tmp_path: Path) -> None:
    from sae_lens import SAE

    facts = read_json(extraction / "summary.json")["layers"][0]
    sae = SAE.load_from_disk(facts["path"])
    with torch.no_grad():
        sae.W_enc += 0.1
    sae.save_model(tmp_path / "topk")
    with pytest.raises(BadInput, match="not the one that was extracted with"):
        localize(
            LocalizeConfig(
                sae_dir=extraction,
                features=("1",),
                sae_path=(str(tmp_path / "topk"),),
                output_dir=tmp_path / "l",
            )
        )
