"""Progress off a terminal: a line per tenth of the work or half a minute, the first one sooner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robbench.cli import progress
from robbench.cli.progress import FIRST_SECONDS, PLAIN_SECONDS, PLAIN_SHARE, LiveBar, PlainBar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def at(time: float) -> None:
        now[0] = time

    at(0.0)
    return at


STEPS = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 0.2)), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_a_line_when_enough_has_happened(
    clock: Callable[[float], None], capsys: Any, steps: list[tuple[float, float]]
) -> None:
    """Not in the first second; after a few seconds; when a tenth or half a minute has passed."""
    clock(0.0)
    bar, time, share, last = PlainBar("attack"), 0.0, 0.0, (0.0, 0.0)
    capsys.readouterr()
    for seconds, more in steps:
        time, share = time + seconds, min(1.0, share + more)
        clock(time)
        bar.update(share, "so far")
        wait = PLAIN_SECONDS if last[0] else FIRST_SECONDS
        due = share - last[1] >= PLAIN_SHARE or time >= last[0] + wait
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == (due and time >= 1)
        if lines:
            assert lines[0].startswith(f"attack: {share:.0%}, so far, {time:.0f} s, ")
            last = (time, share)


def test_the_estimate_is_of_what_is_left(clock: Callable[[float], None], capsys: Any) -> None:
    """A quarter in ten seconds leaves thirty; what an earlier process did took no time of ours."""
    bar = PlainBar("attack")
    bar.update(0.0, "x")
    clock(10.0)
    bar.update(0.25, "x")
    assert capsys.readouterr().err.endswith("10 s, about 30 s left\n")
    clock(0.0)
    bar = PlainBar("attack")
    bar.resume(0.5)
    bar.update(0.5, "x")
    clock(10.0)
    bar.update(0.75, "x")
    assert capsys.readouterr().err.endswith("10 s, about 10 s left\n")
    clock(60.0)
    bar = PlainBar("attack")
    clock(100.0)
    bar.update(0.0, "x")
    assert capsys.readouterr().err.endswith("40 s, no estimate yet\n")


def test_what_comes_before_the_first_report_is_no_work(
    clock: Callable[[float], None], capsys: Any
) -> None:
    """A first step after ten seconds of imports: 4 %; two seconds later a tenth more."""
    bar = PlainBar("train")
    clock(10.0)
    bar.update(0.04, "x")
    clock(12.0)
    bar.update(0.14, "x")
    assert capsys.readouterr().err.splitlines() == [
        "train: 4%, x, 10 s, no estimate yet",
        "train: 14%, x, 12 s, about 17 s left",
    ]


def test_the_first_line_comes_within_ten_seconds_though_nothing_is_decided(
    clock: Callable[[float], None], capsys: Any
) -> None:
    """A job that knows better than its share says what is left."""
    bar = PlainBar("at linf:0.1")
    for second in range(10):
        clock(second)
        bar.update(0.0, "0/60 decided", "at most 2 min left")
    assert capsys.readouterr().err.splitlines() == [
        f"at linf:0.1: 0%, 0/60 decided, {FIRST_SECONDS:.0f} s, at most 2 min left"
    ]


def test_at_the_end_nothing_is_left(clock: Callable[[float], None], capsys: Any) -> None:
    bar = PlainBar("train")
    clock(2.0)
    bar.update(1.0, "epoch 3")
    assert capsys.readouterr().err == "train: 100%, epoch 3, 2 s, done\n"


def test_several_parts_are_a_line_below(clock: Callable[[float], None], capsys: Any) -> None:
    """A single part says no more than the line itself; one without samples is left out."""
    bar = PlainBar("attack")
    bar.part("pgd", 5, 10, "2 found")
    bar.part("fab", 0, 0, "")
    clock(40.0)
    bar.update(0.5, "x")
    assert len(capsys.readouterr().err.splitlines()) == 1
    bar.part("apgd", 1, 5, "0 found")
    clock(80.0)
    bar.update(0.9, "x")
    assert capsys.readouterr().err.splitlines()[1] == "  pgd 5/10, 2 found; apgd 1/5, 0 found"


class Shown:
    """A rich display that remembers what it was told."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.updates: list[dict[str, Any]] = []

    def add_task(self, name: str, **given: Any) -> int:
        self.tasks.append(name)
        return len(self.tasks)

    def update(self, task: int, **given: Any) -> None:
        self.updates.append({"task": task, **given})


def test_a_live_bar_has_one_below_it_for_each_part(clock: Callable[[float], None]) -> None:
    """From its first sample on, with its rate."""
    live = Shown()
    bar = LiveBar(live, 0)
    bar.update(0.25, "x")
    bar.part("pgd", 0, 0, "")
    assert live.tasks == []
    bar.part("pgd\x1b[2J", 0, 8, "0 found")
    clock(2.0)
    bar.part("pgd\x1b[2J", 6, 8, "1 found")
    assert live.tasks == ["  pgd?[2J"]
    first = {"task": 0, "completed": 0.25, "note": "x", "left": "no estimate yet"}
    assert live.updates[0] == first
    assert live.updates[-1] == {
        "task": 1,
        "total": 8,
        "completed": 6,
        "note": "6/8, 1 found, 3.0/s",
    }
