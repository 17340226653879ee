"""Claims: who is alive, by the system's lock, by beats, and by clocks that jump."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from robbench.core import claims
from robbench.core.claims import Claim, InUseError, Others

FAR = "0" * 8  # another machine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.lock"


def left(path: Path, age: float, machine: str = FAR, text: str = "process 7 on far") -> Path:
    """What a dead process has left, last renewed so many seconds ago."""
    file = path.with_name(f"{path.name}.{'1' * 24}.{machine}.alone")
    file.write_text(text)
    os.utime(file, (time.time() - age,) * 2)
    return file


def offset() -> float:
    return time.time() - time.monotonic()


def test_a_claim_of_a_dead_process_of_this_machine(path: Path) -> None:
    """It counts for nothing at once, however fresh its file is."""
    left(path, 0.0, machine=claims.here())
    assert Others(path, False, offset()).alive() == []


@pytest.mark.parametrize(("age", "alive"), [(0.0, True), (55.0, True), (65.0, False)])
def test_a_claim_of_another_machine(path: Path, age: float, alive: bool) -> None:
    """It counts for a minute from its last beat."""
    left(path, age)
    found = Others(path, False, offset()).alive()
    assert [owner.text for owner in found] == ["process 7 on far"] * alive


def test_the_clock_is_that_of_the_file_system(path: Path) -> None:
    """A server that is an hour behind renews claims an hour ago."""
    left(path, 3600.0)
    assert Others(path, False, offset()).alive() == []
    assert len(Others(path, False, offset() - 3600.0).alive()) == 1


def test_a_claim_of_the_future(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock was set back: what is not renewed while one looks for a minute is dead."""
    file = left(path, -86_400.0)
    now = time.monotonic()
    others = Others(path, False, offset())
    seen = []
    for second in (0.0, 40.0, 80.0, 120.0, 160.0):
        if second == 40.0:
            os.utime(file, (time.time() + 86_401.0,) * 2)  # renewed once
        monkeypatch.setattr(claims.time, "monotonic", lambda: now + second)  # noqa: B023
        seen.append(len(others.alive()))
    assert seen == [1, 1, 1, 0, 0]


def test_the_files_of_the_dead_go_with_the_next_claim(path: Path) -> None:
    """Those who only look remove nothing."""
    file = left(path, 3600.0)
    others = Others(path, False, offset())
    assert others.alive() == []
    assert file.exists()
    claim = Claim(path, time.time_ns(), False)
    claim.make()
    assert others.alive(claim) == []
    assert not file.exists()
    claim.withdraw()
    assert list(path.parent.iterdir()) == []


def test_names_that_begin_alike_are_other_locks(path: Path) -> None:
    """`a.lock` and `a.lock.b` do not exclude each other, nor does a file of another kind."""
    left(path.with_name("a.lock.b"), 0.0)
    path.with_name("a.lock.txt").touch()
    assert Others(path, False, offset()).alive() == []


def test_what_the_file_says_is_shown_only_if_it_is_plain(path: Path) -> None:
    """Nobody sends escapes to a terminal by it."""
    left(path, 0.0, text="process 7\x1b[2J")
    assert [owner.text for owner in Others(path, False, offset()).alive()] == ["another process"]


def test_a_file_that_another_looks_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock cannot be had: the claim is made anew."""
    monkeypatch.setattr(claims, "_flock", lambda handle, mode: False)
    claim = Claim(path, 1, False)
    with pytest.raises(InUseError):
        claim.make()
    claim.withdraw()
    assert list(path.parent.iterdir()) == []


def test_a_kept_claim_is_renewed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file's time follows the clock until it is withdrawn."""
    monkeypatch.setattr(claims, "BEAT", 0.01)
    claim = Claim(path, 1, False)
    claim.make()
    os.utime(claim.path, (0, 0))
    claim.keep()
    end = time.monotonic() + 30
    while claim.path.stat().st_mtime < time.time() - 3600:
        assert time.monotonic() < end
    claim.withdraw()
    assert not claim.is_there()
