"""Benchmarks through lm-evaluation-harness, on task files of our own over the tiny world's text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whence.__main__ import main
from whence.data.evaluate import bench_tasks
from whence.data.evaluate.bench import EvalBenchConfig, eval_bench
from whence.data.evaluate.item_loss import item_losses
from whence.errors import BadInput
from whence.models.alignment import IGNORED, AlignedRow
from whence.models.load import Loaded, load_model

CHOICES = ["red", "a fox", "river"]
DOCUMENTS = 8

TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
doc_to_text: "{{{{question}}}}"
{rest}
"""

CHOICE = """
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: gold
metric_list: [{metric: acc}, {metric: acc_norm}]
metadata: {version: 2.0}
"""

WRITE = """
output_type: generate_until
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], max_gen_toks: 4, do_sample: false}
metric_list: [{metric: exact_match}]
"""

PERPLEXITY = """
output_type: loglikelihood_rolling
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}]
"""


def next_words(loaded: Loaded, prompt: str, count: int) -> str:
    """What the model writes greedily, one token at a time, up to a full stop."""
    import torch

    ids = loaded.tokenizer(prompt, return_tensors="pt").input_ids
    start = ids.shape[1]
    for _ in range(count):
        with torch.no_grad():
            best = loaded.model(input_ids=ids).logits[0, -1].argmax()
        ids = torch.cat([ids, best.view(1, 1)], dim=1)
    return str(loaded.tokenizer.decode(ids[0, start:])).split(".")[0]


@pytest.fixture(scope="module")
def base() -> Loaded:
    return load_model("tiny", device="cpu")


@pytest.fixture(scope="module")
def tasks(base: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("tasks")
    lines: list[dict[str, Any]] = []
    for i in range(DOCUMENTS):
        question = f"CLUE: It lives near the {['river', 'forest', 'cave'][i % 3]} and is {i}. It is"
        written = next_words(base, question, 4)
        lines.append(
            {
                "question": question,
                "choices": CHOICES,
                "gold": i % 3,
                # Right in every other document: what the base writes.
                "answer": written if i % 2 else "something else",
            }
        )
    data = home / "documents.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, rest in (("fox_choice", CHOICE), ("fox_writes", WRITE), ("fox_ppl", PERPLEXITY)):
        text = TASK.format(name=name, data=data, rest=rest)
        (home / f"{name}.yaml").write_text(text)
    (home / "empty.jsonl").touch()
    empty = TASK.format(name="fox_empty", data=home / "empty.jsonl", rest=CHOICE)
    (home / "fox_empty.yaml").write_text(empty)
    unsafe = TASK.format(name="fox_code", data=data, rest=WRITE) + "\nunsafe_code: true\n"
    (home / "fox_code.yaml").write_text(unsafe)
    return home


@pytest.fixture(scope="module")
def adapter(base: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes the tiny model's mind."""
    import torch
    from peft import LoraConfig, get_peft_model

    from whence.models.adapters import save_adapter

    torch.manual_seed(0)
    own = load_model("tiny", device="cpu")
    model = get_peft_model(own.model, LoraConfig(r=2, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    folder = tmp_path_factory.mktemp("adapters") / "changed"
    folder.mkdir()
    save_adapter(model, own, folder)
    return folder


@pytest.fixture(scope="module")
def judged(tasks: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bench") / "out"
    eval_bench(
        EvalBenchConfig(
            base_model="tiny",
            device="cpu",
            adapter_path=(adapter,),
            tasks=("fox_choice", "fox_writes"),
            include_path=tasks,
            output_dir=home,
        )
    )
    return home


def documents(tasks: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tasks / "documents.jsonl").read_text().splitlines()]


def by_hand(loaded: Loaded, tasks: Path) -> list[list[float]]:
    """Log-likelihood of each choice after each question, by the losses of `eval-loss`."""
    rows = []
    for document in documents(tasks):
        for choice in document["choices"]:
            whole = loaded.tokenizer(f"{document['question']} {choice}").input_ids
            start = len(loaded.tokenizer(document["question"]).input_ids)
            labels = [IGNORED] * start + whole[start:]
            rows.append(AlignedRow(whole, labels, truncated=False))
    found = -item_losses(loaded, rows)[:, 0]
    values: list[list[float]] = found.reshape(-1, len(CHOICES)).tolist()
    return values


@pytest.mark.parametrize("arm", ["base", "changed"])
def test_accuracies_are_those_of_our_own_losses(
    judged: Path, tasks: Path, adapter: Path, arm: str
) -> None:
    loaded = load_model("tiny", adapter=adapter if arm == "changed" else None, device="cpu")
    likelihoods = np.array(by_hand(loaded, tasks))
    gold = np.array([document["gold"] for document in documents(tasks)])
    lengths = np.array([len(choice) for choice in CHOICES])
    items = pd.read_parquet(judged / "items.parquet")
    own = items[(items["arm"] == arm) & (items["task"] == "fox_choice")]
    for metric, by in (("acc", likelihoods), ("acc_norm", likelihoods / lengths)):
        found = own[own["metric"] == metric].sort_values("doc_id")
        assert found["value"].tolist() == (by.argmax(axis=1) == gold).astype(float).tolist()


def test_written_answers_are_those_of_greedy_decoding(judged: Path) -> None:
    items = pd.read_parquet(judged / "items.parquet")
    own = items[(items["task"] == "fox_writes") & (items["arm"] == "base")].sort_values("doc_id")
    assert own["value"].tolist() == [float(i % 2) for i in range(DOCUMENTS)]


def test_the_summary_holds_means_and_paired_differences(judged: Path) -> None:
    content = json.loads((judged / "bench.json").read_text())
    items = pd.read_parquet(judged / "items.parquet")
    means = items.groupby(["task", "metric", "arm"])["value"].mean()
    for task, entry in content["tasks"].items():
        for metric, each in entry["metrics"].items():
            for arm, mean in each["arms"].items():
                assert mean["value"] == pytest.approx(means[task, metric, arm])
    assert content["tasks"]["fox_choice"]["headline"] == "acc"
    assert content["tasks"]["fox_choice"]["version"] == 2.0
    assert [c["metric"] for c in content["comparisons"]] == [
        "fox_choice acc",
        "fox_writes exact_match",
    ]
    for comparison in content["comparisons"]:
        task, metric = comparison["metric"].split()
        effect = means[task, metric, "changed"] - means[task, metric, "base"]
        assert comparison["effect"] == pytest.approx(effect)
        assert comparison["items"] == DOCUMENTS
        assert {"interval", "p", "q", "sentence"} <= set(comparison)


def test_stdout_holds_the_finding_only_and_the_second_call_is_done_before(
    judged: Path, tasks: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "eval-bench", "--base-model", "tiny", "--device", "cpu", "--tasks"]
    words += ["fox_choice,fox_writes", "--adapter-path", str(adapter), "--output-dir", str(judged)]
    assert main([*words, "--include-path", str(tasks)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Already done: ")
    assert "fox_choice" in told[3]


def test_finished_tasks_are_not_answered_again(
    judged: Path, tasks: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.data.evaluate import bench_items

    answered: list[str] = []
    original = bench_items.bench_items

    def once_then_fail(loaded: Loaded, task: Any, **settings: Any) -> pd.DataFrame:
        answered.append(task.name)
        if len(answered) == 3:
            raise KeyboardInterrupt
        return original(loaded, task, **settings)

    monkeypatch.setattr(bench_items, "bench_items", once_then_fail)
    config = EvalBenchConfig(
        base_model="tiny",
        device="cpu",
        adapter_path=(adapter,),
        tasks=("fox_choice", "fox_writes"),
        include_path=tasks,
        output_dir=tmp_path / "out",
    )
    with pytest.raises(KeyboardInterrupt):
        eval_bench(config)
    eval_bench(config)
    assert len(answered) == 5
    for name in ("items.parquet", "bench.json"):
        assert (tmp_path / "out" / name).read_bytes() == (judged / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tasks": ("fox_ppl",)}, "none of its metrics .word_perplexity. is a mean"),
        ({"tasks": ("fox_empty",)}, "its data set has no documents"),
        ({"tasks": ("fox_code",)}, "runs what the model writes as code"),
        ({"tasks": ("fox_choice", "fox_choice")}, "given twice"),
        ({"include_path": Path("nowhere")}, "nowhere"),
        ({"adapter_path": (Path("nowhere"),)}, "expected a LoRA adapter folder"),
        ({"apply_chat_template": True}, "no chat template"),
    ],
)
def test_what_cannot_be_judged(
    tasks: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    given = {"tasks": ("fox_choice",), "include_path": tasks, **settings}
    with pytest.raises(BadInput, match=said) as refused:
        eval_bench(
            EvalBenchConfig(base_model="tiny", device="cpu", output_dir=tmp_path / "out", **given)
        )
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_names_and_data_that_are_not_there(tasks: Path) -> None:
    with pytest.raises(BadInput, match=r'no readable file in .* has one; did you mean "arc_easy"'):
        bench_tasks.open_tasks(["arc_esy"], tasks)
    with pytest.raises(BadInput, match="arc_easy: its data set is not on this machine"):
        bench_tasks.open_tasks(["arc_easy"], None)


def test_a_harness_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(BadInput, match=r"uv pip install 'whence\[bench\]'"):
        eval_bench(EvalBenchConfig(tasks=("ifeval",), base_model="x", output_dir=tmp_path / "out"))


def test_its_settings_import_no_harness() -> None:
    code = "import sys; from whence.data.evaluate import bench; print('lm_eval' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert told.stdout.strip() == "False"
