"""What a plan is said to cost is never less than what its run then counts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from robbench.core.spec import validate
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.forecast import forecast_attack
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.attack.run import attack, forecast_all
from robbench.tasks.listener import Listener

MODEL = "mlp:width=8,depth=1"


def plan(out: Path, model: str = MODEL, **settings: object) -> AttackPlan:
    config = validate(
        AttackConfig, {"data": "digits", "limit": 24, "threat": ["linf:0.2"], **settings}, "attack"
    )
    (found,) = plan_attacks([model], config, out=out, device="cpu")
    return found


def queries(info: dict) -> int:
    return int(info["n_forward"] + info["n_backward"])


@pytest.mark.few(6)
@pytest.mark.parametrize(
    "settings",
    [
        {"attack": ["fgsm"]},
        {"attack": ["pgd:steps=5,restarts=2"], "threat": ["linf:0.01,0.02"]},
        {"attack": ["apgd:steps=5", "apgd-t:steps=5,targets=3", "square:steps=20"]},
        {"attack": ["fab:iterations=5"]},
        {"attack": ["fab-t:iterations=5,targets=2"], "threat": ["l2:0.01"]},
        {"attack": ["deepfool:steps=5"], "threat": ["l2:inf"]},
        {"attack": ["fmn:steps=5", "cw:iterations=5,search_steps=3"], "threat": ["l2:inf"]},
        {"attack": ["hopskipjump:steps=40"], "threat": ["l2:0.01"]},
        {"attack": ["eot:attack=(pgd:steps=3),draws=4"], "threat": ["linf:0.01"]},
        {"attack": ["minimal:attack=(pgd:steps=3)"], "threat": ["linf:inf"]},
        {"attack": [f"transfer:source=({MODEL})", "noise:steps=5"], "threat": ["linf:0.01"]},
        {"attack": ["apgd:steps=50", "square"], "max_queries": 30, "threat": ["linf:0.01"]},
        {"attack": ["pgd:steps=5"], "precision": "bf16"},
    ],
    ids=lambda settings: "+".join(settings["attack"]),
)
def test_no_run_needs_more_than_at_most(tmp_path, settings):
    """And the forecast writes nothing."""
    chosen = plan(tmp_path, **settings)
    forecast = forecast_attack(chosen, Store(tmp_path))
    assert not list(tmp_path.iterdir())
    assert forecast.samples == 24
    assert forecast.queries is None
    made = attack([chosen], Store(tmp_path))[-1].run.info
    assert queries(made) <= forecast.queries_at_most


def test_without_early_falls_the_bound_is_reached(tmp_path):
    """PGD where no sample falls at so small an eps: all queries but those of wrong ones."""
    chosen = plan(tmp_path, attack=["pgd:steps=5"], threat=["linf:0.0001"])
    forecast = forecast_attack(chosen, Store(tmp_path))
    (made,) = attack([chosen], Store(tmp_path))
    rows = made.run.samples.to_pylist()
    held = [row for row in rows if row["broken_by"] is None]
    assert held
    assert {row["n_forward"] + row["n_backward"] for row in held} == {6 + 5 + 2}
    assert forecast.queries_at_most == 24 * (6 + 5 + 3)  # and a look at a claim


def test_runs_of_other_models_tell_what_is_usual(tmp_path):
    """Of the same attacks under the same threat model, and of no others."""
    store, spec = Store(tmp_path), ["apgd:steps=5", "square:steps=20"]
    first, second = (
        attack([plan(tmp_path, f"mlp:width={width}", attack=spec)], store)[0].run.info
        for width in (4, 16)
    )
    attack([plan(tmp_path, "mlp:width=4", attack=spec, threat=["linf:0.1"])], store)
    attack([plan(tmp_path, "mlp:width=4", attack=["apgd:steps=5"])], store)
    found = forecast_attack(plan(tmp_path, attack=spec, limit=10), store)
    assert sorted(found.runs) == sorted([first["run_id"], second["run_id"]])
    means = [10 * queries(info) / 24 for info in (first, second)]
    assert found.queries == pytest.approx((sum(means) / 2, min(means), max(means)))


def test_runs_of_other_code_or_a_curve_tell_nothing(tmp_path, private):
    """An own attack that has changed is another; a larger budget's run paid for the smaller."""
    code = "from robbench.attacks.pgd import PGD\n\n\nclass Mine(PGD):\n    pass\n"
    file = private("mine_forecast", code) / "mine_forecast.py"
    store, spec = Store(tmp_path / "S"), ["mine_forecast:Mine:steps=3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(file.parent))
        (made,) = attack([plan(store.root, "mlp:width=4", attack=spec)], store)
        assert forecast_attack(plan(store.root, attack=spec), store).runs == (
            made.run.info["run_id"],
        )
        file.write_text(code + "\n\n# another version\n")
        assert forecast_attack(plan(store.root, attack=spec), store).runs == ()
    curve = plan(store.root, "mlp:width=4", attack=["fgsm"], threat=["linf:0.1,0.2"])
    small, _ = attack([curve], store)
    for eps, runs in ((0.1, (small.run.info["run_id"],)), (0.2, ())):
        chosen = plan(store.root, attack=["fgsm"], threat=[f"linf:{eps}"])
        assert forecast_attack(chosen, store).runs == runs


def test_what_is_decided_is_not_counted_again(tmp_path):
    store = Store(tmp_path)
    chosen = plan(tmp_path, attack=["fgsm"])
    (made,) = attack([chosen], store)
    assert forecast_attack(chosen, store).samples == 0
    assert forecast_attack(chosen, store, force=True).samples == 24
    forced = dataclasses.replace(chosen, run_ids=("0" * 12,))
    rows = made.run.samples.to_pylist()[:7]
    store.partial("0" * 12).append([{**row, "run_id": "0" * 12} for row in rows])
    assert forecast_attack(forced, store).samples == 24 - 7


def test_a_forecast_changes_no_verdict_and_no_count(tmp_path):
    """With and without a listener that wants one: the same rows."""

    class Curious(Listener):
        told = 0

        def forecast(self, title, make):
            self.told += 1
            return make()

    settings = {"attack": ["apgd:steps=5", "fab-t:iterations=5", "square:steps=20"]}
    curious = Curious()
    (quiet,) = attack([plan(tmp_path / "a", **settings)], Store(tmp_path / "a"))
    (heard,) = attack([plan(tmp_path / "b", **settings)], Store(tmp_path / "b"), listener=curious)
    assert curious.told == 1
    assert quiet.run.samples.to_pylist() == heard.run.samples.to_pylist()
    counts = ("n_forward", "n_backward", "deterministic", "flags")
    assert [quiet.run.info[c] for c in counts] == [heard.run.info[c] for c in counts]


def test_several_plans_are_also_told_together(tmp_path):
    titles = []

    class Noting(Listener):
        def forecast(self, title, make):
            titles.append(title)
            return make()

    plans = [plan(tmp_path, f"mlp:width={width}", attack=["fgsm"]) for width in (4, 8)]
    forecast_all(plans, Store(tmp_path), Noting())
    assert len(titles) == 3
    assert titles[-1] == "all together"
