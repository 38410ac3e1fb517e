"""Cells as tasks of a Ray cluster; its nodes are processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rl4lms.errors import ConfigError
from rl4lms.grue.board import boards, read_cells
from rl4lms.grue.formats import all_rows
from rl4lms.grue.jobs import Job, run_jobs
from rl4lms.grue.store import Store
from tests.unit.grue.test_runner import QUICK
from tests.unit.tasks.full import skip_without

OUTLIVES = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "rl4lms.grue.with_parent", {parent}, "-c", {code!r}], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode().strip(), flush=True)
time.sleep(60)
"""


def _parent(parent: str) -> subprocess.Popen[str]:
    code = OUTLIVES.format(parent=parent, code="print('works', flush=True); import time; time.sleep(60)")
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_job_does_not_outlive_the_worker_that_started_it():
    parent = _parent("str(__import__('os').getpid())")
    assert parent.stdout is not None
    pid, said = parent.stdout.readline().split()
    assert said == "works"
    child = psutil.Process(int(pid))
    parent.kill()
    parent.wait()
    child.wait(timeout=20)  # raises where it goes on


def test_a_job_whose_worker_has_ended_does_not_begin():
    code = ["-m", "rl4lms.grue.with_parent", "1", "-c", "print('it began')"]
    ended = subprocess.run([sys.executable, *code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "process 1, which started this one, has ended" in ended.stderr
    assert ended.stdout == ""


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without CPUs, and two nodes of one CPU each, either of which may be lost."""
    pytest.importorskip("ray", reason="Ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def address(cluster: Any) -> str:
    """Return where the cluster is, by the name of this machine that tests may reach."""
    return f"127.0.0.1:{cluster.address.rpartition(':')[2]}"


def job(name: str, code: str, *after: str) -> Job:
    return Job(name, ["-c", code], after)


def quiet() -> Any:
    return contextlib.nullcontext(lambda jobs: None)


@pytest.mark.slow
def test_order_failures_environment_and_limit(cluster, tmp_path, monkeypatch):
    from rl4lms.grue.ray_tasks import RayTasks

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RL4LMS_SOMETHING", "passed on")
    code = (
        "import os, pathlib, time\n"
        "mine = pathlib.Path(f'running-{os.getpid()}'); mine.touch(); time.sleep(1.5)\n"  # relative: the folder is ours
        "print(len(list(pathlib.Path().glob('running-*'))), os.environ['OMP_NUM_THREADS'], os.environ['RL4LMS_SOMETHING'])\n"
        "mine.unlink()"
    )
    jobs = [
        job("bad", "import sys; print('what went wrong'); sys.exit(3)"),
        job("never", "", "bad"),
        job("last", "open('order', 'a').write('2')", "first"),
        job("first", "open('order', 'a').write('1')"),
        *(job(name, code) for name in "abc"),
    ]
    ended = []
    with RayTasks(tmp_path, 1, address(cluster)) as tasks:
        assert tasks.at_once == 1
        run_jobs(
            jobs,
            tmp_path / "logs",
            executor=tasks,
            show=quiet(),
            keep_going=True,
            finished=lambda j: ended.append(j.name),
        )
    assert [j.state for j in jobs] == ["failed", "skipped", *["done"] * 5], [j.error for j in jobs]
    assert "bad failed with exit code 3; the end of" in jobs[0].error
    assert "what went wrong" in jobs[0].error
    assert (tmp_path / "order").read_text() == "12"
    assert [(tmp_path / "logs" / f"{name}.log").read_text().strip() for name in "abc"] == ["1 1 passed on"] * 3
    assert set(ended) == {"first", "last", "a", "b", "c"}
    with RayTasks(tmp_path, None, address(cluster)) as tasks:
        assert tasks.at_once == 2
        jobs = [job(name, code) for name in "abc"]
        run_jobs(jobs, tmp_path / "logs", executor=tasks, show=quiet())
    together = [int((tmp_path / "logs" / f"{name}.log").read_text().split()[0]) for name in "abc"]
    assert max(together) == 2  # at a time


@pytest.mark.slow
def test_a_job_whose_worker_is_killed_is_run_again(cluster, tmp_path):
    from rl4lms.grue.ray_tasks import RayTasks

    code = (
        "import os, time\n"
        f"path = r'{tmp_path / 'attempts'}'\n"
        "open(path, 'a').write(f'{os.getpid()}\\n')\n"
        "print('attempt', len(open(path).readlines()), flush=True)\n"
        "time.sleep(300 if len(open(path).readlines()) == 1 else 0)"
    )
    killed = []

    def show(seen: list[Job]) -> None:
        if not killed and (tmp_path / "attempts").is_file() and (tmp_path / "attempts").read_text().endswith("\n"):
            command = psutil.Process(int((tmp_path / "attempts").read_text()))
            command.parent().send_signal(signal.SIGKILL)
            killed.append(command)

    jobs = [job("one", code), job("two", "", "one")]
    with RayTasks(tmp_path, None, address(cluster)) as tasks:
        run_jobs(jobs, tmp_path / "logs", executor=tasks, show=contextlib.nullcontext(show))
    assert [j.state for j in jobs] == ["done", "done"], [j.error for j in jobs]
    assert len((tmp_path / "attempts").read_text().splitlines()) == 2
    assert not killed[0].is_running()  # the first attempt does not go on beside the second
    assert (tmp_path / "logs" / "one.log").read_text() == "attempt 1\nattempt 2\n"


@pytest.mark.slow
def test_an_interrupt_ends_what_runs(cluster, tmp_path):
    from rl4lms.grue.ray_tasks import RayTasks

    code = "import os, time; open(r'{}', 'w').write(str(os.getpid())); time.sleep(300)"
    jobs = [job(name, code.format(tmp_path / name)) for name in "ab"] + [job("waits", "", "a")]

    def show(seen: list[Job]) -> None:
        if all((tmp_path / name).is_file() and (tmp_path / name).read_text() for name in "ab"):
            raise KeyboardInterrupt

    with RayTasks(tmp_path, None, address(cluster)) as tasks, pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, tmp_path / "logs", executor=tasks, show=contextlib.nullcontext(show))
    assert not [name for name in "ab" if psutil.pid_exists(int((tmp_path / name).read_text()))]
    assert jobs[2].state == "waiting"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount something over a folder")
def test_a_node_that_does_not_see_the_folder(cluster, tmp_path):
    from rl4lms.grue.ray_tasks import RayTasks

    join = f"{sys.executable} -m ray.scripts.scripts start --address {cluster.address} --num-cpus 1 --block"
    hide = f"mount -t tmpfs none {tmp_path}"  # in a mount namespace of its own: other storage at the same place
    other = subprocess.Popen(["unshare", "--mount", "sh", "-c", f"{hide} && exec {join}"], stdout=subprocess.DEVNULL)
    try:
        import ray

        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        before = len(cluster.list_all_nodes())
        while len(ray.nodes()) == before:
            assert other.poll() is None
            time.sleep(0.2)
        ray.shutdown()
        with (
            pytest.raises(
                ConfigError, match=rf"node \S+ does not see {tmp_path}; the folder of a grid and the current"
            ),
            RayTasks(tmp_path, None, address(cluster)),
        ):
            pass
    finally:
        other.terminate()
        other.wait()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_cluster_that_is_not_there(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    from rl4lms.grue.ray_tasks import RayTasks

    for place in ("127.0.0.1:1", "nonsense:x", "auto"):
        with (
            pytest.raises(ConfigError, match=f"--ray-address {place}: no Ray cluster can be used there"),
            RayTasks(tmp_path, 1, place),
        ):
            pass


def start(folder: Path, model: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rl4lms", "grue", "run", "--output", str(folder), "--model", str(model), *QUICK]
    return subprocess.Popen([*command, *options])


def _command_of(cell: Path) -> psutil.Process:
    """Return the process that runs a cell."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:] == ["-m", "rl4lms.grue.cell", str(cell)]:
                return process
    raise AssertionError(f"nothing runs {cell}")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lost", ["worker", "node"])
def test_a_grid_that_loses_a_worker_or_a_node_comes_to_the_same_table(cluster, tmp_path, test_data, lost):
    model = test_data / "stories260K-hf"
    skip_without(model)
    whole = start(tmp_path / "processes", model)
    assert whole.wait() == 0
    grid = start(tmp_path / "ray", model, "--executor", "ray", "--ray-address", cluster.address)
    cell = tmp_path / "ray/cells/commongen/supervised+nlpo/seed-0"
    while not list((cell / "run").glob("checkpoints/step-*2")) and grid.poll() is None:
        time.sleep(0.05)
    command = _command_of(cell)
    worker = command.parent()
    assert worker is not None
    if lost == "worker":
        worker.send_signal(signal.SIGKILL)
    else:
        raylet = worker.parent()
        assert raylet is not None
        node = next(n for n in cluster.list_all_nodes() if n.all_processes["raylet"][0].process.pid == raylet.pid)
        cluster.remove_node(node, allow_graceful=False)
    command.wait(timeout=30)
    assert not (cell / "results.json").exists()
    assert grid.wait() == 0
    ours, theirs = (
        {(r.system, r.decoding): r.metrics for _, r in read_cells(tmp_path / name)} for name in ("ray", "processes")
    )
    assert len(ours) == 6
    assert ours == theirs
    for decoding in ("own", "shared"):
        one, other = (all_rows([], boards(tmp_path / name, decoding)) for name in ("ray", "processes"))
        assert one == other
    assert {r.system: r.cost.attempts for _, r in read_cells(tmp_path / "ray")}["supervised+nlpo"] == 2
    store = Store(tmp_path / "ray/results.sqlite")
    assert len(store.results()) == 6
    store.close()
