"""Locks at an address: one owner at a time, and the dead are succeeded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time

import pytest

from robbench.core.leftovers import here
from robbench.store.address import lock
from robbench.store.address.lock import locked_at
from robbench.store.address.place import Place

NAME = "results/locks/r.lock"
TOKEN = "0" * 24


class Clock:
    """Time that passes only while one sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


# Adds one to a number in a file, often, while it owns the lock; says who else was in.
ADDER = """
import os, sys, time
from pathlib import Path
from robbench.store.address import lock
from robbench.store.address.place import Place
lock._PAUSE = 0.02
address, number, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
place = Place(address)
for _ in range(rounds):
    with lock.locked_at(place, "results/locks/r.lock", "run r", say=lambda text: None):
        seen = int(number.read_text())
        os.close(os.open(number.with_suffix(".in"), os.O_CREAT | os.O_EXCL))
        time.sleep(0.002)
        number.write_text(str(seen + 1))
        number.with_suffix(".in").unlink()
"""


def claim(machine, pid):
    return f"{NAME}.{TOKEN}.{machine}.{pid}"


def claims(place):
    return [name for name in place.versions() if name.startswith(NAME)]


def test_one_owner_at_a_time(address, monkeypatch):
    """Threads add one to a number that they read before; who waits says for whom."""
    monkeypatch.setattr(lock, "_PAUSE", 0.01)
    place, number, said = Place(address), [0], []

    def add() -> None:
        with locked_at(place, NAME, "run r", say=said.append):
            seen = number[0]
            until = time.monotonic() + (0.02 if seen else 20)
            while time.monotonic() < until and (seen or not said):
                time.sleep(0.01)
            number[0] = seen + 1

    threads = [threading.Thread(target=add) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number == [5]
    assert said
    # "another process": the owner's file is being written again, and empty for a moment.
    assert all(re.match("run r: (another )?process.*waiting", text) for text in said)
    assert claims(place) == []


@pytest.mark.parametrize(
    ("processes", "rounds"), [(3, 4), pytest.param(8, 50, marks=pytest.mark.slow)]
)
def test_one_process_at_a_time(processes, rounds, tmp_path, environment):
    """No two are ever in at once, and none is left out."""
    number = tmp_path / "number"
    number.write_text("0")
    words = [sys.executable, "-c", ADDER, f"file://{tmp_path}/there", str(number), str(rounds)]
    running = [subprocess.Popen(words, env=environment()) for _ in range(processes)]
    assert [process.wait() for process in running] == [0] * processes
    assert number.read_text() == str(processes * rounds)
    assert claims(Place(f"file://{tmp_path}/there")) == []


def test_several_succeed_a_dead_one(monkeypatch):
    """One after the other, though all find it dead at once."""
    monkeypatch.setattr(lock, "_PAUSE", 0.01)
    place, inside, most = Place("memory://heirs"), [], []
    place.write(claim(here(), 2**22 + 1), b"process 1 on host, beat 0")

    def succeed() -> None:
        with locked_at(place, NAME, "run r", say=lambda text: None):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=succeed) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


def test_a_listing_that_is_late(monkeypatch):
    """It shows what was there a while ago: nobody owns before its own claim is listed."""
    monkeypatch.setattr(lock, "_PAUSE", 0.05)
    place, inside, most = Place("memory://late"), [], []
    versions, past = place.versions, []

    def late(folder: str = "") -> dict[str, str]:
        now = time.monotonic()
        past.append((now, versions(folder)))
        return next((found for when, found in reversed(past) if when <= now - 0.02), {})

    monkeypatch.setattr(place, "versions", late)

    def enter() -> None:
        with locked_at(place, NAME, "run r", say=lambda text: None):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_a_dead_process_of_this_machine_is_succeeded_at_once():
    """Its number is in the name of its claim."""
    place, said = Place("memory://dead"), []
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    place.write(claim(here(), ended.pid), b"process 1 on host, beat 0")
    with locked_at(place, NAME, "run r", say=said.append):
        (own,) = claims(place)
        assert own.endswith(f".{here()}.{os.getpid()}")
    assert said == []


def test_another_machine_is_succeeded_after_its_silence(monkeypatch):
    """Not while it renews its claim; the wait ends when a signal asks for it."""
    clock = Clock()
    monkeypatch.setattr(lock, "time", clock)
    place, beats = Place("memory://far"), []
    far = claim("0123abcd", 1)

    def renew() -> None:
        place.write(far, f"process 1 on far, beat {len(beats)}".encode())
        beats.append(clock.now)

    def ask() -> None:
        if len(beats) < 300:
            renew()

    renew()
    said = []
    with locked_at(place, NAME, "run r", say=said.append, asked_to_stop=ask):
        assert len(beats) == 300
        assert beats[-1] > 2 * lock.SILENCE
        assert 0 <= clock.now - beats[-1] - lock.SILENCE <= 2 * lock._PAUSE
    assert said == ["run r: process 1 on far is working on it; waiting for it to end"]

    def stop() -> None:
        raise KeyboardInterrupt

    renew()
    with (
        pytest.raises(KeyboardInterrupt),
        locked_at(place, NAME, "run r", say=lambda text: None, asked_to_stop=stop),
    ):
        pass
    assert claims(place) == [far]


def test_an_owner_renews_its_claim(monkeypatch):
    """Until another one has taken it for dead."""
    monkeypatch.setattr(lock, "BEAT", 0.02)
    place = Place("memory://beat")
    with locked_at(place, NAME, "run r", say=print):
        (own,) = claims(place)
        first = place.read(own)
        until = time.monotonic() + 20
        while place.read(own) == first and time.monotonic() < until:
            time.sleep(0.01)
        assert place.read(own) != first
