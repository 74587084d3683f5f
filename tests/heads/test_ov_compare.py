"""Reports side by side: what they share, on reports whose likeness is known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import zoo
from safetensors.torch import load_file

from whence.errors import BadInput
from whence.heads.ov.compare import OvCompareConfig, ov_compare
from whence.heads.ov.overlap import rank_biased_overlap
from whence.heads.ov.report import OvConfig, ov

HEADS = ("0:2", "1:1")


@pytest.fixture(scope="module")
def reports(
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """ov.json of three models: gpt2, a wider one of the same vocabulary, and one of another."""
    folder = tmp_path_factory.mktemp("reports")
    models = {"gpt2": zoo_folder("gpt2"), "wider": folder / "wider", "other": folder / "other"}
    shutil.copytree(models["gpt2"], models["wider"])
    config: Any = transformers.GPT2Config(
        vocab_size=zoo.VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=128,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    zoo.randomised(config, seed=3).save_pretrained(models["wider"])
    shutil.copytree(models["gpt2"], models["other"])
    texts = ["a red fox is not two owls"] * 3
    zoo.make_tokenizer(texts, zoo.VOCABULARY, bos=False).save_pretrained(models["other"])
    found = {}
    for name, model in models.items():
        output = folder / f"ov-{name}"
        settings: dict[str, Any] = {"heads": HEADS, "top_k": 20, "device": "cpu"}
        ov(OvConfig(model=str(model), corpus=small_corpus, output_dir=output, **settings))
        found[name] = output / "ov.json"
    return found


def test_a_report_is_like_itself(reports: dict[str, Path], tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(reports["gpt2"].parent, twin)
    config = OvCompareConfig(files=(reports["gpt2"], twin), output_dir=tmp_path / "o")
    result = ov_compare(config)
    assert len(result.pairs) == 4
    for pair in result.pairs:
        same = pair["a"]["head"] == pair["b"]["head"]
        assert (pair["normed"]["top"]["rbo"] == pytest.approx(1)) == same
        assert (pair["direct"]["bottom"]["rbo"] == pytest.approx(1)) == same
        assert pair["same_model"]
        for cosine in pair["cosine"].values():
            assert (cosine == pytest.approx(1)) == same
        if same:
            assert len(pair["normed"]["top"]["shared"]) == 20
    assert [pair["a"]["head"] == pair["b"]["head"] for pair in result.pairs] == [1, 1, 0, 0]
    assert ov_compare(config).done_before


def test_numbers_are_those_of_the_lists_and_vectors(
    reports: dict[str, Path], tmp_path: Path
) -> None:
    files = (reports["gpt2"], reports["wider"])
    result = ov_compare(OvCompareConfig(files=files, p=0.8, output_dir=tmp_path / "o"))
    told = [json.loads(file.read_text()) for file in files]
    vectors = [load_file(file.with_name("ov.safetensors")) for file in files]
    for pair in result.pairs:
        heads = [pair["a"]["head"], pair["b"]["head"]]
        for end in ("top", "bottom"):
            one, other = (
                [entry["token"] for entry in report["heads"][head]["direct"][end]]
                for report, head in zip(told, heads, strict=True)
            )
            found = pair["direct"][end]
            assert found["rbo"] == pytest.approx(rank_biased_overlap(one, other, 0.8))
            assert set(found["shared"]) == set(one) & set(other)
            assert found["depth"] == 20
        assert pair["cosine"]["output"] is None  # 32 and 64 wide
        assert not pair["same_model"]
        for way in ("direct", "normed"):
            logits = torch.stack([v[f"{h}.{way}"] for v, h in zip(vectors, heads, strict=True)])
            expected = float(torch.corrcoef(logits.double())[0, 1])
            assert pair["cosine"][way] == pytest.approx(expected, abs=1e-9)


def test_other_vocabularies_have_no_cosine_of_logits(
    reports: dict[str, Path], tmp_path: Path
) -> None:
    files = (reports["gpt2"], reports["other"], reports["wider"])
    result = ov_compare(OvCompareConfig(files=files, limit=5, output_dir=tmp_path / "o"))
    assert len(result.pairs) == 3 * 4
    for pair in result.pairs:
        names = {pair["a"]["name"], pair["b"]["name"]}
        known = names == {"ov-gpt2", "ov-wider"}
        assert (pair["cosine"]["normed"] is not None) == known
        assert (pair["cosine"]["output"] is not None) == (names == {"ov-gpt2", "ov-other"})
        assert pair["normed"]["top"]["depth"] <= 5
    for entry in result.found["recurring"]["top"]:
        assert len(entry["heads"]) > 1
    finding = result.finding()
    assert "12 pairs of heads" in finding.headline
    assert len(finding.rows) == 12


def test_words_are_alike_without_spaces_and_case(reports: dict[str, Path], tmp_path: Path) -> None:
    copies = []
    for name, tokens in (("a", [" Red", "fox", " fox"]), ("b", ["red", " owl"])):
        shutil.copytree(reports["gpt2"].parent, tmp_path / name)
        file = tmp_path / name / "ov.json"
        report = json.loads(file.read_text())
        head = report["heads"] = {"0:2": report["heads"]["0:2"]}
        entries = [{"token": token, "id": 0, "value": 0.0} for token in tokens]
        head["0:2"]["normed"] = {"top": entries, "bottom": entries}
        file.write_text(json.dumps(report))
        copies.append(file)
    for match, shared, value in (("text", [], 0.0), ("word", ["red"], None)):
        output = tmp_path / match
        config = OvCompareConfig(files=tuple(copies), match=match, output_dir=output)
        (pair,) = ov_compare(config).pairs
        assert pair["normed"]["top"]["shared"] == shared
        expected = rank_biased_overlap(["red", "fox"], ["red", "owl"]) if value is None else value
        assert pair["normed"]["top"]["rbo"] == pytest.approx(expected)


def test_reports_in_folders_of_one_name_are_told_apart(
    reports: dict[str, Path], tmp_path: Path
) -> None:
    files = []
    for place in ("x", "y"):
        shutil.copytree(reports["gpt2"].parent, tmp_path / place / "ov")
        files.append(tmp_path / place / "ov" / "ov.json")
    result = ov_compare(OvCompareConfig(files=tuple(files), output_dir=tmp_path / "o"))
    assert [report["name"] for report in result.found["reports"]] == [str(f) for f in files]


def test_what_is_no_report_is_named(reports: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"heads": 1}')
    config = OvCompareConfig(files=(reports["gpt2"], other), output_dir=tmp_path / "o")
    with pytest.raises(BadInput, match=r"other\.json: not what `whence heads ov` writes"):
        ov_compare(config)
    shutil.copytree(reports["gpt2"].parent, tmp_path / "alone")
    (tmp_path / "alone" / "ov.safetensors").unlink()
    config = OvCompareConfig(files=(reports["gpt2"], tmp_path / "alone"), output_dir=tmp_path / "p")
    with pytest.raises(BadInput, match="its vectors are not beside it"):
        ov_compare(config)


def test_conditions_of_the_earlier_lab(shared_data: Path, probe_gpt2: Path, tmp_path: Path) -> None:
    """The handover's command, on two of its corpora with a random model of its shape."""
    files = []
    for condition in ("facts", "negation"):
        output = tmp_path / condition
        corpus = shared_data / "probes" / "corpora" / f"{condition}_single_token_v1_balanced.jsonl"
        settings: dict[str, Any] = {"heads": ("0:2", "0:4", "0:7"), "samples": 15, "top_k": 50}
        result = ov(
            OvConfig(
                model=str(probe_gpt2), corpus=corpus, output_dir=output, device="cpu", **settings
            )
        )
        assert result.found["n_prompts"] == 15
        files.append(output / "ov.json")
    result = ov_compare(OvCompareConfig(files=tuple(files), output_dir=tmp_path / "o"))
    assert len(result.pairs) == 9
    assert all(pair["same_model"] for pair in result.pairs)


def test_without_a_folder_it_is_printed_only(
    reports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = (reports["gpt2"], reports["gpt2"].parent)
    written = ov_compare(OvCompareConfig(files=files, output_dir=tmp_path / "o"))
    printed = ov_compare(OvCompareConfig(files=files))
    assert printed.pairs == written.pairs
    assert printed.finding().files == {}
    assert [path.name for path in tmp_path.iterdir()] == ["o"]
