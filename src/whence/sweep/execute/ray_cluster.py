"""Tasks on a Ray cluster: one that runs, or one that is started here. Ray places them; the driver
counts attempts, and files are the truth, so Ray itself may lose anything at any time."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.errors import BadInput, WhenceError
from whence.sweep.execute.outcome import Failure, Outcome
from whence.sweep.execute.resources import GB, this_machine
from whence.sweep.execute.worker import began, here, run_task
from whence.sweep.tasks import Resources, Task

INSTALL = "uv sync --extra ray (or uv pip install 'whence[ray]')"
NODE = " node "
"""Before the node's id in `Outcome.where`."""
QUEUED = 2
"""Tasks of one kind of needs given to Ray beyond those that can run, so that no node waits for the
driver, and 100,000 do not flood it."""
NODES_SECONDS = 2.0
"""How long the list of nodes is good for."""
SEE_SECONDS = 30.0
"""How long a network file system may take to show a new file on a node."""
ANSWER_SECONDS = 120.0
"""How long a node may take to start its first worker."""
CONNECT_SECONDS = 10.0
LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 100 * 2**20
"""For a cluster started here: results are a few hundred bytes, and the least is 75 MB."""


@dataclass(frozen=True)
class _Node:
    id: str
    host: str
    cpus: float
    gpus: float
    memory: float

    def holds(self, needs: Resources) -> bool:
        """A task that asks for more cores than any node has takes a whole one: cores are not asked
        here."""
        memory = (needs.memory_gb or 0.0) * GB
        return self.cpus > 0 and self.gpus >= needs.gpus and self.memory >= memory


class RayExecutor:
    """A connection to a cluster, for one driver.

    address: as `ray.init` takes it; None starts a cluster on this machine, bound to loopback, that
    ends with this process. workers: most tasks at once. Raises BadInput where Ray is not installed,
    no cluster answers, a node does not see `home`, or no node can hold a task.
    """

    def __init__(
        self,
        home: Path,
        tasks: Sequence[Task],
        address: str | None = None,
        workers: int | None = None,
    ) -> None:
        need_ray()
        self.home, self.workers = home, workers
        self._running: dict[Any, tuple[Task, int, float]] = {}
        self._counts: dict[Resources, int] = {}
        self._paths = [os.path.abspath(path) for path in sys.path]
        self._nodes_at = -math.inf
        self._nodes: list[_Node] = []
        _connect(address)
        import ray

        # Retrying is the driver's: it must count, and log, every attempt.
        self._remote = ray.remote(max_retries=0, retry_exceptions=False)(_on_node)
        try:
            self._check_nodes(home)
            self._check_fits(tasks)
        except BaseException:
            ray.shutdown()
            raise

    def free(self, needs: Resources) -> bool:
        if self.workers is not None and len(self._running) >= self.workers:
            return False
        return self._counts.get(needs, 0) < self.at_once(needs) + QUEUED

    def at_once(self, needs: Resources) -> float:
        nodes = [node for node in self.nodes() if node.holds(needs)]
        count = 0
        for node in nodes:
            most = node.cpus / min(needs.cpus, node.cpus)
            if needs.gpus:
                most = min(most, node.gpus / needs.gpus)
            if needs.memory_gb:
                most = min(most, node.memory / (needs.memory_gb * GB))
            count += int(most + 1e-9)
        return float(max(1, min(count, self.workers or count)))

    def submit(self, task: Task, attempt: int, avoid: str | None) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        needs = task.resources
        options: dict[str, Any] = {
            "num_cpus": _whole_above_one(min(needs.cpus, self._most_cpus(needs))),
            "num_gpus": _whole_above_one(needs.gpus),
            "name": task.label,
        }
        if needs.memory_gb:
            options["memory"] = int(needs.memory_gb * GB)
        other = self._other_node(needs, avoid)
        if other is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(other, soft=True)
        reference = self._remote.options(**options).remote(
            task, str(self.home), attempt, self._paths
        )
        self._running[reference] = (task, attempt, time.monotonic())
        self._counts[needs] = self._counts.get(needs, 0) + 1

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        import ray

        if not self._running:
            time.sleep(seconds)
            return []
        ready, rest = ray.wait(list(self._running), num_returns=1, timeout=seconds)
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return [self._collect(reference) for reference in ready]

    def note(self) -> str | None:
        for task, _, _ in self._running.values():
            if not any(node.holds(task.resources) for node in self.nodes()):
                return f"no node can hold {task.label} now; it waits for one"
        return None

    def interrupt(self) -> None:
        import ray

        for reference in self._running:
            ray.cancel(reference, force=False)

    def close(self) -> None:
        import ray

        ray.shutdown()  # ends this driver's workers, wherever they are

    def nodes(self) -> list[_Node]:
        """Those alive, asked every few seconds."""
        import ray

        if time.monotonic() - self._nodes_at > NODES_SECONDS:
            self._nodes = [_node(told) for told in ray.nodes() if told["Alive"]]
            self._nodes_at = time.monotonic()
        return self._nodes

    def _collect(self, reference: Any) -> tuple[str, Outcome]:
        import ray
        from ray.exceptions import RayError, RayTaskError

        task, attempt, since = self._running.pop(reference)
        self._counts[task.resources] -= 1
        try:
            return task.id, ray.get(reference)
        except RayTaskError as error:
            # run_task answers whatever a task raises: this node could not even call it.
            seconds = time.monotonic() - since
            told = " ".join(str(error).split())[-300:]
            return task.id, Outcome(round(seconds, 4), here(), "error", told)
        except (RayError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) and not _is_remote(error):
                raise
            return task.id, self._death(task, attempt, time.monotonic() - since, error)

    def _death(self, task: Task, attempt: int, seconds: float, error: BaseException) -> Outcome:
        """A worker or its node is gone. It is not the task's fault where it never began, or where
        the whole node went."""
        from ray.exceptions import NodeDiedError

        where = began(self.home, task.id, attempt)
        node = _node_in(where)
        self._nodes_at = -math.inf
        gone = isinstance(error, NodeDiedError) or (
            node is not None and node not in {each.id for each in self.nodes()}
        )
        failure: Failure = "died" if where and not gone else "lost"
        told = "its node went" if gone else f"its worker ended ({type(error).__name__})"
        return Outcome(
            seconds=round(seconds, 4),
            where=where or "unknown",
            failure=failure,
            error=told if where else f"{told} before the task began",
        )

    def _most_cpus(self, needs: Resources) -> float:
        return max((node.cpus for node in self.nodes() if node.holds(needs)), default=1.0)

    def _other_node(self, needs: Resources, avoid: str | None) -> str | None:
        """A node other than that of the last failure, the least used first; None where there is
        none, or nothing to avoid."""
        node = _node_in(avoid)
        if node is None:
            return None
        others = [each for each in self.nodes() if each.id != node and each.holds(needs)]
        return max(others, key=lambda each: each.cpus).id if others else None

    def _check_fits(self, tasks: Sequence[Task]) -> None:
        for needs, task in {task.resources: task for task in tasks}.items():
            if not any(node.holds(needs) for node in self.nodes()):
                raise BadInput(
                    f"task {task.label} needs {needs.gpus:g} GPUs and {needs.memory_gb or 0:g} GB, "
                    "and no node of the cluster has that; --gpus-per-task changes it"
                )

    def _check_nodes(self, home: Path) -> None:
        """Have every node look for a file that was just made in the sweep's folder."""
        import ray
        from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        sign = home / f".tmp-seen-{uuid.uuid4().hex}"
        sign.touch()
        try:
            look = ray.remote(num_cpus=0, max_retries=1)(_sees)
            asked = {
                node: look.options(
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
                ).remote(str(sign))
                for node in self.nodes()
                if node.cpus > 0
            }
            for node, answer in asked.items():
                try:
                    seen = ray.get(answer, timeout=ANSWER_SECONDS)
                except (TaskUnschedulableError, NodeDiedError):
                    continue  # it died a moment ago, and the cluster has just noticed
                except RayError as error:
                    why = " ".join(str(error).split())[-300:]
                    raise BadInput(f"node {node.host} cannot run whence's tasks: {why}") from None
                if not seen:
                    raise BadInput(
                        f"node {node.host} does not see {home}, or may not write there; put the "
                        "sweep on a file system that all nodes share, under one path"
                    )
        finally:
            sign.unlink(missing_ok=True)


def need_ray() -> None:
    """Raise BadInput where Ray is not installed; imports nothing."""
    if importlib.util.find_spec("ray") is None:
        raise BadInput(f"--executor ray needs Ray: {INSTALL}")


def _connect(address: str | None) -> None:
    """Raises BadInput where no cluster answers."""
    host = address.rpartition(":")[0] if address else LOOPBACK
    # Read when Ray is imported. Without the second, a driver under `uv run` would have every worker
    # install the project anew; without the third, Ray takes loopback for the machine's outer
    # address, listens there and looks for clusters there.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if host in (LOOPBACK, "localhost"):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    # Tables of a dead node's innards, from a thread of Ray's; what matters is in the registry.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        raise WhenceError("this process is connected to Ray already; ray.shutdown() first")
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "configure_logging": False,
        "include_dashboard": False if address is None else None,
    }
    if address is None:
        machine = this_machine()
        try:
            ray.init(
                "local",
                num_cpus=machine.cores,
                num_gpus=len(machine.gpus),
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address=LOOPBACK,
                **quiet,
            )
        except Exception as error:  # Ray has none of its own for a start that took too long
            raise WhenceError(
                f"Ray did not start here ({next(iter(str(error).splitlines()), '')}); it gives "
                "itself 15 seconds, which a busy machine needs longer than: try again, or "
                "--executor local"
            ) from error
        return
    _check_answers(address)
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = next(iter(str(error).splitlines()), "")
        raise BadInput(f"--address {address}: no Ray cluster answers ({said})") from None


def _check_answers(address: str) -> None:
    """Raises BadInput where nothing listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return  # auto, ray://…: Ray knows what it means
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise BadInput(
            f"--address {address}: no Ray cluster answers ({error.strerror or error}); "
            "`ray start --head` starts one and says its address"
        ) from None


def _on_node(task: Task, home: str, attempt: int, paths: Sequence[str]) -> Outcome:
    """What runs in a Ray worker. paths: where the driver finds modules; Ray itself hands on only
    the folder of its script."""
    import ray

    sys.path += [path for path in paths if path not in sys.path and os.path.isdir(path)]
    node = ray.get_runtime_context().get_node_id()
    return run_task(task, Path(home), attempt, f"{here()}{NODE}{node}")


def _sees(sign: str) -> bool:
    """Whether this node sees the file, and may write beside it."""
    path, end = Path(sign), time.monotonic() + SEE_SECONDS
    while not path.exists():
        if time.monotonic() > end:
            return False
        with suppress(OSError):
            os.listdir(path.parent)  # asks the server again, where a client remembers folders
        time.sleep(0.5)
    return os.access(path.parent, os.W_OK)


def _node(told: Mapping[str, Any]) -> _Node:
    has = told["Resources"]
    return _Node(
        id=told["NodeID"],
        host=told.get("NodeManagerHostname") or socket.gethostname(),
        cpus=float(has.get("CPU", 0.0)),
        gpus=float(has.get("GPU", 0.0)),
        memory=float(has.get("memory", 0.0)),
    )


def _node_in(where: str | None) -> str | None:
    return where.rpartition(NODE)[2] if where and NODE in where else None


def _whole_above_one(amount: float) -> float:
    """Ray takes parts of one, and whole ones."""
    return amount if amount <= 1 else float(math.ceil(amount))


def _is_remote(error: KeyboardInterrupt) -> bool:
    """Whether it came from a task, as Ray hands on what a cancelled one raised."""
    return type(error) is not KeyboardInterrupt
