"""`whence sweep run --executor ray` on a cluster of two nodes on loopback, one of which dies."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweep_toy import answers, counted, driver, planned, toy_task, wait_for

from whence.errors import BadInput
from whence.sweep.execute.ray_cluster import need_ray
from whence.sweep.execute.registry import read_registry
from whence.sweep.execute.worker import began
from whence.sweep.run import RunConfig, run_sweep

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray here")
LOOPBACK = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """(cluster, its second node), with a core each."""
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    # Short, because names of sockets may have 107 characters.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    cluster = None
    for attempt in range(3):
        try:
            head = {
                **NODE,
                "temp_dir": folder,
                "include_dashboard": False,
                # Ray asks nodes every 3 s whether they live; a test need not wait for five of them.
                "_system_config": {
                    "health_check_initial_delay_ms": 500,
                    "health_check_period_ms": 500,
                },
            }
            cluster = Cluster(initialize_head=True, head_node_args=head)
            yield cluster, cluster.add_node(**NODE)
            break
        except Exception as error:
            # Ray gives a node 15 s to start, and a busy machine may need more.
            if cluster is not None:
                cluster.shutdown()
                cluster = None
            if not isinstance(error, TimeoutError) and "timed out" not in str(error):
                raise
            if attempt == 2:
                pytest.skip(f"Ray did not start its own processes in its 15 s: {error}")
    assert cluster is not None
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def strike(node: Any) -> None:
    """SIGKILL to the node and to all that it started, as where a machine goes."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        os.kill(process.pid, signal.SIGKILL)


@needs_ray
def test_a_node_and_then_the_driver_die_and_nothing_is_lost_or_doubled(
    tmp_path: Path, two_nodes: tuple[Any, Any]
) -> None:
    cluster, second = two_nodes
    home, alone = tmp_path / "home", tmp_path / "alone"
    for folder in (home, alone):
        long = [toy_task(folder, n, seconds=3.0 if folder == home else 0.0) for n in range(2)]
        short = [toy_task(folder, n, seconds=0.1) for n in range(2, 16)]
        last = [toy_task(folder, 16, needs=[task.id for task in (*long, *short)])]
        planned(folder, [*long, *short, *last])

    def on_second() -> list[str]:
        return [name for name in ("t0", "t1") if second.node_id in str(began(home, name, 1))]

    def done() -> int:
        return sum(state.state == "done" for state in read_registry(home).values())

    first = driver(home, executor="ray", address=cluster.address)
    wait_for(lambda: on_second() or first.poll() is not None)
    if not on_second():
        pytest.fail(first.communicate()[1])
    (struck,) = on_second()
    strike(second)
    wait_for(lambda: read_registry(home)[struck].attempts == 2)
    wait_for(lambda: done() >= 5)
    first.kill()
    first.communicate()
    before = done()
    assert before < 17
    again = driver(home, executor="ray", address=cluster.address)
    said, complained = again.communicate(timeout=120)
    assert again.returncode == 0, complained
    assert "17 of 17 tasks done" in said
    states = read_registry(home)
    assert [event.state for event in states[struck].events][:2] == ["started", "died"]
    assert second.node_id in str(states[struck].events[1].where)
    assert second.node_id not in str(states[struck].where)
    for state in states.values():
        assert sum(event.state == "done" for event in state.events) == 1
    assert run_sweep(RunConfig(sweep=alone, workers=2)).done == 17
    assert answers(home) == answers(alone) == {f"t{n}": f"{2 * n}\n" for n in range(17)}
    # What was under way when the node and the driver died began a second time, nothing else.
    assert sum(counted(home).values()) <= 17 + 3
    assert not list(home.glob("**/*.partial"))


@needs_ray
def test_an_address_where_nothing_listens_is_refused_at_once(tmp_path: Path) -> None:
    home = planned(tmp_path, [toy_task(tmp_path, 0)])
    config = RunConfig(sweep=home, executor="ray", address="127.0.0.1:1")
    with pytest.raises(BadInput, match=r"--address 127.0.0.1:1: no Ray cluster answers"):
        run_sweep(config)


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="uv sync --extra ray"):
        need_ray()
