"""The lines of a sweep on stderr."""

from pathlib import Path

from robbench.cli.reporter import Reporter
from robbench.cli.sweep_lines import SweepLines
from robbench.execution.inline import Inline
from robbench.execution.task import Outcome
from robbench.tasks.sweep.grid import Axis
from robbench.tasks.sweep.plan import plan_sweep
from robbench.tasks.sweep.request import Request


def test_lines(capsys, monkeypatch):
    """What is best is so at each threat model; what an attack without a budget finds is not."""
    monkeypatch.setattr("robbench.cli.progress.Clock.left", lambda clock, share: f"{1 - share:.0%}")
    request = Request(name="s", grid=(Axis("loss", ["ce", "mart"]),), fixed={})
    train, attack, *_ = plan_sweep(request, {}).items
    lines = SweepLines(Reporter(quiet=False, verbose=True), "s", Path("runs"))
    lines.begins(6, 1)
    found = {"model": "ce", "threats": ["linf:0.1", "l2:inf"], "robust_accuracy": [0.25, None]}
    lines.ended(train, Outcome(train.task.id, "done", {"robust_accuracy": 0.9}, seconds=200))
    lines.ended(attack, Outcome(attack.task.id, "done", found, seconds=1))
    worse = {**found, "model": "mart", "robust_accuracy": [0.2, None]}
    lines.ended(attack, Outcome(attack.task.id, "failed", error="no room"))
    lines.ended(attack, Outcome(attack.task.id, "done", worse, seconds=2))
    assert capsys.readouterr().err.splitlines() == [
        "sweep s: 6 tasks, 1 of them done before",
        "to compare what is done so far: robbench compare --where tag=sweep=s",
        "2/6 train ce, 3 min; 67%",
        "3/6 attack ce, 1 s; 50%; best so far: ce, 25.0% robust at linf:0.1",
        "4/6 attack ce, failed: no room; 33%; best so far: ce, 25.0% robust at linf:0.1",
        "5/6 attack ce, 2 s; 17%; best so far: ce, 25.0% robust at linf:0.1",
    ]
    lines.begins(4, 4)
    assert "nothing to do" in capsys.readouterr().err


def test_quiet(capsys):
    request = Request(name="s", grid=(Axis("loss", ["ce"]),), fixed={})
    train, *_ = plan_sweep(request, {}).items
    with SweepLines(Reporter(quiet=True, verbose=False), "s", Path("runs")) as lines:
        lines.begins(2, 0)
        lines.tick(Inline())
        lines.ended(train, Outcome(train.task.id, "done", seconds=200))
    assert capsys.readouterr() == ("", "")
