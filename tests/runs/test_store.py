"""Output folders: whole or not there, never another run's, never somebody's files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr

from whence.errors import BadInput
from whence.runs.config import Config, OutputConfig
from whence.runs.jsonfile import read_json
from whence.runs.record import read_record
from whence.runs.store import Run, open_run


class Adapter(Config):
    not_identity: ClassVar[frozenset[str]] = frozenset({"threads"})
    rank: int = 16
    threads: int = 1


class Settings(OutputConfig):
    not_identity: ClassVar[frozenset[str]] = frozenset({"device"})
    k: int = 3
    device: str = "cpu"
    token: SecretStr | None = None
    adapter: Adapter = Field(default_factory=Adapter)


def run_once(config: Settings, *, inputs: dict | None = None, text: str = "result") -> Run:
    """Write one file and a nested one, as a command would."""
    with open_run(
        config.output_dir,
        command="data toy",
        config=config,
        inputs=inputs,
        overwrite=config.overwrite,
        seeds=[7],
    ) as run:
        if not run.done:
            (run.folder / "sub").mkdir(exist_ok=True)
            (run.folder / "a.txt").write_text(f"{text} {config.k}")
            (run.folder / "sub" / "b.txt").write_text(text)
            (run.scratch / "shard").write_text("1")
    return run


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_run_is_published_whole_and_described(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("{}")
    out = tmp_path / "runs" / "toy"
    run_once(
        Settings(output_dir=out, token="hf_secret"),
        inputs={"rows": source, "model": "gpt2@main", "adapter": None},
    )
    assert names(tmp_path) == ["rows.jsonl", *(f"runs/toy/{n}" for n in names(out))]
    assert names(out) == ["a.txt", "sub/b.txt", "whence.json"]
    record = read_json(out / "whence.json")
    assert record["command"] == "data toy"
    assert record["status"] == "done"
    assert record["config"]["k"] == 3
    assert record["config"]["adapter"] == {"rank": 16, "threads": 1}
    assert record["inputs"]["rows"]["path"] == str(source)
    assert record["inputs"]["model"] == {"value": "gpt2@main"}
    assert record["seeds"] == [7]
    assert record["versions"]["torch"]
    assert record["outputs"]["sub/b.txt"]["bytes"] == len("result")
    assert record["peak_memory_bytes"] > 2**20
    assert 0 <= record["seconds"] < 60
    assert "secret" not in (out / "whence.json").read_text()


def test_the_record_names_no_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_tell")
    run_once(Settings(output_dir=tmp_path / "o"))
    assert "hf_do_not_tell" not in (tmp_path / "o" / "whence.json").read_text()


def test_the_same_run_is_done_already(tmp_path: Path) -> None:
    out = tmp_path / "o"
    run_once(Settings(output_dir=out))
    before = (out / "whence.json").read_bytes()
    again = run_once(
        Settings(output_dir=out, device="cuda", adapter=Adapter(threads=8)), text="never written"
    )
    assert again.done
    assert again.folder == out
    assert (out / "whence.json").read_bytes() == before
    assert names(tmp_path) == [f"o/{n}" for n in names(out)]


def test_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    out = tmp_path / "o"
    source = tmp_path / "rows"
    source.write_text("1")
    run_once(Settings(output_dir=out), inputs={"rows": source})
    with pytest.raises(BadInput, match=r"adapter\.rank: 16 → 8; k: 3 → 5; use --overwrite, or"):
        run_once(Settings(output_dir=out, k=5, adapter=Adapter(rank=8)), inputs={"rows": source})
    source.write_text("2")
    with pytest.raises(BadInput, match=r"input rows: .*rows \(6b86b273\) → .*rows \(d4735e3a\)"):
        run_once(Settings(output_dir=out), inputs={"rows": source})
    assert (out / "a.txt").read_text() == "result 3"


def test_overwriting_replaces_what_whence_made_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "o"
    run_once(Settings(output_dir=out))
    (out / "notes.md").write_text("mine")
    (out / "sub" / "more.md").write_text("mine too")
    config = Settings(output_dir=out, k=9, overwrite=True)
    with open_run(out, command="data toy", config=config, overwrite=True) as run:
        (run.folder / "a.txt").write_text("second")
    assert names(out) == ["a.txt", "notes.md", "sub/more.md", "whence.json"]
    assert (out / "a.txt").read_text() == "second"
    assert list(read_json(out / "whence.json")["outputs"]) == ["a.txt"]


def test_a_file_that_whence_did_not_make_is_never_written_over(tmp_path: Path) -> None:
    out = tmp_path / "o"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "b.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"o/sub/b\.txt is in the way and was not made by whence"):
        run_once(Settings(output_dir=out))
    assert (out / "sub" / "b.txt").read_text() == "mine"
    (out / "sub" / "b.txt").rename(out / "sub" / "moved.txt")
    assert run_once(Settings(output_dir=out)).resumed
    assert names(out) == ["a.txt", "sub/b.txt", "sub/moved.txt", "whence.json"]


def test_an_edited_output_is_noticed_and_a_lost_one_made_again(tmp_path: Path) -> None:
    out = tmp_path / "o"
    run_once(Settings(output_dir=out))
    (out / "a.txt").write_text("edited")
    with pytest.raises(BadInput, match=r"a\.txt was changed after it was made"):
        run_once(Settings(output_dir=out))
    (out / "a.txt").unlink()
    assert not run_once(Settings(output_dir=out)).done
    assert (out / "a.txt").read_text() == "result 3"
    assert run_once(Settings(output_dir=out)).done


def fail(config: Settings, error: BaseException) -> None:
    def work() -> None:
        with open_run(config.output_dir, command="data toy", config=config) as run:
            (run.folder / "shard").write_text("half of the work")
            raise error

    with pytest.raises(type(error)):
        work()


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("no space\nleft"), "failed"), (KeyboardInterrupt(), "interrupted")],
)
def test_a_failed_run_is_kept_and_continued(
    tmp_path: Path, error: BaseException, status: str
) -> None:
    config = Settings(output_dir=tmp_path / "o")
    fail(config, error)
    assert names(tmp_path) == ["o.partial/shard", "o.partial/whence.json"]
    record = read_record(tmp_path / "o.partial")
    assert record is not None
    assert record.status == status
    with open_run(config.output_dir, command="data toy", config=config) as run:
        assert run.resumed
        assert (run.folder / "shard").read_text() == "half of the work"
    assert read_json(tmp_path / "o" / "whence.json")["attempts"] == 2


def test_unfinished_work_of_another_run_is_refused_or_discarded(tmp_path: Path) -> None:
    out = tmp_path / "o"
    fail(Settings(output_dir=out), RuntimeError("x"))
    with pytest.raises(BadInput, match=r"o\.partial holds an unfinished run: k: 3 → 4"):
        run_once(Settings(output_dir=out, k=4))
    assert (tmp_path / "o.partial" / "shard").exists()
    run_once(Settings(output_dir=out, k=4, overwrite=True))
    assert names(out) == ["a.txt", "sub/b.txt", "whence.json"]


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    fail(Settings(output_dir=tmp_path / "new" / "o"), BadInput("row 3 has no prompt"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="no such file or folder"):
        run_once(Settings(output_dir=tmp_path / "o"), inputs={"rows": tmp_path / "absent"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_or_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file, a folder was expected"):
        run_once(Settings(output_dir=tmp_path / "file"))
    with pytest.raises(BadInput, match="cannot be written"):
        run_once(Settings(output_dir=tmp_path / "file" / "o"))


def test_a_partial_folder_without_record_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "o.partial").mkdir()
    (tmp_path / "o.partial" / "mine").write_text("x")
    with pytest.raises(BadInput, match="it has no record"):
        run_once(Settings(output_dir=tmp_path / "o"))
    assert (tmp_path / "o.partial" / "mine").exists()


def test_a_broken_record_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "whence.json").write_text(json.dumps(["not", "a", "record"]))
    with pytest.raises(BadInput, match="not a record of a whence run"):
        run_once(Settings(output_dir=tmp_path / "o"))


HOLDER = """
import sys, time
from pathlib import Path
from whence.runs.config import OutputConfig
from whence.runs.store import open_run
config = OutputConfig(output_dir=Path(sys.argv[1]))
with open_run(config.output_dir, command="hold", config=config):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_and_the_lock_dies_with_the_first(tmp_path: Path) -> None:
    out = tmp_path / "o"
    command = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        message = rf"another whence process \(pid {holder.pid}\) is writing here"
        for _ in range(2):  # asking must not loosen it
            with pytest.raises(BadInput, match=message):
                run_once(Settings(output_dir=out))
        holder.kill()
    started = time.monotonic()
    run_once(Settings(output_dir=out))
    assert time.monotonic() - started < 2
    assert names(tmp_path) == [f"o/{n}" for n in names(out)]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where no file can be")
def test_a_place_where_nothing_can_be_made_is_said_to_be_one() -> None:
    with pytest.raises(BadInput, match="no file can be made in /proc"):
        run_once(Settings(output_dir=Path("/proc/whence-test")))
