"""Attention patterns against the models' own, and scores against patterns worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
import torch
import zoo
from safetensors.torch import load_file

from whence.errors import BadInput
from whence.heads.inspect.command import InspectConfig, InspectResult, inspect, look
from whence.heads.inspect.scores import pattern_change, pattern_scores, strongest_keys
from whence.models.anatomy import find_anatomy
from whence.runs.tables import read_table

HAND = np.array(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.5, 0.5, 0.0, 0.0, 0.0],
        [0.2, 0.3, 0.5, 0.0, 0.0],
        [0.1, 0.2, 0.3, 0.4, 0.0],
        [0.0, 0.7, 0.1, 0.2, 0.0],
    ]
)


def test_scores_worked_by_hand() -> None:
    found = pattern_scores(HAND, [7, 8, 7, 7, 8])
    assert found["to_first"] == pytest.approx((0.5 + 0.2 + 0.1 + 0) / 4)
    assert found["to_previous"] == pytest.approx((0.5 + 0.3 + 0.3 + 0.2) / 4)
    assert found["to_self"] == pytest.approx((0.5 + 0.5 + 0.4 + 0) / 4)
    # 7 at 0, 2, 3; 8 at 1, 4: token 2 sees 0; 3 sees 0 and 2; 4 sees 1
    assert found["to_duplicate"] == pytest.approx((0.2 + (0.1 + 0.3) + 0.7) / 3)
    # after them: token 2 → 1; token 3 → 1, and 3 itself does not count; token 4 → 2
    assert found["induction"] == pytest.approx((0.3 + 0.2 + 0.1) / 3)
    last = -(0.7 * np.log(0.7) + 0.1 * np.log(0.1) + 0.2 * np.log(0.2))
    assert found["entropy_last"] == pytest.approx(last)
    rest = [-sum(w * np.log(w) for w in row if w) for row in HAND[1:4]]
    assert found["entropy"] == pytest.approx((sum(rest) + last) / 4)
    assert strongest_keys(HAND, 2) == [(1, 0.7), (3, 0.2)]


def test_scores_that_do_not_exist_are_none() -> None:
    found = pattern_scores(HAND, [1, 2, 3, 4, 5])
    assert found["to_duplicate"] is found["induction"] is None
    assert set(pattern_scores(HAND[:1, :1], [1]).values()) == {None}


def test_the_change_is_the_share_that_looks_elsewhere() -> None:
    moved = HAND.copy()
    moved[4] = [0.7, 0.0, 0.1, 0.2, 0.0]
    assert pattern_change(HAND, moved) == pytest.approx(0.7 / 5)
    assert pattern_change(HAND, HAND) == 0


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_patterns_of_every_architecture(name: str) -> None:
    model = zoo.make(name)
    ids = torch.randint(3, zoo.VOCABULARY, (1, 8), generator=torch.Generator().manual_seed(4))
    heads = [(0, 2), (2, 0), (2, 3)]

    def theirs() -> Any:
        with torch.no_grad():
            return model(ids, output_attentions=True).attentions

    def silence(_module: object, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        z = inputs[0].unflatten(-1, (zoo.HEADS, -1)).clone()
        z[:, :, 1] = 0
        return (z.flatten(2),)

    before = theirs()
    handle = zoo.output_projections(model)[0].register_forward_pre_hook(silence)
    after = theirs()
    handle.remove()
    found = look(find_anatomy(model), {5: ids[0].tolist()}, heads, [(0, 1)])
    assert [one.head for one in found] == heads
    for one in found:
        layer, head = one.head
        np.testing.assert_allclose(one.patterns["before"], before[layer][0, head], atol=1e-6)
        np.testing.assert_allclose(one.patterns["after"], after[layer][0, head], atol=1e-6)
        changed = pattern_change(one.patterns["before"], one.patterns["after"])
        assert changed == 0 if layer == 0 else changed > 1e-3


@pytest.fixture(scope="module", params=planted.FAMILIES)
def induction(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `whence heads inspect` says of the planted induction head and its feeder."""
    model = planted.induction(request.param)
    folder = tmp_path_factory.mktemp("planted")
    config = InspectConfig(
        model=str(model.save(folder / "model")),
        corpus=model.write_corpus(folder / "corpus.jsonl"),
        device="cpu",
        heads=("0:3", "1:0"),
        ablate=("0:3",),
        row=(0, 2),
        output_dir=folder / "inspect",
    )
    return model, config, inspect(config)


def test_a_planted_induction_head_is_one(induction: Any) -> None:
    _, _, result = induction
    head, feeder = result.heads["1:0"], result.heads["0:3"]
    assert head["before"]["induction"] == pytest.approx(1, abs=1e-4)
    assert head["before"]["entropy_last"] == pytest.approx(0, abs=1e-3)
    assert feeder["before"]["to_previous"] == pytest.approx(1, abs=1e-4)
    assert feeder["change"] == 0
    # without the head that notes previous names it finds nothing, and looks at "Once"
    assert head["after"]["induction"] == pytest.approx(0, abs=1e-4)
    assert head["change"] > 0.05
    for told in head["last_token_looks_at"]:
        assert told["after"][0]["token"].strip() == "Once"
        assert told["before"][0]["token"].strip() in planted.NAMES


def test_what_is_written(induction: Any) -> None:
    model, config, result = induction
    folder = config.output_dir
    table = read_table(folder / "inspect.parquet").to_pandas()
    assert len(table) == 2 * 2 * 2  # rows, heads, states
    assert set(table["state"]) == {"before", "after"}
    assert (table[table["state"] == "before"]["change"] == 0).all()
    one = table[(table["row"] == 2) & (table["layer"] == 1) & (table["state"] == "before")]
    told = result.found["rows"][1]
    patterns = load_file(folder / "patterns.safetensors")
    pattern = patterns["row2.1:0.before"].numpy()
    assert pattern.shape == (len(told["ids"]),) * 2
    assert one["induction"].item() == pattern_scores(pattern, told["ids"])["induction"]
    text = model.rows[2].clean.split()
    assert [token.strip() for token in told["tokens"]][-len(text) :] == text
    page = (folder / "page.html").read_text()
    assert page.count("<svg") == 4
    assert not any(word in page for word in ("http://", "https://", "src="))
    finding = result.finding()
    assert "before and after 0:3 set to zero" in finding.headline
    assert "1.00 → 0.00" in finding.rows[1][5]
    assert inspect(config).done_before


def inspected(corpus: Path, folder: Path, output: Path, **more: Any) -> InspectResult:
    settings = {"device": "cpu", "heads": ("1:2",)} | more
    return inspect(InspectConfig(model=str(folder), corpus=corpus, output_dir=output, **settings))


@pytest.mark.parametrize("name", ["llama", "falcon", "bloom"])
def test_a_model_that_would_load_with_another_attention(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    result = inspected(small_corpus, zoo_folder(name), tmp_path / "o", row=(1,))
    (one,) = result.heads.values()
    assert "after" not in one
    assert 0 < one["before"]["entropy"] < np.log(20)
    assert result.finding().columns[-1] == "induction"


def test_the_corrupt_prompt(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    result = inspected(small_corpus, zoo_folder("gpt2"), tmp_path / "o", side="corrupt")
    corrupt = json.loads(small_corpus.read_text().splitlines()[0])["corrupt"]
    assert "".join(result.found["rows"][0]["tokens"]) == corrupt


def test_text_of_the_corpus_stays_text(zoo_folder: Callable[[str], Path], tmp_path: Path) -> None:
    corpus = tmp_path / "bad.jsonl"
    clean = '<script>alert(1)</script></svg> & "it\'s" {{x}}\n'
    corpus.write_text(json.dumps({"clean": clean, "target": " red", "foil": " blue"}))
    inspected(corpus, zoo_folder("gpt2"), tmp_path / "o")
    page = (tmp_path / "o" / "page.html").read_text()
    assert "<script>alert" not in page
    assert page.count("<svg") == page.count("</svg>") == 1


def test_long_prompts_are_cut_in_the_drawing_only(
    zoo_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    corpus = tmp_path / "long.jsonl"
    row = {"clean": "The river is red. " * 12, "target": " red", "foil": " blue"}
    corpus.write_text(json.dumps(row))
    result = inspected(corpus, zoo_folder("gpt2"), tmp_path / "o")
    length = len(result.found["rows"][0]["ids"])
    assert length > 64
    assert load_file(tmp_path / "o" / "patterns.safetensors")["row0.1:2.before"].shape[0] == length
    assert f"The last 64 of {length} tokens" in (tmp_path / "o" / "page.html").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"row": (50,)}, "--row 50: the corpus has no such row"),
        ({"heads": ("7:0",)}, "head 7:0: layer 7 is out of range"),
        ({"ablate": ("0:4",)}, "head 0:4: head 4 is out of range"),
        ({"ablate": ("0-4",)}, "LAYER:HEAD was expected"),
    ],
)
def test_what_does_not_fit_is_named(
    settings: dict[str, Any],
    message: str,
    zoo_folder: Callable[[str], Path],
    small_corpus: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(BadInput, match=message):
        inspected(small_corpus, zoo_folder("gpt2"), tmp_path / "o", **settings)


def test_rows_without_that_prompt_or_left_out(
    zoo_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    corpus = tmp_path / "odd.jsonl"
    rows = [("The fox is", " red", " red"), ("The river is", " red", " blue")]
    keys = ("clean", "target", "foil")
    corpus.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows))
    with pytest.raises(BadInput, match="row 0: target and foil begin with the same token"):
        inspected(corpus, zoo_folder("gpt2"), tmp_path / "o")
    with pytest.raises(BadInput, match="row 1: it has no corrupt prompt"):
        inspected(corpus, zoo_folder("gpt2"), tmp_path / "o", row=(1,), side="corrupt")
