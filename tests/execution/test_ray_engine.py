"""Tasks on Ray: on a cluster of several nodes on this machine, some of which are killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robbench.core.errors import RunError, UserError
from robbench.execution.driver import drive
from robbench.execution.engines import engine_for
from robbench.execution.ray_connect import ENVIRONMENT
from robbench.execution.task import Task

os.environ.update(ENVIRONMENT)
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("default")

TASKS = '''
import os, signal, sys, time
from pathlib import Path

def double(payload):
    return {"twice": 2 * payload["n"]}

def loud(payload):
    print("to stdout")
    os.write(2, b"from C\\n")
    raise ValueError("not this")

def begins(payload):
    """Writes where each of its tries begins, then works for some time."""
    node = __import__("ray").get_runtime_context().get_node_id()
    with open(payload["file"], "a") as file:
        file.write(node + "\\n")
    time.sleep(payload["seconds"])
    return {"node": node}

def dies_once(payload):
    place = Path(payload["file"])
    if not place.exists():
        place.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {}

def dies(payload):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def environment(payload):
    time.sleep(0.5)
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}

def waits(payload):
    """Writes its process, and the signals it gets; ends after the first."""
    place, got = Path(payload["file"]), []
    before = signal.signal(signal.SIGINT, lambda *_: got.append(1))
    from robbench.execution.progress import report
    report(0.5, "half")
    while not got:
        place.with_suffix(".new").write_text(str(os.getpid()))
        place.with_suffix(".new").replace(place)
        time.sleep(0.01)
    place.write_text("kept")
    signal.signal(signal.SIGINT, before)
    return {}
'''


@pytest.fixture(autouse=True)
def _tasks(tmp_path, monkeypatch):
    (tmp_path / "far_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)


def task(name, function, cpus=1, gpus=0.0, **payload):
    return Task(id=name, call=f"far_tasks:{function}", payload=payload, cpus=cpus, gpus=gpus)


def ran(engine, *tasks, **more):
    return {outcome.task: outcome for outcome in drive(tasks, engine, **more)}


def until(condition):
    while not (found := condition()):
        time.sleep(0.05)
    return found


def connected(tmp_path, address=None, engine="ray", **more):
    return engine_for(engine, address=address, logs=tmp_path / "logs", **more)


@pytest.mark.timeout(120)
def test_a_cluster_of_this_machine_alone(tmp_path):
    """Values, errors, logs and signals; what was there before is there after."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with connected(tmp_path) as engine:
        assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        found = ran(engine, *(task(str(n), "double", n=n) for n in range(20)), task("a", "loud"))
        with pytest.raises(UserError, match="1000 CPUs"):
            engine.start(task("b", "double", cpus=1000))
    failed = found.pop("a")
    assert [found[str(n)].value["twice"] for n in range(20)] == [2 * n for n in range(20)]
    assert failed.error == "ValueError: not this (far_tasks.py, line 11)"
    assert "to stdout\nfrom C" in failed.log
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["a.log"]
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def cluster():
    """A head and a node that does the work of two; the last tests add to it and kill."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as without:
        without.delenv(
            "OMP_NUM_THREADS", raising=False
        )  # workers would have it, whatever they hold
        made = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=2, num_gpus=1)
    made.wait_for_nodes()
    yield made
    with contextlib.suppress(Exception):  # its head is gone by then
        made.shutdown()


@pytest.mark.slow
def test_tasks_hold_what_they_ask_for(cluster, tmp_path, monkeypatch):
    """A GPU in parts, a number of threads; more than a machine has is refused."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with connected(tmp_path, cluster.address) as engine:
        assert engine.free == 3
        found = ran(engine, *(task(str(n), "environment", gpus=0.5) for n in range(2)))
        assert [outcome.value["CUDA_VISIBLE_DEVICES"] for outcome in found.values()] == ["0", "0"]
        auto = Task(id="c", call="far_tasks:environment", payload={}, cpus=2)
        assert ran(engine, auto)["c"].value["CUDA_VISIBLE_DEVICES"] == "0"
        for more in ({"cpus": 3}, {"gpus": 2.0}):
            with pytest.raises(UserError, match="no machine"):
                engine.start(task("d", "double", **more))
    with connected(tmp_path, cluster.address, "ray:cpus=2,gpus=0.5") as engine:
        said = ran(engine, task("e", "environment"))["e"].value
        assert said == {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "2"}
    with connected(tmp_path, cluster.address, device="cpu") as engine:
        assert ran(engine, auto)["c"].value["CUDA_VISIBLE_DEVICES"] in (None, "")


@pytest.mark.slow
def test_a_killed_worker_is_retried_by_ray(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with connected(tmp_path) as engine:
        found = ran(
            engine,
            task("a", "dies_once", file=str(tmp_path / "died")),
            task("b", "dies"),
            *(task(str(n), "double", n=n) for n in range(5)),
        )
    lost = found.pop("b")
    assert lost.status == "lost"
    assert "WorkerCrashedError" in lost.error
    assert "last words" in lost.log
    assert {outcome.status for outcome in found.values()} == {"done"}


@pytest.mark.slow
def test_a_killed_node_costs_what_was_in_flight_there(cluster, tmp_path):
    """All tasks end, and only what the node was at is begun twice."""
    node = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    name = node.node_id if hasattr(node, "node_id") else node.unique_id
    places = [tmp_path / str(n) for n in range(15)]
    tasks = [task(place.name, "begins", file=str(place), seconds=2) for place in places]
    killed = []

    def tick():
        busy = any(name in place.read_text() for place in places if place.exists())
        if busy and not killed:
            cluster.remove_node(node, allow_graceful=False)
            killed.append(node)

    with connected(tmp_path, "auto") as engine:
        assert engine.free == 5
        found = ran(engine, *tasks, tick=tick)
    assert {outcome.status for outcome in found.values()} == {"done"}
    begun = [len(place.read_text().splitlines()) for place in places]
    assert 15 < sum(begun) <= 15 + 2
    assert name not in {outcome.value["node"] for outcome in found.values()}


@pytest.mark.slow
def test_closing_lets_tasks_keep_their_work(cluster, tmp_path):
    place = tmp_path / "pid"
    with connected(tmp_path, cluster.address) as engine:
        engine.start(task("a", "waits", file=str(place)))
        until(place.exists)
        (running,) = engine.running()
        assert (running.task, running.share, running.text) == ("a", 0.5, "half")
    assert place.read_text() == "kept"


DRIVER = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from robbench.execution.driver import drive
from robbench.execution.engines import engine_for
from robbench.execution.task import Task
from robbench.tasks.signals import raised
task = Task(id="a", call="far_tasks:waits", payload={{"file": {folder!r} + "/pid"}})
with raised(), engine_for("ray", address={address!r}, logs=Path({folder!r}) / "logs") as engine:
    list(drive([task], engine))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("local", [False, True])
def test_nothing_outlives_the_driver(cluster, tmp_path, number, local):
    """Of a cluster of its own not even that; a signal that can be caught lets tasks keep work."""
    address = None if local else cluster.address
    code = DRIVER.format(folder=str(tmp_path), address=address)
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.DEVNULL)
    until((tmp_path / "pid").exists)
    worker = int((tmp_path / "pid").read_text())
    raylet = _parent(worker)
    process.send_signal(number)
    assert process.wait() != 0
    until(lambda: not Path(f"/proc/{worker}").exists())
    if local:
        until(lambda: not Path(f"/proc/{raylet}").exists())
    if number != signal.SIGKILL:
        assert (tmp_path / "pid").read_text() == "kept"


@pytest.mark.slow
def test_a_cluster_that_is_gone_ends_all_with_one_line(cluster, tmp_path):
    """The last test, as it kills the cluster. Ray itself would end this process after a minute."""
    place = tmp_path / "pid"
    with connected(tmp_path, cluster.address) as engine:
        engine.start(task("a", "waits", file=str(place)))
        until(place.exists)
        cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        with pytest.raises(RunError, match="the Ray cluster is gone"):
            until(lambda: engine.wait(0.5))
    assert not ray.is_initialized()


def _parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
