"""Locks at an address: one owner at a time, and the dead are succeeded."""

from __future__ import annotations

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


def test_one_owner_at_a_time(address, monkeypatch):
    """Ten threads add one to a number that they read before; who waits says for whom."""
    monkeypatch.setattr(lock, "_PAUSE", 0.01)
    place, number, said = Place(address), [0], []

    def add() -> None:
        with locked_at(place, NAME, "run r", say=said.append):
            seen = number[0]
            time.sleep(0.02)
            number[0] = seen + 1

    threads = [threading.Thread(target=add) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number == [10]
    assert said
    assert all("run r: process" in text and "waiting" in text for text in said)
    assert place.read(NAME) is None


def test_a_dead_process_of_this_machine_is_succeeded_at_once():
    """Its number is in the lock."""
    place, said = Place("memory://dead"), []
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    place.create(NAME, f"0123 {here()} {ended.pid} 0 host".encode())
    with locked_at(place, NAME, "run r", say=said.append):
        assert place.read(NAME).split()[1] == here().encode()
    assert said == []


def test_another_machine_is_succeeded_after_its_silence(monkeypatch):
    """Not while it renews its lock; the wait ends when a signal asks for it."""
    monkeypatch.setattr(lock, "_PAUSE", 0.01)
    monkeypatch.setattr(lock, "SILENCE", 0.3)
    place, beats = Place("memory://far"), []

    def renew() -> None:
        place.write(NAME, f"0123 far 1 {len(beats)} host".encode())
        beats.append(time.monotonic())

    def ask() -> None:
        if len(beats) < 60:
            renew()

    renew()
    with locked_at(place, NAME, "run r", say=lambda text: None, asked_to_stop=ask):
        assert len(beats) == 60
        assert time.monotonic() - beats[-1] > 0.25

    def stop() -> None:
        raise KeyboardInterrupt

    renew()
    with (
        pytest.raises(KeyboardInterrupt),
        locked_at(place, NAME, "run r", say=lambda text: None, asked_to_stop=stop),
    ):
        pass
    assert place.read(NAME).startswith(b"0123 far")


def test_an_owner_renews_its_lock(monkeypatch):
    """And leaves the one that another has made meanwhile."""
    monkeypatch.setattr(lock, "BEAT", 0.02)
    place = Place("memory://beat")
    with locked_at(place, NAME, "run r", say=print):
        first = place.read(NAME)
        until = time.monotonic() + 20
        while place.read(NAME) == first and time.monotonic() < until:
            time.sleep(0.01)
        assert place.read(NAME) != first
        place.write(NAME, b"another")
    assert place.read(NAME) == b"another"
