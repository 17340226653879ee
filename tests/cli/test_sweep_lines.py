"""The lines of a sweep on stderr."""

from pathlib import Path

from robbench.cli.reporter import Reporter
from robbench.cli.sweep_lines import SweepLines
from robbench.execution.task import Outcome
from robbench.tasks.sweep.grid import Axis
from robbench.tasks.sweep.plan import plan_sweep
from robbench.tasks.sweep.request import Request


def test_lines(capsys):
    request = Request(name="s", grid=(Axis("loss", ["ce", "mart"]),), fixed={})
    train, attack, *_ = plan_sweep(request, {}).items
    lines = SweepLines(Reporter(quiet=False, verbose=True), "s", Path("runs"))
    lines.begins(4, 1)
    lines.ended(train, Outcome(train.task.id, "done", seconds=200))
    lines.ended(attack, Outcome(attack.task.id, "failed", error="no room"))
    assert capsys.readouterr().err.splitlines() == [
        "sweep s: 4 tasks, 1 of them done before",
        "to compare what is done so far: robbench compare --where tag=sweep=s",
        "2/4 train ce, 3 min",
        "3/4 attack ce, failed: no room",
    ]
    lines.begins(4, 4)
    assert "nothing to do" in capsys.readouterr().err
