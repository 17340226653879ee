"""A lock has one owner or several that share it, and says who; of a dead one it is free."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from robbench.core import claims, lock
from robbench.core.errors import Stopped, UserError
from robbench.core.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from robbench.core.lock import locked
folder = Path(sys.argv[1])
with locked(folder / "a.lock", "run a", say=print):
    (folder / "held").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    (folder / "done").touch()
"""
COUNT = """
import sys
from pathlib import Path
from robbench.core import claims, lock
lock._PAUSE = 0.002
folder, machine, flocks = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "flock"
claims.here = lambda: machine
if not flocks:
    claims.fcntl = None
count = folder / "count"
for turn in range(60):
    with lock.locked(folder / "c.lock", "run c", say=lambda text: None):
        count.write_text(str(int(count.read_text()) + 1))
    if turn % 3 == 0:
        with lock.locked(folder / "c.lock", "run c", say=lambda text: None, shared=True):
            before = count.read_text()
            assert count.read_text() == before != ""
"""
FAR, NEAR = "0" * 8, "1" * 8  # two machines


@pytest.fixture
def holder(tmp_path):
    """A process that owns the lock a.lock until there is a file `go`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)])
    while not (tmp_path / "held").exists():
        assert process.poll() is None
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


def test_the_second_waits_and_says_for_whom(tmp_path, holder):
    """It begins when the first has ended; the lock's file goes with the last."""
    said = []

    def say(text):
        said.append(text)
        (tmp_path / "go").touch()

    with locked(tmp_path / "a.lock", "run a", say=say):
        assert (tmp_path / "done").exists()
    assert len(said) == 1
    assert said[0].startswith(f"run a: process {holder.pid} on ")
    assert " since 20" in said[0]
    assert _claims(tmp_path) == []


def test_a_dead_owner_owns_nothing(tmp_path, holder):
    """Its file is left, and is nobody's."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert len(_claims(tmp_path)) == 1
    said = []
    with locked(tmp_path / "a.lock", "run a", say=said.append):
        assert said == []
    assert _claims(tmp_path) == []


def test_waiting_can_be_ended(tmp_path, holder):
    """By what is asked between two tries; the owner notices nothing."""
    told = []

    def asked():
        if told:
            raise Stopped(143)

    with (
        pytest.raises(Stopped),
        locked(tmp_path / "a.lock", "run a", say=told.append, asked_to_stop=asked),
    ):
        raise AssertionError("two owners")
    assert holder.poll() is None
    assert len(_claims(tmp_path)) == 1


@pytest.mark.parametrize(
    ("machines", "flocks"),
    [((NEAR, NEAR), "flock"), ((NEAR, FAR), "flock"), ((NEAR, NEAR, FAR), "none")],
)
def test_only_one_owner_at_any_time(tmp_path, machines, flocks):
    """Many short locks of processes that read and write one number, on one machine and on two.

    The system's lock does not reach the other machine, or there is none.
    """
    (tmp_path / "count").write_text("0")
    all_of_them = [
        subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path), machine, flocks])
        for machine in machines
    ]
    assert [process.wait(timeout=60) for process in all_of_them] == [0] * len(machines)
    assert (tmp_path / "count").read_text() == str(60 * len(machines))
    assert _claims(tmp_path) == []


def test_a_block_that_raises_gives_the_lock_back(tmp_path):
    """The next one is not kept waiting."""
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / "a.lock", "run a", say=pytest.fail):
            raise KeyError


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only while one sleeps; `now` is that of files too."""

    class Clock:
        now = time.time()

        def monotonic(self):
            return self.now

        def time_ns(self):
            return int(self.now * 1e9)

        def sleep(self, seconds):
            self.now += seconds

    found = Clock()
    monkeypatch.setattr(claims, "time", found)
    monkeypatch.setattr(lock, "time", found)
    return found


def test_a_dead_owner_on_another_machine(tmp_path, holder, monkeypatch, clock):
    """It is waited for until it has been silent for long; this works without locks too."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    monkeypatch.setattr(claims, "here", lambda: FAR)
    for module in (claims.fcntl, None):
        monkeypatch.setattr(claims, "fcntl", module)
        (claim,) = _claims(tmp_path)
        os.utime(claim)
        began = clock.now
        kept = claim.read_text()
        said = []
        with locked(tmp_path / "a.lock", "run a", say=said.append):
            assert not claim.exists()
            assert clock.now - began > 0.9 * claims.SILENCE
        assert len(said) == 1
        assert said[0].startswith(f"run a: process {holder.pid} on ")
        assert _claims(tmp_path) == []
        claim.write_text(kept)


def test_an_owner_on_another_machine_that_lives(tmp_path, monkeypatch, clock):
    """It is waited for as long as it shows that it lives, however long that is."""
    monkeypatch.setattr(claims, "fcntl", None)
    began = clock.now

    def asked():
        os.utime(claim, (clock.now, clock.now))
        if clock.now - began > 3 * claims.SILENCE:
            raise Stopped(130)

    with locked(tmp_path / "a.lock", "run a", say=pytest.fail):
        (claim,) = _claims(tmp_path)
        with (
            pytest.raises(Stopped),
            locked(
                tmp_path / "a.lock",
                "run a",
                say=lambda text: None,
                asked_to_stop=asked,
                shared=True,
            ),
        ):
            raise AssertionError("two owners")


def test_who_shares_excludes_only_who_wants_it_alone(tmp_path):
    """Who wants it alone hears of all who share it, and has it when the last has ended."""
    said, path = [], tmp_path / "a.lock"
    first = locked(path, "run a", say=pytest.fail, shared=True)
    second = locked(path, "run a", say=pytest.fail, shared=True)
    first.__enter__()
    second.__enter__()
    done = []

    def asked():
        if not done:
            first.__exit__(None, None, None)
        if len(done) == 3:
            second.__exit__(None, None, None)
        done.append(len(_claims(tmp_path)))

    with locked(path, "run a", say=said.append, asked_to_stop=asked):
        assert done == [1, 1, 1, 0]
    assert len(said) == 1
    assert " and 1 more are working on it; waiting" in said[0]


def test_a_file_in_place_of_the_folder_of_locks(tmp_path):
    """It is bad input, named with what to do, and stays."""
    folder = tmp_path / "locks"
    folder.write_text("mine")
    with (
        pytest.raises(UserError, match=f"{folder} should be a folder for locks.*remove it"),
        locked(folder / "a.lock", "run a", say=pytest.fail),
    ):
        raise AssertionError("locked")
    assert folder.read_text() == "mine"


def test_two_threads_are_two_owners(tmp_path):
    """The system knows who opened the file, not only which process."""
    said, inside = [], threading.Event()

    def second():
        with locked(
            tmp_path / "a.lock", "run a", say=lambda text: (said.append(text), inside.set())
        ):
            said.append("in")

    with locked(tmp_path / "a.lock", "run a", say=pytest.fail):
        other = threading.Thread(target=second)
        other.start()
        assert inside.wait(30)
        assert "in" not in said
    other.join(30)
    assert said[1:] == ["in"]


def _claims(folder):
    return sorted(folder.glob("*.lock.*"))
