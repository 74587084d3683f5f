"""`whence data build` from several sources, with words kept apart, from presets, and cut."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from playpen_games import played, write_playpen

from whence.__main__ import main
from whence.data.build import BuildConfig, BuildResult, build
from whence.errors import BadInput
from whence.runs.manifest import read_split
from whence.tiny.world import make_world


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def chats(n: int, tag: str) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"{tag} asks {i}"},
                {"role": "assistant", "content": f"{tag} says {i}"},
            ],
            "category": "math" if i % 4 else "code",
            "level": i,
            "source": "crawl",
        }
        for i in range(n)
    ]


def pairs(n: int, tag: str, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"{tag} {i}?", "completion": f"{i} of {tag}", **more} for i in range(n)]


@pytest.fixture
def real(tmp_path: Path) -> Path:
    write(tmp_path / "real/train.jsonl", chats(60, "train"))
    write(tmp_path / "real/test.jsonl", chats(40, "test"))
    return tmp_path / "real"


def mix(tmp_path: Path, *source: str, **settings: Any) -> BuildResult:
    sizes = {"train_size": 60, "query_size": 8, "eval_size": 12}
    return build(BuildConfig(source=source, **{"run_dir": tmp_path / "r", **sizes, **settings}))


def splits_of(result: BuildResult) -> dict[str, pd.DataFrame]:
    return {name: read_split(result.manifest, name) for name in result.manifest.splits}


def test_chats_and_pairs_in_one_pool(tmp_path: Path, real: Path) -> None:
    made = write(
        tmp_path / "made.jsonl",
        [{**row, "level": row_number + 0.5} for row_number, row in enumerate(pairs(50, "made"))],
    )
    result = mix(tmp_path, f"real={real}", f"made={made}:cap=30")
    splits = splits_of(result)
    columns = ["row_id", "prompt", "completion", "source_split", "group_id", "source"]
    for rows in splits.values():
        assert list(rows.columns) == [*columns, "category", "level", "source_source"]
    # 60 real rows and 30 of the made ones: two to one in the pool, and no made row is held out.
    assert Counter(splits["train_base"]["source"]) == {"real": 40, "made": 20}
    assert set(splits["eval"]["source"]) == set(splits["attr_query"]["source"]) == {"real"}
    assert Counter(splits["eval"]["category"]) == {"math": 9, "code": 3}
    pool = splits["train_base"]
    of_made = pool[pool["source"] == "made"]
    assert of_made["category"].isna().all()
    assert of_made["source_source"].isna().all()
    assert set(pool[pool["source"] == "real"]["source_source"]) == {"crawl"}
    schema = pq.read_schema(result.manifest.splits["train_base"].path)
    assert str(schema.field("level").type) == "double"
    assert set(of_made["group_id"].str.split("::").str[0]) == {"made/train"}

    raw = result.manifest.raw
    assert raw["format"] == "mixed"
    assert raw["split_policy"]["stratify_by"] == ["source", "category"]
    assert set(raw["filter_stats"]) == {"real/train", "made/train", "real/test"}
    assert raw["filter_stats"]["made/train"]["over_cap"] == 20
    assert raw["filter_stats"]["made/train"]["kept"] == 30
    assert raw["dataset"]["name"] == "real + made"
    assert raw["dataset"]["sources"]["made"]["cap"] == 30
    shares = raw["sources"]
    assert (shares["unit"], shares["row_ids_prefixed"]) == ("words", [])
    for name, rows in splits.items():
        words = (rows["prompt"] + " " + rows["completion"]).str.split().str.len()
        for source, one in shares[name].items():
            mine = rows["source"] == source
            assert one["rows"] == mine.sum()
            assert one["row_share"] == pytest.approx(mine.mean())
            assert one["tokens"] == words[mine].sum()
            assert one["token_share"] == pytest.approx(words[mine].sum() / words.sum())
    again = mix(tmp_path, f"real={real}", f"made={made}:cap=30", run_dir=tmp_path / "r2")
    for name in ("manifest.json", "data/train_base.parquet", "near_duplicates.json"):
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "r2" / name).read_bytes()
    assert again.manifest.raw == raw


def test_pool_of_one_source_and_eval_of_another(tmp_path: Path, real: Path) -> None:
    made = write(tmp_path / "made.jsonl", pairs(70, "made"))
    splits = splits_of(mix(tmp_path, f"real={real}:use=eval", f"made={made}:use=train"))
    assert set(splits["train_base"]["source"]) == {"made"}
    assert set(splits["eval"]["source"]) == {"real"}
    assert set(splits["eval"]["source_split"]) == {"test"}
    # A file has no test split: with use=eval all of it is held out.
    exam = write(tmp_path / "exam.jsonl", pairs(30, "exam"))
    splits = splits_of(
        mix(
            tmp_path,
            f"real={real}:use=train",
            f"exam={exam}:use=eval",
            run_dir=tmp_path / "other",
        )
    )
    assert {name: set(rows["source"]) for name, rows in splits.items()} == {
        "train_base": {"real"},
        "score_pool": {"real"},
        "attr_query": {"exam"},
        "eval": {"exam"},
    }


def test_no_source_has_a_held_out_split(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{tag}.jsonl", pairs(50, tag)) for tag in ("a", "b")]
    splits = splits_of(mix(tmp_path, *(f"{file.stem}={file}" for file in files)))
    assert Counter(splits["eval"]["source"]) == {"a": 6, "b": 6}
    texts = [
        text for name in ("train_base", "eval", "attr_query") for text in splits[name]["prompt"]
    ]
    assert len(set(texts)) == 80


def test_what_only_trains_does_not_evaluate_where_nothing_is_held_out(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{tag}.jsonl", pairs(50, tag)) for tag in ("a", "b")]
    sources = [f"{file.stem}={file}" for file in files]
    splits = splits_of(mix(tmp_path, f"{sources[0]}:use=train", sources[1]))
    assert set(splits["eval"]["source"]) == set(splits["attr_query"]["source"]) == {"b"}
    assert set(splits["train_base"]["source"]) == {"a", "b"}
    with pytest.raises(BadInput, match="--query-size 51 asks for 51 rows, but 38 are left to it"):
        mix(
            tmp_path,
            f"{sources[0]}:use=train",
            sources[1],
            query_size=51,
            train_size=1,
            run_dir=tmp_path / "q",
        )
    with pytest.raises(BadInput, match="every source has use=train; query and eval need one"):
        mix(tmp_path, *(f"{source}:use=train" for source in sources), run_dir=tmp_path / "q")
    splits = splits_of(
        mix(
            tmp_path,
            f"{sources[0]}:use=train",
            sources[1],
            eval_size=None,
            train_size=40,
            run_dir=tmp_path / "all",
        )
    )
    assert set(splits["train_base"]["source"]) == {"a"}
    assert len(splits["eval"]) == 42
    with pytest.raises(BadInput, match="0 are left to it, --eval-size none having taken the rest"):
        mix(tmp_path, sources[1], eval_size=None, train_size=40, run_dir=tmp_path / "none")


def test_row_ids_that_would_collide_get_the_name_of_their_source(tmp_path: Path) -> None:
    files = [
        write(
            tmp_path / f"{tag}.jsonl",
            [{**row, "row_id": f"{tag if tag == 'c' else ''}{i}"} for i, row in enumerate(rows)],
        )
        for tag in ("a", "b", "c")
        for rows in [pairs(40, tag)]
    ]
    result = mix(tmp_path, *(f"{file.stem}={file}" for file in files), train_size=None)
    assert result.manifest.raw["sources"]["row_ids_prefixed"] == ["b"]
    pool = splits_of(result)["train_base"]
    assert pool["row_id"].is_unique
    for source, start in (("a", ""), ("b", "b/"), ("c", "c")):
        ids = pool[pool["source"] == source]["row_id"]
        assert all(row_id.removeprefix(start).isdigit() for row_id in ids)


def test_columns_that_do_not_go_together(tmp_path: Path, real: Path) -> None:
    made = write(tmp_path / "made.jsonl", pairs(50, "made", level="high"))
    with pytest.raises(
        BadInput,
        match='column "level": real/train has int64, made/train has string; give it one type, or '
        "another name in one of them",
    ):
        mix(tmp_path, f"real={real}", f"made={made}")
    with pytest.raises(BadInput, match='column "level"'):
        mix(tmp_path, f"real={real}", f"made={made}", withhold=("level",))
    made = write(tmp_path / "made.jsonl", pairs(50, "made"))
    mix(tmp_path, f"real={real}", f"made={made}", withhold=("level",))
    withheld = pd.read_parquet(tmp_path / "r/withheld.parquet")
    assert len(withheld) == 80
    assert withheld["level"].isna().sum() > 0


def games(n: int, words: int, tag: str) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"{tag} clue {i}",
            "completion": f"GUESS: it{i}",
            "target_word": None if i % 10 == 0 else f"Word{i % words}",
        }
        for i in range(n)
    ]


def test_words_of_eval_are_nowhere_else(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", games(200, 21, "train"))
    test = write(
        tmp_path / "test.jsonl",
        [
            {**row, "target_word": row["target_word"] and row["target_word"].upper()}
            for row in games(100, 21, "test")
        ],
    )
    result = build(
        BuildConfig(
            run_dir=tmp_path / "r",
            train_file=train,
            test_file=test,
            train_size=None,
            query_size=20,
            eval_size=20,
            word_disjoint=True,
        )
    )
    splits = splits_of(result)
    words = {name: set(rows["target_word"].str.lower()) for name, rows in splits.items()}
    for name in ("train_base", "score_pool", "attr_query"):
        assert not words[name] & words["eval"]
    assert words["train_base"] & words["attr_query"]
    assert None not in words["train_base"]
    raw = result.manifest.raw
    assert raw["checks"]["shared_values"] == {
        "target_word": {"train_base&eval": 0, "score_pool&eval": 0, "attr_query&eval": 0}
    }
    policy = raw["split_policy"]["disjoint"]
    assert policy["training_rows_without_value"] == 20
    assert len(splits["train_base"]) == 180 - policy["training_rows_with_a_value_of_eval"]
    assert (
        f"{policy['training_rows_with_a_value_of_eval']} rows may not train because eval has their "
        "target_word, 20 because they have none." in result.finding().headline
    )
    with pytest.raises(BadInput, match='no column "target_word", which --disjoint-by target_word'):
        build(
            BuildConfig(
                run_dir=tmp_path / "q",
                train_file=write(tmp_path / "x.jsonl", pairs(40, "x")),
                train_size=5,
                query_size=5,
                eval_size=5,
                word_disjoint=True,
            )
        )


@pytest.fixture(scope="module")
def playpen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = make_world()
    train = played(world, list(world.known[:12]), split="train")
    held = played(
        world, [*world.evaluated[:8], *world.known[:2]], split="validation", first_task=12
    )
    folder = tmp_path_factory.mktemp("playpen") / "d"
    return write_playpen(folder, {"train": train, "validation": held}, "parquet")


def test_playpen(tmp_path: Path, playpen: Path) -> None:
    config = BuildConfig(preset="playpen", dataset_name=str(playpen), run_dir=tmp_path / "r")
    assert (config.game, config.role, config.query_fraction) == ("taboo", "WordGuesser", 0.4)
    assert config.train_size is config.eval_size is config.query_size is None
    assert BuildConfig(preset="playpen").run_dir == Path("runs/simple_wordguesser_v1")
    result = build(config)
    splits = splits_of(result)
    query, evaluation = splits["attr_query"], splits["eval"]
    assert not set(query["group_id"]) & set(evaluation["group_id"])
    groups = len(set(query["group_id"])), len(set(evaluation["group_id"]))
    assert groups[0] == round(0.4 * sum(groups))
    stats = result.manifest.raw["filter_stats"]
    assert len(query) + len(evaluation) == stats["validation"]["kept"]
    assert len(splits["train_base"]) == stats["train"]["kept"]
    assert stats["train"]["aborted"] > 0
    for rows in splits.values():
        assert set(rows["game_role"]) == {"WordGuesser"}
        assert "aborted" not in set(rows["outcome"])
    described = result.manifest.raw["dataset"]
    assert (described["preset"], described["game"], described["role"]) == (
        "playpen",
        "taboo",
        "WordGuesser",
    )

    apart = splits_of(
        build(config.model_copy(update={"word_disjoint": True, "run_dir": tmp_path / "w"}))
    )
    words = {name: set(rows["target_word"]) for name, rows in apart.items()}
    assert not words["eval"] & (words["train_base"] | words["attr_query"])


def test_playpen_mixed_with_made_games(tmp_path: Path, playpen: Path) -> None:
    made = write(tmp_path / "made.jsonl", games(40, 5, "made"))
    result = build(
        BuildConfig(
            preset="playpen",
            source=(f"real={playpen}:preset=playpen:use=eval", f"made={made}:use=train"),
            run_dir=tmp_path / "r",
        )
    )
    splits = splits_of(result)
    assert Counter(splits["train_base"]["source"]) == {"made": 40}
    assert set(splits["eval"]["game"]) == {"taboo"}
    assert splits["train_base"]["game"].isna().all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"game": "taboo"}, "--game taboo: is for games; add --preset playpen"),
        ({"preset": "smoltalk", "role": "x"}, "--role x: is for games"),
        ({"instances": Path("i.json")}, r"--instances i\.json: is for games"),
        ({"source": ("a=b",), "train_file": Path("c")}, "--source mine=c"),
        ({"source": ("a=b",), "test_file": Path("c")}, "--source held=c:use=eval"),
        ({"source": ("a=b",), "dataset_name": "c"}, "--source mine=c"),
        ({"source": ("a=b:use=eval",)}, "every source has use=eval"),
        (
            {"preset": "playpen", "source": ("a=b",), "instances": Path("i")},
            "--instances: no source is read as games",
        ),
        ({"preset": "playpen", "train_file": Path("c")}, "--train-file: --preset playpen reads"),
        ({"query_size": None, "eval_size": None}, "one must be a number"),
        (
            {"train_file": Path("c"), "dataset_name": "d"},
            "--dataset-name d: says nothing about --train-file; leave one out",
        ),
        ({"train_file": Path("c"), "dataset_config": "d"}, "--dataset-config d: says nothing"),
        ({"source": ("a=b",), "dataset_config": "d"}, "as its option :config=d"),
        ({"source": ("a=b",), "dataset_revision": "d"}, "as its option :revision=d"),
        ({"word_disjoint": True, "disjoint_by": "x"}, "only one column can be kept"),
        ({"near_duplicates": False, "drop_near_duplicates": True}, "needs --near-duplicates"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says) as error:
        BuildConfig(**settings)
    assert "\n" not in str(error.value)


def test_sources_that_are_not_there(tmp_path: Path, real: Path) -> None:
    with pytest.raises(BadInput, match=r"--source made: .*nowhere: no such folder"):
        mix(tmp_path, f"made={tmp_path}/nowhere")
    with pytest.raises(BadInput, match=r"--dataset-config smol: .* has no folder of that name"):
        mix(tmp_path, f"made={real}:config=smol")
    one = write(tmp_path / "a.jsonl", pairs(30, "a"))
    for option in ("preset=playpen", "config=smol", "revision=main"):
        with pytest.raises(
            BadInput, match=rf"--source a: {option} is for data sets, and .* a file"
        ):
            mix(tmp_path, f"a={one}:{option}")
    with pytest.raises(BadInput, match="--query-fraction shares out a held-out split"):
        build(BuildConfig(run_dir=tmp_path / "r", train_file=one, query_fraction=0.5))
    with pytest.raises(BadInput, match="--query-fraction: shares out held-out rows"):
        mix(tmp_path, f"a={one}", query_fraction=0.5)
    assert not (tmp_path / "r").exists()


def test_groups_of_one_file_kept_whole(tmp_path: Path) -> None:
    rows = [{**row, "group_id": f"g{i // 5}"} for i, row in enumerate(pairs(100, "a"))]
    result = build(
        BuildConfig(
            run_dir=tmp_path / "r",
            train_file=write(tmp_path / "a.jsonl", rows),
            train_size=None,
            query_size=10,
            eval_size=20,
            disjoint_by="group_id",
        )
    )
    assert result.manifest.raw["checks"]["shared_groups"]["train_base&eval"] == 0
    assert result.manifest.splits["train_base"].rows == 70


def test_losses_are_named_where_rows_are_too_few(tmp_path: Path) -> None:
    rows = [*pairs(20, "a"), *pairs(5, "a"), *pairs(9, "much too long for it " * 9)]
    file = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(BadInput, match="20 of 34 are left after filtering") as error:
        build(BuildConfig(run_dir=tmp_path / "r", train_file=file, max_conversation_tokens=10))
    assert "(over_max_conversation_tokens 9, exact_duplicates 5)" in str(error.value)


def test_rows_are_cut_and_said_to_be(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [*pairs(20, "a b c d e"), *pairs(20, "x")])
    result = build(
        BuildConfig(
            run_dir=tmp_path / "r",
            train_file=file,
            train_size=None,
            query_size=10,
            eval_size=10,
            max_tokens_per_row=8,
        )
    )
    stats = result.manifest.raw["filter_stats"]["train"]
    # 6 words of prompt and 7 of completion; one word is left of the prompt.
    assert stats["cut_to_max_tokens_per_row"] == 20
    assert stats["tokens_cut"] == 100
    assert "20 rows were cut by 100 tokens or words." in result.finding().headline
    for rows in splits_of(result).values():
        assert (rows["prompt"] + " " + rows["completion"]).str.split().str.len().max() <= 8


def test_the_six_checks_of_the_notes_stand_under_their_numbers(tmp_path: Path, real: Path) -> None:
    config = BuildConfig(
        run_dir=tmp_path / "r",
        dataset_name=str(real),
        train_size=20,
        query_size=10,
        eval_size=10,
        base_model="tiny",
    )
    required = build(config).manifest.raw["checks"]["required"]
    assert [one["check"] for one in required] == [1, 2, 3, 4, 5, 6]
    assert all(one["passed"] for one in required)
    assert [one["found"] for one in required[:4]] == [0, 0, 0, 0]
    assert "category" in required[4]["found"]
    from whence.models.load import load_tokenizer

    tokenizer = load_tokenizer("tiny")
    completions = pd.read_parquet(tmp_path / "r/data/eval.parquet")["completion"]
    expected = sum(len(tokenizer.encode(t, add_special_tokens=False)) for t in completions)
    assert required[5]["found"] == expected > 0


def generator() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks/smoltalk_build.py"
    spec = importlib.util.spec_from_file_location("smoltalk_build", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_smoltalk_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real command on a saved data set of the schema; 50,000 rows are the benchmark's."""
    from datasets import Dataset, DatasetDict

    made = generator()
    DatasetDict(
        train=Dataset.from_list(list(made.smoltalk_rows(3_000, 1, words=(8, 20)))),
        test=Dataset.from_list(list(made.smoltalk_rows(400, 2, words=(8, 20)))),
    ).save_to_disk(tmp_path / "smoltalk")
    command = [
        "data", "build", "--dataset-name", str(tmp_path / "smoltalk"),
        "--dataset-config", "smol-magpie-ultra", "--train-size", "2000",
        "--query-size", "150", "--eval-size", "none", "--run-dir",
    ]  # fmt: skip
    for run in ("a", "b"):
        assert main([*command, str(tmp_path / run)]) == 0
    assert "Built: 3,400 of 3,400 rows could be drawn." in capsys.readouterr().out
    assert made.content(tmp_path / "a") == made.content(tmp_path / "b")
    manifest = json.loads((tmp_path / "a/manifest.json").read_text())
    assert {name: split["rows"] for name, split in manifest["splits"].items()} == {
        "train_base": 2000,
        "score_pool": 2000,
        "attr_query": 150,
        "eval": 250,
    }
    rows = pd.read_parquet(tmp_path / "a/data/train_base.parquet")
    place = rows["group_id"].str.split("::")
    assert (place.str[0] == rows["category"].fillna("unknown")).all()
    assert (place.str[1] == rows["difficulty"].fillna("unknown")).all()
    assert set(place.str[2]) == {"train"}
    assert set(manifest["filter_stats"]) == {"train", "test"}
