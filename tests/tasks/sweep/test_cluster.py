"""A sweep on a Ray cluster of three machines, of which parts are killed: the tables are the same,
and nothing is computed twice but what was in flight.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import fsspec
import pyarrow.dataset as ds
import pytest

from robbench.execution.ray_connect import ENVIRONMENT

os.environ.update(ENVIRONMENT)
ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
GRID = (
    "sweep --name s --grid loss=cross-entropy,label-smoothing,trades,mart --grid seed=0..1 "
    "--grid threat=linf:0.05,linf:0.1 --data digits --epochs 1 --limit 100 --attack pgd:steps=3 "
    "--set model=mlp:width=8,depth=1 --json --out"
)
TASKS = 8 + 16
# The command, whose workers write down where a task begins and ends.
COUNTED = """
import sys
from robbench.cli.app import main
from robbench.execution import ray_engine
file = sys.argv.pop(1)
def run(driver, task, log, progress):
    from robbench.execution.ray_worker import run
    def note(what):
        with open(file, "a") as notes:
            notes.write(f"{task.id} {what}\\n")
    note("begins")
    done = run(driver, task, log, progress)
    note(f"{done.status} {(done.value or {}).get('fresh')}")
    return done
ray_engine.run = run
main()
"""


@pytest.fixture(scope="module")
def plain(cli, tmp_path_factory):
    """What `GRID` comes to, one task after the other."""
    out = tmp_path_factory.mktemp("plain")
    done = cli(GRID, out)
    assert done.code == 0, done.err
    return table(done.json), samples(str(out))


@pytest.fixture(params=["folder", "s3"])
def out(request, tmp_path, monkeypatch):
    """A folder that all machines share, or a place of a real S3 server."""
    if request.param == "folder":
        yield str(tmp_path / "runs")
        return
    s3fs, moto = pytest.importorskip("s3fs"), pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket/runs"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def cluster(out, tmp_path, monkeypatch):
    """Three machines of one core each, with a cache each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")
    made = Cluster()
    for n in range(3):
        copies = {"ROBBENCH_COPIES": str(tmp_path / f"machine{n}")}
        made.add_node(num_cpus=1, include_dashboard=False, env_vars=copies)
    made.wait_for_nodes()
    yield made
    with contextlib.suppress(Exception):  # a node is gone by then
        made.shutdown()


@pytest.mark.timeout(900)
def test_a_task_a_machine_and_the_driver_are_killed(cluster, out, environment, plain, tmp_path):
    """One after the other, all in the middle of a task."""
    notes = tmp_path / "notes"
    notes.touch()

    def begun():
        words = [*GRID.split(), out, "--engine", "ray", "--address", cluster.address]
        return subprocess.Popen(
            [sys.executable, "-c", COUNTED, str(notes), *words],
            env=environment(ROBBENCH_COPIES=str(tmp_path / "driver")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def busy_once(ends):
        """Processes at a task and their machines, when so many tasks have ended."""
        until(lambda: notes.read_text().count(" done ") >= ends, process)
        return until(lambda: in_flight(cluster), process)

    process = begun()
    os.kill(next(iter(busy_once(3))), signal.SIGKILL)
    machine = until(
        lambda: next((m for m in busy_once(7).values() if m is not cluster.head_node), None),
        process,
    )
    cluster.remove_node(machine, allow_graceful=False)
    busy_once(13)
    process.kill()
    process.communicate()
    until(lambda: not in_flight(cluster))
    process = begun()
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    found = json.loads(said)
    assert found["tasks"]["done"] == TASKS
    assert (table(found), samples(out)) == plain
    lines = [line.split() for line in notes.read_text().splitlines()]
    begins = Counter(task for task, what, *_ in lines if what == "begins")
    computed = Counter(task for task, *what in lines if what == ["done", "True"])
    assert len(begins) == TASKS
    assert TASKS + 1 <= begins.total() <= TASKS + 1 + 1 + 3
    assert max(computed.values()) == 1
    assert 0 < found["tasks"]["computed"] <= TASKS - 13 + 3


def table(said):
    return [{**row, "wall_s": None} for row in said["rows"]]


def samples(out):
    """The rows of the samples of all runs."""
    system, place = fsspec.url_to_fs(f"{out}/results/samples")
    rows = ds.dataset(place, filesystem=system).to_table()
    return rows.sort_by([("run_id", "ascending"), ("sample_id", "ascending")])


def until(condition, process=None):
    """What the condition comes to once it is true."""
    while not (found := condition()):
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)
    return found


def in_flight(cluster):
    """The processes that are at a task, each with its machine."""
    machines = {
        info.process.pid: node
        for node in cluster.list_all_nodes()
        for info in node.all_processes.get("raylet", [])
    }
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            title = (place / "cmdline").read_text().split("\0")[0]
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            at_work = title.startswith("ray::") and not re.search("IDLE|Agent", title)
            if at_work and parent in machines:
                found[int(place.name)] = machines[parent]
    return found
