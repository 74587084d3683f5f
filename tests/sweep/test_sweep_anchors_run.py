"""Sweeps over `anchors run`: what is collapsed is equal, what is shared is what stands alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from whence.anchors.make import MakeConfig, make
from whence.anchors.study import StudyConfig
from whence.anchors.study_steps import judge, judging
from whence.commands import load
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json
from whence.sweep.campaigns.anchors_run import AnchorsRun
from whence.sweep.drafts import make_drafts
from whence.sweep.factors import Combination
from whence.sweep.settings import RankSettings
from whence.sweep.tasks import Task, in_order

CHEAP = ["position_untrained", "position_baseline", "linear_probe"]
SEEN = [*CHEAP, "vertical_attention_plus_position"]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "traces"
    make(MakeConfig(count=12, output_dir=folder))
    return folder


def base(traces: Path, model: Path, **sections: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "dataset": {"metadata": str(traces / "sentence_metadata.parquet")},
        "labels": {"anchor_percentile": 60.0},
        "activations": {
            "model_name_or_path": str(model),
            "layer_mode": "index",
            "layer_index": 1,
            "dtype": "float32",
            "vertical_attention": {"mode": "full"},
        },
        "training": {"probes": SEEN, "bootstrap_iterations": 100},
    }
    for name, own in sections.items():
        settings[name] = {**settings.get(name, {}), **own}
    return settings


def drafted(campaign: AnchorsRun, settings: dict[str, Any], home: Path) -> StudyConfig:
    drafts = make_drafts(campaign, {"": settings}, [Combination({}, {})], home)
    config = drafts[0].config
    assert isinstance(config, StudyConfig)
    return config


def effects(configs: list[StudyConfig], home: Path, metric: str = "primary") -> list[Any]:
    campaign = AnchorsRun(RankSettings(metric=metric))
    campaign.prepare(configs, home, False)
    return [campaign.effect(config) for config in configs]


def configs_of(home: Path, *settings: dict[str, Any]) -> list[StudyConfig]:
    campaign = AnchorsRun(RankSettings())
    return [drafted(campaign, each, home) for each in settings]


def run_task(task: Task) -> Any:
    return load(task.function)(load(task.config)(**task.settings))


@pytest.fixture(scope="module")
def extracted(
    traces: Path, random_gemma: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Labels, and features of both layers with tokens under full attention."""
    home = tmp_path_factory.mktemp("extracted")
    settings = base(traces, random_gemma)
    settings["training"] = {**settings["training"], "probes": [*SEEN, "attention_probe"]}
    settings["activations"] = {**settings["activations"], "pooling": "tokens"}
    other = base(traces, random_gemma, activations={**settings["activations"], "layer": 0})
    other["activations"].pop("layer_index")
    campaign = AnchorsRun(RankSettings())
    both = {name: drafted(campaign, own, home) for name, own in (("a", settings), ("b", other))}
    campaign.prepare(list(both.values()), home, False)
    task = next(task for task in campaign.tasks(both, home) if task.kind == "extract")
    run_task(task)
    labels = next(home.glob("shared/labels-*/sentence_metadata.parquet")).parent
    return labels, next((home / task.output).glob("full-*"))


def ranked(config: StudyConfig, extracted: tuple[Path, Path], output: Path) -> Any:
    """Probe → part → problem → its ranked metric."""
    labels, features = extracted
    layer = config.activations.layer_index if config.activations.layer_mode == "index" else None
    changed = {"layer": layer, "tripwires": False, "page": False}
    metrics = judge(judging(config, labels, features, output, **changed)).metrics
    name = metrics["primary_metric"]
    return {
        probe: {
            part: {p: own[name] for p, own in metrics[part][probe]["per_problem"].items()}
            for part in ("val", "test")
        }
        for probe in metrics["probes"]
    }


IDLE = [
    ("labels.anchor_percentile", 60.0, 90.0, {"labels": {"target_mode": "importance_abs"}}),
    ("training.random_seed", 0, 3, {}),
    ("training.seeds", [0], [4], {}),
    ("training.residualize_against", "none", "position", {}),
    ("training.k_values", [5], [1, 2], {}),
    ("training.bootstrap_iterations", 100, 333, {}),
    ("training.position_bins", 5, 0, {}),
    ("training.mlp_hidden_dim", 100, 3, {}),
    ("training.token_probe_heads", 4, 1, {}),
    ("activations.pooling", "mean", "tokens", {}),
    ("activations.layer_index", 0, 1, {"training": {"probes": CHEAP[:2]}}),
    ("training.fixed", True, False, {"training": {"probes": CHEAP[:1]}}),
]
"""Setting, two values, and what else is set for neither to matter."""


CHECKED_ALWAYS = ("labels.anchor_percentile", "training.residualize_against", "activations.pooling")


@pytest.mark.parametrize(
    ("key", "one", "other", "sections"),
    [
        pytest.param(*each, marks=() if each[0] in CHECKED_ALWAYS else pytest.mark.slow)
        for each in IDLE
    ],
)
def test_what_is_said_to_be_idle_changes_no_ranked_number(
    key: str, one: Any, other: Any, sections: Any, traces: Path, random_gemma: Path,
    extracted: tuple[Path, Path], tmp_path: Path,
) -> None:  # fmt: skip
    section, name = key.split(".")
    both = []
    for value in (one, other):
        own = {**sections, section: {**sections.get(section, {}), name: value}}
        settings = base(traces, random_gemma)
        for each, values in own.items():
            settings[each] = {"bootstrap_iterations": 100} | settings[each] | values
            if each != "training":
                settings[each].pop("bootstrap_iterations")
        both.append(settings)
    configs = configs_of(tmp_path, *both)
    found = effects(configs, tmp_path)
    assert found[0].decides == found[1].decides
    assert key in found[1].idle
    numbers = [ranked(c, extracted, tmp_path / str(i)) for i, c in enumerate(configs)]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    ("sections", "metric"),
    [
        ({"activations": {"layer_index": 0}}, "primary"),
        ({"labels": {"target_mode": "importance_abs"}}, "primary"),
        ({"labels": {"anchor_percentile": 20.0}}, "primary"),
        ({"training": {"fixed": False}}, "primary"),
        ({"training": {"probes": CHEAP}}, "primary"),
        ({"activations": {"vertical_attention": {"mode": "light"}}}, "primary"),
        ({"activations": {"prepend_bos": "always"}}, "primary"),
        ({"training": {"k_values": [1, 5]}}, "top_5_recall"),
        ({"split": {"strategy": "lopo_cv"}}, "primary"),
    ],
)
def test_what_can_change_the_number_decides(
    sections: Any, metric: str, traces: Path, random_gemma: Path, tmp_path: Path
) -> None:
    plain = base(traces, random_gemma)
    own = {name: {**plain.get(name, {}), **each} for name, each in sections.items()}
    first, second = effects(configs_of(tmp_path, plain, {**plain, **own}), tmp_path, metric)
    assert first.decides != second.decides


def test_equal_splits_and_equal_anchors_are_one_and_a_seeded_probe_keeps_its_seeds(
    traces: Path, random_gemma: Path, tmp_path: Path
) -> None:
    from whence.anchors.splits import make_splits

    table = tmp_path / "alone" / "sentence_metadata.parquet"
    table.parent.mkdir()
    table.write_bytes((traces / table.name).read_bytes())
    problems = [str(each) for part in read_json(traces / "splits.json").values() for each in part]
    drawn = {seed: make_splits(problems, seed) for seed in (0, 1)}
    assert drawn[0] != drawn[1]
    data = {"metadata": str(table)}

    def of(training: dict[str, Any], **sections: Any) -> dict[str, Any]:
        return base(traces, random_gemma, training=training, **sections)

    settings = [of({}, dataset={**data, "seed": seed}) for seed in (0, 1)]
    # The split that seed 0 draws, given in another order.
    given = tmp_path / "same.json"
    write_json(given, {part: ids[::-1] for part, ids in drawn[0].items()})
    settings.append(of({}, dataset={**data, "seed": 7}, paths={"splits_json": str(given)}))
    found = effects(configs_of(tmp_path, *settings), tmp_path)
    assert found[0].decides == found[2].decides != found[1].decides
    assert found[2].idle["dataset.seed"] == "the split is given and not drawn"

    near = [of({}, labels={"anchor_percentile": value}) for value in (65.0, 65.001)]
    first, second = effects(configs_of(tmp_path, *near), tmp_path)
    assert first.decides == second.decides
    assert second.idle["labels.anchor_percentile"] == "gives the same anchors as percentile 65"

    seeded = [of({"probes": ["mlp_probe"], "random_seed": seed}) for seed in (0, 1)]
    first, second = effects(configs_of(tmp_path, *seeded), tmp_path)
    assert first.decides != second.decides
    assert "training.random_seed" not in second.idle


def test_numbers_of_residuals_depend_on_the_percentile_and_on_how_words_are_fitted(
    traces: Path, random_gemma: Path, tmp_path: Path
) -> None:
    """Equal anchors of the importance are no equal anchors of what is left of it, and words are
    fitted to the importance even where no probe is."""
    own = {"probes": CHEAP[:1], "residualize_against": "position_plus_text"}

    def of(labels: dict[str, Any], **training: Any) -> dict[str, Any]:
        split = {"strategy": "lopo_cv"}
        return base(traces, random_gemma, labels=labels, training={**own, **training}, split=split)

    near = {"anchor_percentile": 65.001}
    words = of(near, fixed=False)
    place = of(near, residualize_against="position")
    settings = [of({"anchor_percentile": 65.0}), of(near), words, place]
    found = effects(configs_of(tmp_path, *settings), tmp_path, "residual_pr_auc")
    assert len({json.dumps(each.decides, sort_keys=True) for each in found}) == 4
    rho = {"target_mode": "importance_abs"}
    settings = [of({**rho, "anchor_percentile": value}) for value in (60.0, 90.0)]
    first, second = effects(configs_of(tmp_path, *settings), tmp_path, "residual_spearman")
    assert first.decides == second.decides


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"activations": {"layer_index": 99}}, "layer_index 99: .* has layers 0 to 2"),
        ({"training": {"probes": ["linear_prob"]}}, "did you mean linear_probe"),
        ({"training": {"probes": ["attention_probe"]}}, "reads tokens; give activations.pooling"),
        ({"dataset": {"metadata": "/nowhere/t.parquet"}}, "/nowhere/t.parquet: no such file"),
        ({"activations": {"vertical_attention": {"mode": "off"}}}, "reads vertical"),
        ({"activations": {"model_name_or_path": "/nowhere/model"}}, "/nowhere/model"),
    ],
)
def test_what_cannot_run_is_said_when_it_is_planned(
    sections: Any, said: str, traces: Path, random_gemma: Path, tmp_path: Path
) -> None:
    plain = base(traces, random_gemma)
    own = {name: {**plain.get(name, {}), **each} for name, each in sections.items()}
    with pytest.raises(BadInput, match=said) as caught:
        effects(configs_of(tmp_path, {**plain, **own}), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "metric", "said"),
    [
        ({}, "pr_auk", "did you mean pr_auc"),
        ({}, "top_3_recall", r"k_values is \[5, 10\]; put 3 in it"),
        ({}, "residual_pr_auc", "under split.strategy lopo_cv alone"),
        ({"split": {"strategy": "lopo_cv"}}, "residual_pr_auc", "residualize_against is none"),
        ({"labels": {"target_mode": "importance_abs"}}, "brier", "anchor_binary"),
    ],
)
def test_a_metric_that_no_run_would_have_is_said_when_it_is_planned(
    sections: Any, metric: str, said: str, traces: Path, random_gemma: Path, tmp_path: Path
) -> None:
    """The summary would find out at the very end."""
    settings = base(traces, random_gemma, **sections)
    with pytest.raises(BadInput, match=f"rank.metric {metric}: .*{said}"):
        effects(configs_of(tmp_path, settings), tmp_path, metric)


def test_metrics_said_before_are_those_that_runs_have(
    traces: Path, random_gemma: Path, extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    from whence.sweep.campaigns.anchors_effect import probes_of
    from whence.sweep.campaigns.anchors_metrics import metrics_of

    settings = base(traces, random_gemma, training={"probes": CHEAP[1:2], "k_values": [2]})
    for target in ("anchor_binary", "importance_signed"):
        settings["labels"]["target_mode"] = target
        (config,) = configs_of(tmp_path, settings)
        labels, features = extracted
        changed = {"tripwires": False, "page": False}
        metrics = judge(judging(config, labels, features, tmp_path / target, **changed)).metrics
        per_problem = metrics["test"]["position_baseline"]["per_problem"]
        found = {name for own in per_problem.values() for name in own}
        assert found == set(metrics_of(config, probes_of(config)))


def test_labels_of_one_class_are_refused_when_it_is_planned(
    traces: Path, random_gemma: Path, tmp_path: Path
) -> None:
    import pandas as pd

    frame = pd.read_parquet(traces / "sentence_metadata.parquet")
    frame = frame.drop(columns=[n for n in frame if str(n).startswith("counterfactual")])
    table = tmp_path / "sentence_metadata.parquet"
    frame.assign(importance_signed=0.0, importance_score=0.0).to_parquet(table)
    settings = base(traces, random_gemma, dataset={"metadata": str(table)})
    with pytest.raises(BadInput, match=r"anchor_percentile 60: .*nothing to tell apart"):
        effects(configs_of(tmp_path, settings), tmp_path)


def grid(traces: Path, model: Path, home: Path, campaign: AnchorsRun) -> dict[str, StudyConfig]:
    """Two layers, two targets, light and full: eight runs."""
    runs = {}
    for layer in (0, 2):
        for target in ("anchor_binary", "importance_abs"):
            for mode in ("light", "full"):
                settings = base(traces, model, labels={"target_mode": target})
                settings["activations"] |= {"vertical_attention": {"mode": mode}, "layer": layer}
                settings["activations"].pop("layer_index")
                name = f"{layer}-{target}-{mode}"
                config = drafted(campaign, settings, home)
                runs[name] = config.model_copy(update={"output_dir": home / "runs" / name})
    return runs


def test_every_text_is_read_once_for_all_and_never_again(
    traces: Path, random_gemma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.anchors.features import capture_trace as module

    read: list[str] = []
    capture = module.capture_several

    def counted(anatomy: Any, ids: Any, spans: Any, wanted: Any, what: str) -> Any:
        read.append(what)
        return capture(anatomy, ids, spans, wanted, what)

    monkeypatch.setattr(module, "capture_several", counted)
    campaign = AnchorsRun(RankSettings())
    runs = grid(traces, random_gemma, tmp_path, campaign)
    configs = list(runs.values())
    campaign.prepare(configs, tmp_path, False)
    tasks = in_order(campaign.tasks(runs, tmp_path))
    assert [task.kind for task in tasks] == ["extract", *["judge"] * 8]
    cost = campaign.cost(configs * 3, runs)
    assert (cost.forwards, cost.naive_forwards) == (12, 12 * 24)
    assert cost.naive_trainings == 3 * (cost.trainings or 0)
    for task in (tasks[0], tasks[1]):
        run_task(task)
    assert sorted(read) == [f"problem trace-{number:05}" for number in range(12)]
    folders = list((tmp_path / tasks[0].output).glob("*/problem_*.safetensors"))
    arrays = sum(path.stat().st_size for path in folders)
    assert cost.bytes is not None
    assert 0 < cost.bytes <= arrays <= cost.bytes + 2000 * len(folders)
    # A later stage that needs no more finds the work done.
    (tmp_path / "plan" / "one").mkdir(parents=True)
    from whence.sweep.tasks import write_tasks

    write_tasks(tmp_path / "plan" / "one" / "tasks.jsonl", tasks)
    later = AnchorsRun(RankSettings())
    fewer = {"x": next(iter(runs.values()))}
    later.prepare(list(fewer.values()), tmp_path, False)
    assert next(task.id for task in later.tasks(fewer, tmp_path)) == tasks[0].id
    assert later.cost(list(fewer.values()), fewer).forwards == 0


def test_a_problem_with_two_texts_is_read_twice_and_one_with_the_same_text_once(
    traces: Path, random_gemma: Path, tmp_path: Path
) -> None:
    """As the right and the wrong solutions of the same problems."""
    from whence.anchors.features.store import load as load_features
    from whence.runs.jsonfile import read_jsonl, write_jsonl

    other = tmp_path / "other"
    other.mkdir()
    for name in ("sentence_metadata.parquet", "splits.json"):
        (other / name).write_bytes((traces / name).read_bytes())
    lines = read_jsonl(traces / "traces.jsonl")
    lines[0]["text"] = f"Well. {lines[0]['text']}"
    lines[0].pop("start", None)
    write_jsonl(other / "traces.jsonl", lines)
    campaign = AnchorsRun(RankSettings())
    runs = {
        name: drafted(campaign, base(folder, random_gemma), tmp_path).model_copy(
            update={"output_dir": tmp_path / "runs" / name}
        )
        for name, folder in (("a", traces), ("b", other))
    }
    campaign.prepare(list(runs.values()), tmp_path, False)
    tasks = in_order(campaign.tasks(runs, tmp_path))
    extracts = [task for task in tasks if task.kind == "extract"]
    assert len(extracts) == 2
    assert extracts[1].needs == [extracts[0].id]
    seen: list[str] = []
    from whence.anchors.features import capture_trace as module

    capture = module.capture_several
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "capture_several", lambda *a: seen.append(a[-1]) or capture(*a))
        for task in extracts:
            run_task(task)
    assert len(seen) == 13
    assert seen.count(f"problem {lines[0]['problem_id']}") == 2
    folders = [next((tmp_path / task.output).glob("full-*")) for task in extracts]
    texts = [load_features(folder).texts for folder in folders]
    assert sum(texts[0][each] != texts[1][each] for each in texts[0]) == 1


@pytest.mark.slow
def test_a_run_of_a_sweep_is_the_study_alone(
    traces: Path, random_gemma: Path, tmp_path: Path
) -> None:
    from whence.anchors.study import study

    campaign = AnchorsRun(RankSettings())
    runs = grid(traces, random_gemma, tmp_path, campaign)
    campaign.prepare(list(runs.values()), tmp_path, False)
    tasks = {task.id: task for task in campaign.tasks(runs, tmp_path)}
    run_task(next(task for task in tasks.values() if task.kind == "extract"))
    for name in ("0-anchor_binary-light", "2-importance_abs-full", "2-anchor_binary-full"):
        run_task(tasks[name])
        alone = tmp_path / "alone" / name
        study(runs[name].model_copy(update={"output_dir": alone}))
        found, expected = (
            read_json(folder / "metrics.json")
            for folder in (tmp_path / "runs" / name, alone / "probes")
        )
        assert found == expected


@pytest.mark.slow
def test_768_configurations_are_planned_in_seconds_and_read_each_trace_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example's first stage; no model is loaded while judging."""
    import subprocess
    import sys
    import time

    import yaml

    from whence.anchors.features import capture_trace as module
    from whence.sweep.layout import plan_folder
    from whence.sweep.tasks import read_tasks

    traces = tmp_path / "runs" / "traces"
    make(MakeConfig(count=60, output_dir=traces))
    example = Path(__file__).parents[2] / "examples" / "anchors-sweep" / "sweep.yaml"
    sweep = yaml.safe_load(example.read_text())
    sweep["base"]["dataset"]["metadata"] = str(traces / "sentence_metadata.parquet")
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    home = tmp_path / "sweep"
    command = [sys.executable, "-m", "whence", "sweep", "plan", str(tmp_path / "sweep.yaml")]
    before = time.monotonic()
    done = subprocess.run(
        [*command, "--output-dir", str(home), "--no-trial"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert time.monotonic() - before < 10  # under 5 s on an idle machine
    assert done.stdout.startswith("768 configurations of anchors run, of which 60 ")
    tasks = in_order(read_tasks(plan_folder(home, "stage1") / "tasks.jsonl"))
    read: list[str] = []
    capture = module.capture_several
    monkeypatch.setattr(module, "capture_several", lambda *a: read.append(a[-1]) or capture(*a))
    for task in tasks[:4]:
        run_task(task)
        monkeypatch.setattr("whence.models.load.load_model", None)
    assert len(read) == len(set(read)) == 60
