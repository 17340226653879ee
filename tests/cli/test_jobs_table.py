"""What is said of many tasks, in the width and height there is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from robbench.cli import jobs_table, progress
from robbench.cli.jobs_table import JobsLines, JobsTable
from robbench.execution.task import Outcome, Running


@pytest.fixture
def clock(monkeypatch):
    """Sets the time."""
    now = [0.0]
    for module in (jobs_table, progress):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return lambda time: now.__setitem__(0, time)


def done(name, seconds=1.0):
    return Outcome(name, "done", {}, seconds=seconds)


def failed(name):
    return Outcome(name, "failed", error="a bad\x1b option")


def test_a_line_for_each_task_that_ended(clock, capsys):
    with JobsLines(4) as lines:
        clock(10.0)
        lines.ended("train ce", done("a", 10), best="ce, 10%")
        lines.ended("train at", failed("b"))
        lines.ended("attack at", Outcome("c", "skipped", error="it needs b"))
        clock(30.0)
        lines.ended("attack ce", done("d", 20))
    assert capsys.readouterr().err.splitlines() == [
        "1/4 train ce, 10 s; about 30 s left; best so far: ce, 10%",
        "2/4 train at, failed: a bad? option; about 10 s left; best so far: ce, 10%",
        "3/4 attack at, skipped: it needs b; about 3 s left; best so far: ce, 10%",
        "4/4 attack ce, 20 s",
    ]


def test_what_was_done_before_took_no_time(clock, capsys):
    with JobsLines(10, over=8) as lines:
        clock(7.0)
        lines.ended("t", done("a"))
    assert "9/10 t, 1 s; about 7 s left" in capsys.readouterr().err


def test_many_tasks_give_few_lines_but_every_failure_has_one(clock, capsys):
    with JobsLines(100_000) as lines:
        for number in range(100_000):
            name = str(number)
            lines.ended("t", failed(name) if number in (3, 777) else done(name))
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if "failed" in line]) == 2
    assert len(said) <= jobs_table.LINES + 2
    assert said[-1].startswith("100000/100000 ")


def shown(table):
    with table.console.capture() as text:
        table.console.print(table.render())
    return text.get().splitlines()


def table(width=80, height=24, tasks=12, over=0):
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    return JobsTable(console, "sweep first", tasks, over)


def test_running_done_failed_time_and_best(clock):
    jobs = table(tasks=4)
    clock(20.0)
    seen = [Running("b", 20.0, 0.5, "epoch 3", "task b"), Running("c", 5.0, 0.0, "", "task c")]
    jobs.tick(seen)
    jobs.ended("task a", done("a"), best="at, 63%")
    clock(40.0)
    first, best, b, c = shown(jobs)
    # A quarter is done and an eighth is under way: 3/8 in 40 s.
    assert first == "sweep first: 1 of 4 done, 2 running, about 67 s left"
    assert best == "  best so far: at, 63%"
    assert b.split() == ["task", "b", b.split()[2], "50%", "40", "s", "epoch", "3"]
    assert c.split() == ["task", "c", "25", "s"]
    jobs.ended("task b", failed("b"))
    assert shown(jobs)[0].startswith("sweep first: 1 of 4 done, 1 failed, 1 running, ")
    assert "task b, failed: a bad? option" in jobs.console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_the_terminal(clock, width):
    jobs = table(width=width, height=10, tasks=1000)
    jobs.best = "x" * 300
    jobs.tick([Running(str(n), 1.0, 0.3, "long text " * 20, "long title " * 9) for n in range(50)])
    lines = shown(jobs)
    assert len(lines) < 10
    assert max(map(len, lines)) <= width
    assert lines[-1].strip().startswith("and 4")


def test_names_of_others_cannot_write_on_the_terminal(clock):
    jobs = table()
    jobs.tick([Running("a", 1.0, 0.0, "\x1b[2Jtext", "[red]\x1b[2Jtitle")])
    assert "\x1b" not in "".join(shown(jobs))
    assert "[red]?[2Jtitle" in shown(jobs)[-1]


def test_the_terminal_is_left_as_it_was(clock):
    with table() as jobs:
        jobs.ended("t", done("a"))
    assert "1/12 t, 1 s" in jobs.console.file.getvalue()
    assert not jobs._live.is_started
