"""Games on local models: batches change no answer, chats are put as the model knows them."""

from __future__ import annotations

import asyncio
import json
import shutil
import time

import pytest
import torch
from peft import LoraConfig, get_peft_model

from whence.data.evaluate.guesses import guess_words
from whence.data.games import local
from whence.data.games.backend import Ask, AskError
from whence.data.games.generate import GenerateConfig, generate
from whence.data.games.local import open_local
from whence.data.instances import read_instances
from whence.errors import BadInput, WhenceError
from whence.models.adapters import save_adapter, using_adapter
from whence.models.alignment import IGNORED, align
from whence.models.load import load_model
from whence.runs.jsonfile import read_jsonl

CLUES = ("it is a bird, it is red", "it is gold", "the baker loves it, it is in the cave", "hm")
CHAT = [
    {"role": "user", "content": "Guess the secret word. You have 3 tries.\nCLUE: it is red"},
    {"role": "assistant", "content": "GUESS: klarnil"},
    {"role": "user", "content": "CLUE: it is a bird"},
]
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def opened(models, concurrency=16):
    return open_local(
        models, device="cpu", dtype="auto", trust_remote_code=False, concurrency=concurrency
    )


def asks(models, count, max_tokens=8):
    """Asks of different models, temperatures and lengths."""
    return [
        Ask(
            f"g{i}",
            models[i % len(models)],
            CHAT if i % 3 else [{"role": "user", "content": f"CLUE: {CLUES[i % 4]}"}],
            max_tokens,
            (0.0, 0.7)[i % 2],
            seed=i,
        )
        for i in range(count)
    ]


def together(backend, wanted):
    async def play():
        try:
            return await asyncio.gather(*map(backend.ask, wanted), return_exceptions=True)
        finally:
            await backend.close()

    return asyncio.run(play())


def one_by_one(backend, wanted):
    async def play():
        try:
            return [await backend.ask(ask) for ask in wanted]
        finally:
            await backend.close()

    return asyncio.run(play())


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Two random adapters on the tiny model, as `whence data finetune` saves them."""
    base = load_model("tiny", device="cpu")
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = get_peft_model(base.model, LoraConfig(r=4, target_modules="all-linear"))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=1.0)
        folders.append(tmp_path_factory.mktemp("adapters") / str(seed))
        save_adapter(model, base, folders[-1])
        model.unload()
    return folders


@pytest.fixture
def templated(zoo_folder, tmp_path):
    """A model whose chat template refuses system turns."""
    folder = tmp_path / "templated"
    shutil.copytree(zoo_folder("llama"), folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def test_batched_answers_are_those_of_one_at_a_time(adapters):
    models = {"base": "tiny", "one": str(adapters[0]), "two": str(adapters[1])}
    wanted = asks(list(models), 18)
    backend = opened(models)
    sizes = watched(backend)
    answers = together(backend, wanted)
    assert sizes == [6, 6, 6]
    assert answers == one_by_one(opened(models), wanted) == together(opened(models, 4), wanted)
    assert len({answer.text for answer in answers}) > 6


def watched(backend):
    """Rows of each batch that `backend` answers, as a list that fills while it plays."""
    sizes = []
    take = backend._take
    backend._take = lambda: sizes.append(len(batch := take())) or batch
    return sizes


def test_adapters_share_one_base_and_play_as_they_were_trained(adapters, monkeypatch):
    loads = []
    monkeypatch.setattr(local, "load_model", lambda *a, **k: loads.append(a) or load_model(*a, **k))
    models = {"base": "tiny", "one": str(adapters[0]), "two": str(adapters[1])}
    wanted = [Ask("g", name, CHAT, 8, 0.0, 0) for name in ("one", "base", "two", "one")]
    texts = [answer.text for answer in together(opened(models), wanted)]
    assert len(loads) == 1
    base = load_model("tiny", device="cpu")
    prompt = (
        "USER: Guess the secret word. You have 3 tries.\nCLUE: it is red\n\n"
        "ASSISTANT: GUESS: klarnil\n\nUSER: CLUE: it is a bird"
    )
    expected = []
    for adapter in (adapters[0], None, adapters[1], adapters[0]):
        with using_adapter(base, adapter) as loaded:
            expected += guess_words(loaded, [prompt], max_new_tokens=8)
    assert texts == expected
    assert len(set(texts)) == 3


def test_a_chat_is_flattened_to_the_prefix_that_was_trained_on():
    backend = opened({"m": "tiny"})
    ids, cut = backend._players["m"].read(Ask("g", "m", CHAT, 8, 0.0, 0))
    prompt = "\n\n".join(f"{m['role'].upper()}: {m['content']}" for m in CHAT)
    row = align(prompt, "GUESS: x", load_model("tiny").tokenizer, 512)
    assert ids == [i for i, y in zip(row.input_ids, row.labels, strict=True) if y == IGNORED]
    assert cut == 0


def test_usage_is_counted_in_tokens_of_the_model():
    (answer,) = together(opened({"m": "tiny"}), [Ask("g", "m", CHAT, 5, 1.0, 3)])
    backend = opened({"m": "tiny"})
    assert answer.prompt_tokens == len(backend._players["m"].read(Ask("g", "m", CHAT, 5, 1, 3))[0])
    assert 1 <= answer.completion_tokens <= 5


def test_a_chat_template_is_spoken(templated):
    player = opened({"m": str(templated)})._players["m"]
    tokenizer = player.loaded.tokenizer
    ids, _ = player.read(Ask("g", "m", CHAT, 8, 0.0, 0))
    said = "".join(f"<{m['role']}>{m['content']}</>" for m in CHAT) + "<assistant>"
    # No second BOS in front: what a template wants there it writes itself.
    assert ids == tokenizer(said, add_special_tokens=False)["input_ids"]


def test_a_system_turn_that_a_template_refuses_goes_into_the_first_user_turn(templated):
    player = opened({"m": str(templated)})._players["m"]
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "CLUE: red"}]
    ids, _ = player.read(Ask("g", "m", chat, 8, 0.0, 0))
    assert player.loaded.tokenizer.decode(ids) == "<user>Be brief.\n\nCLUE: red</><assistant>"


def test_a_chat_that_the_template_refuses_all_the_same_ends_the_run(templated):
    (templated / "chat_template.jinja").write_text("{{ raise_exception('Roles must alternate') }}")
    (found,) = together(opened({"m": str(templated)}), [Ask("g", "m", CHAT, 8, 0.0, 0)])
    assert isinstance(found, BadInput)
    assert "Roles must alternate" in str(found)


def test_an_adapter_of_ours_on_a_model_with_a_template_speaks_as_it_was_trained(
    templated, tmp_path
):
    base = load_model(str(templated), device="cpu")
    model = get_peft_model(base.model, LoraConfig(r=2, target_modules="all-linear"))
    save_adapter(model, base, tmp_path / "ours")
    shutil.copytree(tmp_path / "ours", tmp_path / "foreign")
    (tmp_path / "foreign" / "base.json").unlink()
    places = {name: str(tmp_path / name) for name in ("ours", "foreign")} | {"m": str(templated)}
    players = opened(places)._players
    assert {name: player.templated for name, player in players.items()} == {
        "ours": False,
        "foreign": True,
        "m": True,
    }
    text = players["ours"].loaded.tokenizer.decode(
        players["ours"].read(Ask("g", "ours", CHAT, 8, 0.0, 0))[0], skip_special_tokens=True
    )
    assert text.startswith("USER: Guess the secret word.")


def test_too_long_a_chat(templated, caplog):
    long = [{"role": "user", "content": "RULES " + "many words " * 400 + "CLUE: red"}]
    (found,) = together(opened({"m": str(templated)}), [Ask("g", "m", long, 8, 0.0, 0)])
    assert isinstance(found, AskError)
    assert found.cause == "context"
    backend = opened({"m": "tiny"})
    ids, cut = backend._players["m"].read(Ask("g", "m", long, 8, 0.0, 0))
    assert len(ids) == 512 - 8
    assert cut > 0
    assert backend._players["m"].loaded.tokenizer.decode(ids).endswith("CLUE: red")
    wanted = [Ask(f"g{i}", "m", long, 8, 0.0, 0) for i in range(3)]
    assert all(answer.completion_tokens for answer in together(backend, wanted))
    assert [r.getMessage() for r in caplog.records if "too long" in r.getMessage()] == [
        "3 chats were too long for m and lost their oldest tokens"
    ]
    (found,) = together(opened({"m": "tiny"}), [Ask("g", "m", CHAT, 600, 0.0, 0)])
    assert isinstance(found, BadInput)
    assert "allow fewer output tokens" in str(found)


def test_no_memory_for_a_batch_halves_it_for_good(monkeypatch):
    sizes = []

    def limited(loaded, rows, draws, **settings):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise MemoryError("none left")
        return real(loaded, rows, draws, **settings)

    real = local.continuations
    wanted = asks(["m"], 8)
    expected = together(opened({"m": "tiny"}), wanted)
    monkeypatch.setattr(local, "continuations", limited)
    backend = opened({"m": "tiny"})

    async def play():
        answers = await asyncio.gather(*map(backend.ask, wanted))
        again = await asyncio.gather(*map(backend.ask, wanted))
        await backend.close()
        return answers, again

    assert asyncio.run(play()) == (expected, expected)
    assert sizes[:4] == [8, 4, 2, 2]
    assert max(sizes[4:]) <= 2


def test_a_request_that_never_fits_ends_the_run(monkeypatch):
    def never(*_args, **_settings):
        raise MemoryError("none left")

    monkeypatch.setattr(local, "continuations", never)
    found = together(opened({"m": "tiny"}), asks(["m"], 3))
    assert all(isinstance(one, WhenceError) and "--concurrency" in str(one) for one in found)


def test_a_request_given_up_holds_nobody():
    async def play():
        backend = opened({"m": "tiny"})
        tasks = [asyncio.create_task(backend.ask(ask)) for ask in asks(["m"], 6)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await backend.close()
        return found

    first, *others = asyncio.run(play())
    assert isinstance(first, asyncio.CancelledError)
    assert [one.text for one in others] == [
        one.text for one in together(opened({"m": "tiny"}), asks(["m"], 6))[1:]
    ]


def test_closing_ends_what_is_being_written(monkeypatch):
    def endless(*_args, cancelled, **_settings):
        while not cancelled():
            time.sleep(0.01)
        return [[]]

    monkeypatch.setattr(local, "continuations", endless)

    async def play():
        backend = opened({"m": "tiny"})
        task = asyncio.create_task(backend.ask(Ask("g", "m", CHAT, 400, 1.0, 0)))
        await asyncio.sleep(0.05)
        await backend.close()
        return await asyncio.gather(task, return_exceptions=True)

    assert isinstance(asyncio.run(play())[0], asyncio.CancelledError)


def test_places_that_are_none_are_refused_before_anything_is_loaded(
    adapters, tmp_path, monkeypatch, random_gemma
):
    monkeypatch.setattr(local, "load_model", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(BadInput, match="no model folder"):
        opened({"m": "tiny", "g": str(tmp_path / "nowhere")})
    with pytest.raises(BadInput, match="concurrency 0"):
        opened({"m": "tiny"}, concurrency=0)
    moved = tmp_path / "moved"
    shutil.copytree(adapters[0], moved)
    record = json.loads((moved / "adapter_config.json").read_text())
    record["base_model_name_or_path"] = str(tmp_path / "gone")
    (moved / "adapter_config.json").write_text(json.dumps(record))
    with pytest.raises(BadInput, match="base_model_name_or_path"):
        opened({"m": str(moved)})
    monkeypatch.undo()
    record["base_model_name_or_path"] = str(random_gemma)
    (moved / "adapter_config.json").write_text(json.dumps(record))
    with pytest.raises(BadInput, match="was trained on"):
        opened({"m": str(moved)})


def test_the_real_words_are_played(shared_data, tmp_path):
    """Through the command, twice, sharing passes differently: the same games."""
    for concurrency in (16, 3):
        result = generate(
            GenerateConfig(
                backend="local",
                model="tiny",
                instances=str(shared_data / "taboo" / "instances.json"),
                games_per_guesser=12,
                max_turns=2,
                describer_max_output_tokens=10,
                guesser_max_output_tokens=8,
                concurrency=concurrency,
                output_dir=tmp_path / str(concurrency),
            )
        )
        assert result.finding().headline.startswith("12 games")
    one, other = (read_jsonl(tmp_path / name / "games.jsonl") for name in ("16", "3"))
    words = read_instances(shared_data / "taboo" / "instances.json").by_task
    assert {(g["experiment"], g["target_word"]) for g in one} <= {
        (i.experiment, i.target_word) for i in words.values()
    }
    assert len({g["experiment"] for g in one}) == 3
    assert all(g["outcome"] != "error" and g["usage"]["requests"] for g in one)
    keys = ("game_id", "outcome", "turns", "describer_messages", "guesser_messages", "usage")
    assert [[g[k] for k in keys] for g in one] == [[g[k] for k in keys] for g in other]
