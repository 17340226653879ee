"""Which runs of a sweep are put side by side, and how."""

from pathlib import Path

import pytest

from robbench.analysis.comparison import Comparison
from robbench.core.errors import UserError
from robbench.store.store import Store
from robbench.tasks.sweep import compared as module
from robbench.tasks.sweep.compared import compare_sweep
from robbench.tasks.sweep.grid import parse_axis
from robbench.tasks.sweep.plan import plan_sweep
from robbench.tasks.sweep.request import Request
from robbench.tasks.sweep.run import Swept
from robbench.tasks.sweep.state import SweepState


@pytest.fixture
def compared(monkeypatch):
    """The calls that comparing a grid makes, one per data set, and the notes."""

    def compare(*grid, **fixed):
        axes = tuple(parse_axis(text) for text in grid)
        plan = plan_sweep(Request(name="s", grid=axes, fixed=fixed), {})
        attacks = [item for item in plan.items if item.kind == "attack"]
        records = {
            item.task.id: {"status": "done", "value": {"run_ids": [item.task.title]}}
            for item in attacks
        } | {
            item.task.id: {"status": "done", "value": {"model": item.model}}
            for item in plan.items
            if item.kind == "train"
        }
        rows = [
            {"run_id": item.task.title, "data": "b" if "-b" in item.model else "a"}
            for item in attacks
        ]
        calls = []

        def compare_runs(names, out, **options):
            calls.append((names, options))
            if "bad" in names[0]:
                raise UserError("apples and oranges")
            return Comparison([])

        monkeypatch.setattr(Store, "rows", lambda store, columns: rows)
        monkeypatch.setattr(module, "compare_runs", compare_runs)
        state = SweepState(Path("none"), "s")
        found = compare_sweep(Swept(plan, state, plan.items, records, 0), Path("none"))
        assert len(found.tables) + len(found.notes) == max(len(calls), 1)
        return calls, found.notes

    return compare


def test_each_data_set_has_its_table(compared):
    calls, _ = compared("loss=ce", "data=a,b")
    assert [names for names, _ in calls] == [["attack ce-a"], ["attack ce-b"]]


def test_what_varies_of_the_attack_is_allowed(compared):
    ((_, options),), _ = compared("attack=apgd,pgd", "max_queries=5,9", "seed=0")
    assert options == {"allow": ["attack", "limits"], "over_seeds": False}


def test_training_seeds_are_one_row(compared):
    assert compared("seed=0..1")[0][0][1]["over_seeds"]
    assert not compared("attack.seed=0..1")[0][0][1]["over_seeds"]
    assert not compared("seed=0..1", "models=at", epochs=1)[0][0][1]["over_seeds"]


def test_what_does_not_fit_together_is_a_note(compared):
    _, notes = compared("loss=bad")
    assert notes == ["not compared: apples and oranges"]


def test_more_runs_than_a_table_shows(compared, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    calls, notes = compared("loss=ce", "seed=0..2")
    assert calls == []
    assert "3 runs are more than a table shows" in notes[0]
