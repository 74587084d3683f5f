"""`whence sweep run` with worker processes of this machine: kills, failures, two drivers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from sweep_toy import answers, counted, driver, planned, toy_task, wait_for

from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json
from whence.sweep.execute.local import LocalExecutor
from whence.sweep.execute.registry import read_registry
from whence.sweep.execute.resources import Machine
from whence.sweep.layout import PLAN, log_file, plan_folder, registry_file
from whence.sweep.run import RunConfig, SweepResult, run_sweep
from whence.sweep.tasks import Resources


def run(home: Path, **flags: object) -> SweepResult:
    return run_sweep(RunConfig.model_validate({"sweep": home, "workers": 2, **flags}))


def done(home: Path) -> int:
    return sum(state.state == "done" for state in read_registry(home).values())


def test_every_way_to_end_is_written_down_and_no_work_is_doubled(tmp_path: Path) -> None:
    tasks = [
        toy_task(tmp_path, 0),
        toy_task(tmp_path, 1, needs=["t0"], kind="judge"),
        toy_task(tmp_path, 2, "die once"),
        toy_task(tmp_path, 3, "die"),
        toy_task(tmp_path, 4, "bad input"),
        toy_task(tmp_path, 5, "raise once"),
        toy_task(tmp_path, 6, needs=["t3"], kind="judge"),
        toy_task(tmp_path, 7, "fork and die"),
        toy_task(tmp_path, 8, needs=["t2", "t5"], kind="judge"),
    ]
    result = run(planned(tmp_path, tasks), continue_on_error=True)
    assert (result.tasks, result.done, result.ran) == (9, 6, 6)
    assert counted(tmp_path) == {0: 1, 1: 1, 2: 2, 3: 2, 4: 1, 5: 2, 7: 2, 8: 1}
    assert answers(tmp_path) == {f"t{n}": f"{2 * n}\n" for n in (0, 1, 2, 5, 7, 8)}
    states = read_registry(tmp_path)
    assert [states[f"t{n}"].state for n in range(9)] == [
        "done", "done", "done", "died", "failed", "done", "blocked", "done", "done",
    ]  # fmt: skip
    assert [event.state for event in states["t2"].events] == ["started", "died", "started", "done"]
    assert "SIGKILL" in str(states["t3"].error)
    assert states["t1"].headline == "twice 1 is 2"
    assert states["t6"].error == "needs n=3 die, which failed"
    assert "printed 2" in log_file(tmp_path, "t2", 1).read_text()
    finding = result.finding()
    assert finding.failed
    assert "6 of 9 tasks done" in finding.headline
    assert [row[0] for row in finding.rows] == ["n=3 die", "n=4 bad input"]
    assert [row[1] for row in finding.rows] == ["2", "1"]
    # No worker is left, nor what a dead one had started.
    ours = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info["cmdline"])]
    assert ours == []

    # Failed tasks are tried again by the next run, done ones are not.
    again = run(tmp_path, continue_on_error=True, retries=0)
    assert (again.done, again.ran) == (6, 0)
    assert counted(tmp_path)[3] == 3
    assert counted(tmp_path)[0] == 1
    assert read_registry(tmp_path)["t3"].attempts == 3


def test_the_first_failure_stops_the_rest_and_a_repair_goes_on(tmp_path: Path) -> None:
    tasks = [toy_task(tmp_path, 0, "raise once"), *(toy_task(tmp_path, n) for n in (1, 2))]
    result = run(planned(tmp_path, tasks), retries=0, workers=1)
    assert result.done == 0
    assert result.finding().failed
    result = run(tmp_path, retries=0)
    assert result.done == 3
    assert not result.finding().failed
    assert "3 of 3 tasks done (3 configurations)" in result.finding().headline
    events = registry_file(tmp_path).read_bytes()
    assert run(tmp_path).finding().headline.startswith("Already done: 3 of 3")
    assert registry_file(tmp_path).read_bytes() == events
    shutil.rmtree(tmp_path / "runs" / "t1")
    assert run(tmp_path).ran == 1
    assert len(answers(tmp_path)) == 3


def test_a_killed_driver_takes_its_workers_along_and_the_next_goes_on(tmp_path: Path) -> None:
    home, alone = tmp_path / "home", tmp_path / "alone"
    for folder in (home, alone):
        planned(folder, [toy_task(folder, n, seconds=0.4 * (n > 2)) for n in range(12)])
    first = driver(home, workers=2)
    wait_for(lambda: done(home) >= 3)
    named = rf"another driver \({os.uname().nodename} pid {first.pid}\) runs this sweep"
    with pytest.raises(BadInput, match=named):
        run(home)
    workers = psutil.Process(first.pid).children()
    assert len(workers) == 2
    first.kill()
    first.communicate()
    assert 3 <= done(home) < 12
    # Straight away: the workers of the dead one may still hold their folders.
    assert run(home).done == 12
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    run(alone)
    assert answers(home) == answers(alone) == {f"t{n}": f"{2 * n}\n" for n in range(12)}
    assert all(runs <= 2 for runs in counted(home).values())
    assert sum(counted(home).values()) <= 12 + 2
    assert not list(home.glob("**/*.partial"))
    assert not list(home.glob("**/*.lock"))


def test_ctrl_c_ends_the_workers_and_says_what_is_left(tmp_path: Path) -> None:
    planned(tmp_path, [toy_task(tmp_path, n, seconds=0.1 if n < 2 else 600) for n in range(5)])
    first = driver(tmp_path, workers=2)
    wait_for(lambda: done(tmp_path) == 2 and len(read_registry(tmp_path)) == 4)
    workers = psutil.Process(first.pid).children()
    time.sleep(0.3)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=30)
    assert first.returncode == 130
    assert "stopped: 3 of 5 tasks are left" in said
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    # An interrupted run puts away what it has; these two had nothing yet.
    assert not list(tmp_path.glob("runs/*.partial"))


def test_equal_tasks_of_two_stages_run_once_and_stages_can_be_chosen(tmp_path: Path) -> None:
    shared = toy_task(tmp_path, 0)
    planned(tmp_path, [shared, toy_task(tmp_path, 1, needs=["t0"])], "one", 1)
    planned(tmp_path, [shared, toy_task(tmp_path, 2, needs=["t0"])], "two", 2)
    assert run(tmp_path, stage="two").done == 2
    assert counted(tmp_path) == {0: 1, 2: 1}
    result = run(tmp_path)
    assert (result.tasks, result.done, result.ran, result.configurations) == (3, 3, 1, 4)
    assert counted(tmp_path) == {0: 1, 1: 1, 2: 1}
    with pytest.raises(BadInput, match=r"--stage tow: not planned.*did you mean two"):
        run(tmp_path, stage="tow")


def test_what_cannot_begin_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no plan in it"):
        run(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    assert run(planned(tmp_path / "empty", [])).done == 0
    with pytest.raises(BadInput, match="needs t9, which is not planned"):
        run(planned(tmp_path / "hole", [toy_task(tmp_path / "hole", 1, needs=["t9"])]))
    with pytest.raises(ValueError, match="address is a Ray cluster's"):
        run(tmp_path, address="auto")


def test_room_is_counted_in_cores_gpus_and_memory(tmp_path: Path) -> None:
    machine = Machine(cores=4, gpus=["0", "1"], memory_gb=10.0)
    tasks = [
        toy_task(tmp_path, n, resources=needs)
        for n, needs in enumerate(
            [Resources(2), Resources(1, gpus=0.5), Resources(1, gpus=1), Resources(1, memory_gb=8)]
        )
    ]
    local = LocalExecutor(tmp_path, tasks, machine=machine)
    assert [local.at_once(task.resources) for task in tasks] == [2, 4, 2, 1]
    assert local._devices(0.5) == "0"
    assert local._devices(2) == "0,1"
    assert local._devices(0) == ""
    with pytest.raises(BadInput, match="needs 3 GPUs and this machine has 2"):
        LocalExecutor(tmp_path, [toy_task(tmp_path, 9, resources=Resources(gpus=3))], None, machine)
    with pytest.raises(BadInput, match="needs 64 GB and this machine has 10"):
        LocalExecutor(
            tmp_path, [toy_task(tmp_path, 9, resources=Resources(memory_gb=64))], None, machine
        )


def test_tasks_see_the_threads_and_gpus_that_they_asked_for(tmp_path: Path) -> None:
    script = tmp_path / "sweep_seen.py"
    script.write_text(
        "import os\n"
        "def seen(config):\n"
        "    gpus = os.environ['CUDA_VISIBLE_DEVICES']\n"
        "    print('SEEN', os.environ['OMP_NUM_THREADS'], repr(gpus))\n"
    )
    needs = [Resources(2, gpus=0.5), Resources(2, gpus=0.5), Resources(1, gpus=1), Resources(1)]
    tasks = [
        toy_task(tmp_path, n, function="sweep_seen:seen", resources=each)
        for n, each in enumerate(needs)
    ]
    executor = LocalExecutor(tmp_path, tasks, 4, Machine(4, ["5", "7"], 100.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        for task in tasks:
            assert executor.free(task.resources)
            executor.submit(task, 1, None)
        assert not executor.free(Resources(1))
        ended: list[str] = []
        while len(ended) < 4:
            ended += [name for name, outcome in executor.wait(10) if outcome.ok]
        executor.close()
    logs = [log_file(tmp_path, f"t{n}", 1).read_text().splitlines() for n in range(4)]
    found = [line for log in logs for line in log if "SEEN" in line]
    assert found == ["SEEN 2 '5'", "SEEN 2 '5'", "SEEN 1 '7'", "SEEN 1 ''"]


def test_a_machine_without_room_for_a_worker_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    planned(tmp_path, [toy_task(tmp_path, 0)])
    monkeypatch.setattr(subprocess, "Popen", no_room)
    result = run(tmp_path)
    assert result.done == 0
    assert "no worker could be started" in result.failed[0].error
    monkeypatch.undo()
    assert run(tmp_path).done == 1


def test_a_sweep_that_was_moved_does_not_write_where_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run(planned(old, [toy_task(old, 0)]))
    shutil.move(old, new)
    assert run(new).done == 1  # what is finished needs no place
    shutil.rmtree(new / "runs/t0")
    with pytest.raises(BadInput, match=r"was planned at another place .*old/runs\); move it back"):
        run(new)
    assert not old.exists()
    link = tmp_path / "link"
    shutil.move(new, old)
    link.symlink_to(old)
    assert run(link).done == 1  # the same place by another name


def test_a_plan_or_a_result_that_is_broken_is_named_with_what_mends_it(tmp_path: Path) -> None:
    planned(tmp_path, [toy_task(tmp_path, n) for n in range(2)])
    run(tmp_path)
    record = tmp_path / "runs/t1/whence.json"
    record.write_text(record.read_text()[:50])
    with pytest.raises(BadInput, match=r"t1/whence.json: not JSON .*; delete the folder"):
        run(tmp_path)
    shutil.rmtree(record.parent)
    assert run(tmp_path).ran == 1
    facts = plan_folder(tmp_path, "one") / PLAN
    write_json(facts, {**read_json(facts), "tasks": 3})
    with pytest.raises(BadInput, match="holds 2 tasks and 3 were planned; plan the stage again"):
        run(tmp_path)
