"""A lock has one owner, says who that is, and is free as soon as the owner is dead."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from robbench.core import lock
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
from robbench.core import lock
lock._PAUSE = 0.0005
count = Path(sys.argv[1]) / "count"
for _ in range(150):
    with lock.locked(count.with_name("c.lock"), "run c", say=lambda text: None):
        count.write_text(str(int(count.read_text()) + 1))
"""


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
    assert not (tmp_path / "a.lock").exists()


def test_a_dead_owner_owns_nothing(tmp_path, holder):
    """Its file is left, and is nobody's."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "a.lock").exists()
    said = []
    with locked(tmp_path / "a.lock", "run a", say=said.append):
        assert said == []
    assert not (tmp_path / "a.lock").exists()


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
    assert (tmp_path / "a.lock").exists()


def test_only_one_owner_at_any_time(tmp_path):
    """Many short locks of two processes, each reading and writing one number."""
    (tmp_path / "count").write_text("0")
    both = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert (tmp_path / "count").read_text() == "300"


def test_a_block_that_raises_gives_the_lock_back(tmp_path):
    """The next one is not kept waiting."""
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / "a.lock", "run a", say=pytest.fail):
            raise KeyError


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """It is said, the work is done, no file is left."""

    def refuse(handle, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    said = []
    with locked(tmp_path / "a.lock", "run a", say=said.append):
        pass
    assert said == [f"{tmp_path} has no file locks: make sure that no other process works on run a"]
    assert list(tmp_path.iterdir()) == []


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
