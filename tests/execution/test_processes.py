"""Worker processes: what becomes of tasks, of what they print, and of processes that die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robbench.core.errors import RunError
from robbench.core.trust import command_line
from robbench.execution.driver import drive
from robbench.execution.engines import engine_for
from robbench.execution.processes import STILLBORN, Processes
from robbench.execution.task import Task

TASKS = '''
import os, signal, subprocess, sys, time
from pathlib import Path

def double(payload):
    return {"twice": 2 * payload["n"]}

def loud(payload):
    print("to stdout", sys.stdin.read())
    os.write(1, b"from C\\n")
    print("to stderr", file=sys.stderr)
    raise ValueError("not\\nthis")

def wrong(payload):
    from robbench.core.errors import UserError
    raise UserError("a bad option")

def no_json(payload):
    return {"a": {1, 2}}

def leave(payload):
    sys.exit(7)

def dies_once(payload):
    place = Path(payload["file"])
    if not place.exists():
        place.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {}

def dies(payload):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def hangs_up(payload):
    os.closerange(3, 256)
    time.sleep(payload["seconds"])
    os._exit(5)

def environment(payload):
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    return {"pid": os.getpid(), **{name: os.environ.get(name) for name in names}}

def counts(payload):
    """Writes its process and the signals it gets; ends some time after the first of them."""
    place, got = Path(payload["file"]), []
    signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    child = subprocess.Popen(["sleep", "600"])
    while True:
        text = f"{os.getpid()} {child.pid} {len(got)}"
        place.with_suffix(".new").write_text(text)
        place.with_suffix(".new").replace(place)
        if got and not payload.get("deaf"):
            time.sleep(0.3)
            place.write_text(f"{os.getpid()} {child.pid} {len(got)}")
            sys.exit(1)
        time.sleep(0.01)

def imports(payload):
    from robbench.core.imports import import_target
    return {"found": import_target(payload["target"], "loss").__name__}

def slow(payload):
    from robbench.execution.progress import report
    report(0.5, "half")
    time.sleep(600)
'''


@pytest.fixture(autouse=True)
def _tasks(tmp_path, monkeypatch):
    (tmp_path / "pool_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def task(name, function, **payload):
    return Task(id=name, call=f"pool_tasks:{function}", payload=payload)


@pytest.fixture
def pool(tmp_path):
    with Processes(2, logs=tmp_path / "logs", threads=1) as engine:
        yield engine


def ran(engine, *tasks, **more):
    return {outcome.task: outcome for outcome in drive(tasks, engine, **more)}


def until(condition):
    """Waits for what has to come; the time limit of the test ends it otherwise."""
    while not (found := condition()):
        time.sleep(0.02)
    return found


def gone(pid):
    """Whether a process has ended; one that nobody has asked about yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def said(place):
    return [int(word) for word in place.read_text().split()] if place.exists() else None


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "ended with exit code 5"), (60, "closed its connection")]
)
def test_a_worker_that_hangs_up_is_lost_and_says_how(pool, seconds, said, monkeypatch):
    """How it ended is how it ended by itself, not that it was then killed."""
    if seconds == 60:
        monkeypatch.setattr("robbench.execution.processes.ENDING", 0.5)
    found = ran(pool, task("a", "hangs_up", seconds=seconds), task("b", "double", n=1))
    assert (found["a"].status, found["b"].status) == ("lost", "done")
    assert said in found["a"].error


def test_a_thousand_tasks_in_two_processes(pool):
    found = ran(pool, *(task(str(n), "environment") for n in range(1000)))
    assert {outcome.status for outcome in found.values()} == {"done"}
    assert len({outcome.value["pid"] for outcome in found.values()}) == 2
    assert os.getpid() not in {outcome.value["pid"] for outcome in found.values()}


def test_the_value_is_returned(pool, tmp_path):
    assert ran(pool, task("a", "double", n=4))["a"].value == {"twice": 8}
    assert [*(tmp_path / "logs").iterdir()] == []  # nothing was printed


def test_what_a_task_printed_is_in_its_outcome_and_its_log(pool, tmp_path):
    found = ran(pool, task("a/b", "loud"), task("x", "double", n=1))["a/b"]
    assert (found.status, found.code) == ("failed", 3)
    assert found.error == "ValueError: not this (pool_tasks.py, line 12)"
    for text in ("to stdout", "from C", "to stderr", "Traceback"):
        assert text in found.log
    (log,) = (tmp_path / "logs").iterdir()
    assert log.read_text().strip() == found.log.strip()


def test_a_later_try_has_its_own_end_of_the_log(pool, tmp_path):
    found = ran(pool, task("a", "loud"), retries=2)["a"]
    assert found.log.count("from C") == 1
    assert (tmp_path / "logs" / "a.log").read_text().count("from C") == 3


def test_bad_input_has_its_code(pool):
    found = ran(pool, task("a", "wrong"))["a"]
    assert (found.error, found.code) == ("a bad option", 2)
    assert "Traceback" not in found.log


@pytest.mark.parametrize("function", ["no_json", "leave"])
def test_what_is_no_result_is_a_failure(pool, function):
    assert ran(pool, task("a", function))["a"].status == "failed"


def test_a_killed_worker_costs_its_task_one_try(pool, tmp_path):
    again = ran(pool, task("a", "dies_once", file=str(tmp_path / "died")), retries=1)
    assert again["a"].status == "done"
    found = ran(pool, task("a", "dies"), *(task(str(n), "double", n=n) for n in range(5)))
    assert found.pop("a")[1:3] == ("lost", None)
    assert {outcome.status for outcome in found.values()} == {"done"}


def test_a_lost_task_says_how_and_what_it_printed(pool):
    found = ran(pool, task("a", "dies"))["a"]
    assert "SIGKILL" in found.error
    assert "memory" in found.error
    assert found.log == "last words"


def test_an_idle_worker_that_died_is_replaced(pool):
    pid = ran(pool, task("a", "environment"))["a"].value["pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ran(pool, task("b", "double", n=1))["b"].status == "done"


def test_workers_that_do_not_start_end_all_with_one_line(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "python3" in p and "site" not in p])
    with pytest.raises(RunError, match=r"no worker process starts: ModuleNotFoundError.*a\.log"):
        ran(pool, *(task(name, "double", n=1) for name in "a"))
    assert (tmp_path / "logs" / "a.log").read_text().count("Traceback") == STILLBORN


def test_closing_sends_one_signal_and_leaves_no_process(tmp_path):
    place = tmp_path / "pids"
    with Processes(1, logs=tmp_path / "logs", threads=1) as engine:
        engine.start(task("a", "counts", file=str(place)))
        worker, child, _ = until(lambda: said(place))
    assert gone(worker)
    until(lambda: gone(child))
    assert said(place)[2] == 1


def test_a_signal_that_a_scheduler_sent_to_all_is_not_sent_again(tmp_path):
    place = tmp_path / "pids"
    with Processes(1, logs=tmp_path / "logs", threads=1) as engine:
        engine.start(task("a", "counts", file=str(place)))
        worker, *_ = until(lambda: said(place))
        os.kill(worker, signal.SIGTERM)
        until(lambda: said(place)[2])
    assert said(place)[2] == 1


DRIVER = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from robbench.execution import processes
from robbench.execution.driver import drive
from robbench.execution.task import Task
from robbench.tasks.signals import raised
processes.GRACE = {grace}
task = Task(id="a", call="pool_tasks:counts", payload={payload!r})
with raised(), processes.Processes(2, logs=Path({folder!r}) / "logs", threads=1) as engine:
    list(drive([task], engine))
"""


def driver(tmp_path, grace=600, **payload):
    place = tmp_path / "pids"
    code = DRIVER.format(folder=str(tmp_path), grace=grace, payload={"file": str(place), **payload})
    process = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL
    )
    return process, place, *until(lambda: said(place))[:2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_signal_to_the_driver_ends_all(tmp_path, number, send):
    process, place, worker, child = driver(tmp_path)
    send(process.pid, number)
    assert process.wait() != 0
    assert gone(worker)
    until(lambda: gone(child))
    assert said(place)[2] == 1


def test_a_second_signal_ends_all_at_once(tmp_path):
    process, place, worker, child = driver(tmp_path, deaf=True)
    os.kill(process.pid, signal.SIGINT)
    until(lambda: said(place)[2])
    os.kill(process.pid, signal.SIGINT)
    process.wait()
    assert gone(worker)
    until(lambda: gone(child))


def test_a_task_that_does_not_end_is_killed(tmp_path):
    process, _, worker, child = driver(tmp_path, grace=0.1, deaf=True)
    os.kill(process.pid, signal.SIGTERM)
    process.wait()
    assert gone(worker)
    until(lambda: gone(child))


def test_workers_end_when_their_driver_was_killed(tmp_path):
    process, place, worker, _ = driver(tmp_path)
    process.kill()
    process.wait()
    until(lambda: gone(worker))
    assert said(place)[2] == 1


def test_cores_are_shared_out_unless_the_user_says_so(tmp_path, monkeypatch):
    cores = len(os.sched_getaffinity(0))
    for jobs in (2, 3):
        with engine_for("local", jobs=jobs, logs=tmp_path) as engine:
            found = ran(engine, task("a", "environment"))["a"].value
            assert found["OMP_NUM_THREADS"] == str(max(cores // jobs, 1))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with engine_for("local", jobs=2, logs=tmp_path) as engine:
        assert ran(engine, task("a", "environment"))["a"].value["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("visible", "device", "jobs", "given"),
    [
        ("0,1", "auto", 2, ["0", "1"]),
        ("0,1", "cuda", 4, ["0", "0", "1", "1"]),
        ("GPU-a, GPU-b,3", "cuda", 2, ["GPU-a", "GPU-b"]),
        ("0,1", "cuda:1", 2, ["0,1", "0,1"]),
        ("0,1", "cpu", 2, ["0,1", "0,1"]),
        ("", "auto", 2, ["", ""]),
    ],
)
def test_gpus_are_dealt_out(tmp_path, monkeypatch, visible, device, jobs, given):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with engine_for("local", jobs=jobs, device=device, logs=tmp_path) as engine:
        found = ran(engine, *(task(str(n), "environment") for n in range(jobs)))
    assert len({outcome.value["pid"] for outcome in found.values()}) == jobs
    assert sorted(o.value["CUDA_VISIBLE_DEVICES"] for o in found.values()) == given


def test_private_code_is_imported_only_if_it_was_typed(tmp_path):
    tasks = [task(name, "imports", target=f"pool_tasks:{name}") for name in ("double", "wrong")]
    with (
        command_line(["--loss", "pool_tasks:double"]),
        Processes(1, logs=tmp_path / "logs", threads=1) as engine,
    ):
        found = ran(engine, *tasks)
    assert found["double"].value == {"found": "double"}
    assert (found["wrong"].status, found["wrong"].code) == ("failed", 2)
    assert "--trust-code" in found["wrong"].error


def test_how_far_a_task_is(tmp_path):
    with Processes(1, logs=tmp_path / "logs", threads=1) as engine:
        assert engine.running() == []
        engine.start(task("a", "slow"))
        assert engine.free == 0
        until(lambda: engine.running()[0].share)
        (found,) = engine.running()
        assert (found.task, found.share, found.text) == ("a", 0.5, "half")
