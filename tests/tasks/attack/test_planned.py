"""What a dry run shows is what the run then is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from robbench.core.spec import validate
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import plan_attacks
from robbench.tasks.attack.planned import planned_runs
from robbench.tasks.attack.run import attack

SETTINGS = {
    "attack": ["fgsm"],
    "batch_size": 5,
    "data": "digits",
    "limit": 12,
    "threat": ["linf:0.1,0.2"],
    "seed": 3,
}


def test_the_runs_planned_are_the_runs_made(tmp_path: Path) -> None:
    """One for each budget, under their ids; `done` once they are written."""
    config = validate(AttackConfig, SETTINGS, "attack")
    (plan,) = plan_attacks(
        ["mlp:width=8,depth=1"],
        config,
        out=tmp_path,
        device="cpu",
        data_dir=None,
        download=False,
    )
    store = Store(tmp_path)
    planned = planned_runs(plan, store)
    assert not list(tmp_path.iterdir())
    assert [run.done for run in planned] == [False, False]
    rows = [one.run.info for one in attack([plan], store)]
    for run, row in zip(planned, rows, strict=True):
        shared = dataclasses.asdict(run).keys() & row.keys()
        assert {"run_id", "model", "data", "threat", "attack", "seed"} <= shared
        assert {name: getattr(run, name) for name in shared} == {name: row[name] for name in shared}
        assert run.samples == row["n_samples"]
    assert planned_runs(plan, store) == [dataclasses.replace(run, done=True) for run in planned]
