"""Jobs as tasks of a Ray cluster, one CPU each: the same commands as in processes, on nodes that share the folder.

A task whose worker or node is lost is run again by Ray, and a cell goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError
from rl4lms.grue.executors import Process, Running
from rl4lms.plugins.packages import of_extra

_RETRIES = 3  # of a task whose worker or node was lost; one that failed by itself is not run again
_POLL_S = 0.25
_ANSWER_S = 120  # a node starts a worker for the first task on it
_CONNECT_S = 10
_PASSED_ON = ("RL4LMS_", "HF_")  # variables of the driver that jobs get, too
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # the second: GPUs stay visible


class RayTasks:
    """Runs commands as tasks of a Ray cluster. Use as a context manager: what it starts is stopped with it.

    Args:
        folder: of the grid; every node that runs jobs must see it, and the current folder.
        at_once: how many together; None for as many as the cluster has CPUs.
        address: of a cluster (`auto` for the one of this machine); None for that of RAY_ADDRESS, or for one of this
            machine alone that is started now.

    Raises:
        ConfigError: there is no cluster at the address, it has no CPU, or a node does not see the folder.
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, folder: Path, at_once: int | None = None, address: str | None = None) -> None:
        if sys.platform != "linux":
            raise ConfigError("--executor ray: it runs on Linux only; leave it out, for processes of this machine")
        self._folder, self._wanted = folder.resolve(), at_once
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        os.environ.update(_SETTINGS)  # which Ray reads when it is imported or started
        self._ray = of_extra("ray")

    def __enter__(self) -> RayTasks:
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        if self._address == "local":
            quiet["include_dashboard"] = False
        self._check_address()
        try:
            self._ray.init(address=self._address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:  # none there, or of another version of Ray
            raise ConfigError(f"--ray-address {self._address}: no Ray cluster can be used there: {error}") from error
        try:
            self._check_nodes()
        except BaseException:  # nobody would stop it: `__exit__` is not called
            self._ray.shutdown()
            raise
        self._task = self._ray.remote(num_cpus=1, max_retries=_RETRIES)(_run)
        return self

    def __exit__(self, *exc: object) -> None:
        self._ray.shutdown()

    @property
    def at_once(self) -> int:
        """How many tasks may run together: what was asked for, or the CPUs that the cluster has now."""
        return self._wanted or max(1, int(self._ray.cluster_resources().get("CPU", 0)))

    def start(self, arguments: Sequence[str], log: Path) -> Running:
        """Hand a command to the cluster."""
        log.write_bytes(b"")  # a task that is run again adds to it
        passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        return _Task(self._ray, self._task.remote(list(arguments), str(log.resolve()), os.getcwd(), passed))

    def _check_address(self) -> None:
        """Refuse an address at which nothing answers, which Ray would try for minutes."""
        host, _, port = self._address.rpartition(":")
        if "://" in self._address:
            raise ConfigError(f"--ray-address {self._address}: give host:port of the head node, as ray start prints it")
        if not host:  # `auto`, `local`
            return
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise ConfigError(f"--ray-address {self._address}: no Ray cluster can be used there: {error}") from error

    def _check_nodes(self) -> None:
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        if not nodes:
            raise ConfigError(f"--ray-address {self._address}: no node of the cluster has a CPU to run jobs on")
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = self._ray.remote(num_cpus=0, max_retries=0)(_missing)
        mark = self._folder / f".seen-{uuid.uuid4().hex}"  # another folder of the same name has it not
        mark.touch()
        try:
            asked = {
                look.options(scheduling_strategy=strategy(node["NodeID"], soft=False)).remote(
                    [str(mark), os.getcwd()]
                ): f"node {node['NodeManagerAddress']}"
                for node in nodes
            }
            self._ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S)
            for answer, node in asked.items():
                try:
                    missing = self._ray.get(answer, timeout=0)
                except self._ray.exceptions.RayError as error:  # no answer, or no rl4lms there
                    raise ConfigError(f"--executor ray: {node} cannot run jobs: {_last_line(error)}") from error
                if missing:
                    place = self._folder if missing == str(mark) else missing
                    raise ConfigError(
                        f"--executor ray: {node} does not see {place}; the folder of a grid and the current folder "
                        "must be on storage that all nodes share, under the same path"
                    )
        finally:
            mark.unlink()


class _Task:
    """A task of the cluster."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def poll(self) -> str | None:
        if not self._ray.wait([self._reference], timeout=0)[0]:
            return None
        try:
            ended: str = self._ray.get(self._reference)
        except self._ray.exceptions.RayError as error:  # its workers were lost too often, or it could not be started
            return f"in Ray: {_last_line(error)}"
        return ended

    def stop(self) -> None:
        self._ray.cancel(self._reference)  # a KeyboardInterrupt in `_run`

    def wait(self) -> None:
        self._ray.wait([self._reference])


def _run(arguments: Sequence[str], log: str, folder: str, environment: Mapping[str, str]) -> str:
    """Run a command on a node; return what `Running.poll` does."""
    command = ["-m", "rl4lms.grue.with_parent", str(os.getpid()), *arguments]
    with Path(log).open("ab") as file:
        process = Process(command, file, dict(environment), Path(folder))
        try:
            while (ended := process.poll()) is None:
                time.sleep(_POLL_S)  # not a wait, which a cancellation would not end
            return ended
        finally:
            process.stop()
            process.wait()


def _missing(paths: Sequence[str]) -> str:
    """Return the first path that this node does not see, or nothing."""
    return next((path for path in paths if not Path(path).exists()), "")


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip() if lines else ''}"
