"""What an audit is asked to do: its attacks, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robbench.core.errors import UserError
from robbench.core.spec import validate
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.forecast import forecast_attack
from robbench.tasks.attack.plan import AttackPlan, plan_attacks


def plan(**settings: Any) -> AttackPlan:
    given = {"data": "digits", "limit": 30, "threat": ["linf:0.1"], "attack": ["pgd:steps=3"]}
    config = validate(AttackConfig, {**given, **settings}, "attack")
    (found,) = plan_attacks(["mlp:width=8,depth=1"], config, out=Path("none"), device="cpu")
    return found


def test_the_default_is_autoattack_without_what_the_run_makes_itself() -> None:
    """A survivor of apgd-ce withstands it again."""
    found = plan(attack=["apgd-ce"], audit=20).audit
    assert found is not None
    assert found.attack == "autoattack"
    kinds = [entry.spec.partition(":")[0] for entry in found.entries]
    assert kinds == ["apgd", "fab", "square"]
    assert plan().audit is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"audit": 0}, "1 or more"),
        ({"audit": -3}, "1 or more"),
        ({"audit": "many"}, "a number of samples"),
        ({"adaptive": True}, "--adaptive needs --audit N"),
        ({"audit_attack": ["apgd"]}, "--audit-attack needs --audit N"),
        ({"audit": 5, "threat": ["l2:inf"], "attack": ["fmn"]}, "--audit needs a budget"),
        ({"audit": 5, "attack": ["autoattack"]}, "no attack that the run does not make itself"),
        (
            {"audit": 5, "attack": ["autoattack-plus"]},
            "no attack that the run does not make|queries",
        ),
        ({"audit": 5, "audit_attack": ["fgsm"]}, "at most 3 queries of a sample, the run itself 7"),
        ({"audit": 5, "audit_attack": ["pgd:steps=3"]}, "no attack that the run does not make"),
        ({"audit": 5, "audit_attack": ["apgdd"]}, "apgdd"),
        ({"audit": 5, "threat": ["l0:5"], "attack": ["fmn:steps=3"]}, "--audit-attack"),
    ],
)
def test_bad_audits_are_refused(settings: dict[str, Any], said: str) -> None:
    """In one line that says what to do."""
    with pytest.raises(UserError, match=said) as caught:
        plan(**settings)
    assert "\n" not in str(caught.value)


def test_an_audit_is_another_run() -> None:
    """Its size, its attacks and whether it is adaptive are in the id; without one nothing is."""
    asked = [{}, {"audit": 20}, {"audit": 21}, {"audit": 20, "adaptive": True}]
    asked += [{"audit": 20, "audit_attack": ["square"]}]
    assert len({plan(**settings).run_ids for settings in asked}) == len(asked)


def test_the_forecast_has_the_audit_in_it(tmp_path: Path) -> None:
    """So many queries more as 10 of 30 samples cost, all 30 with --adaptive."""
    square = {"audit": 10, "audit_attack": ["square:steps=99"]}
    alone, some, every = (
        forecast_attack(plan(**settings), Store(tmp_path))
        for settings in ({}, square, {**square, "adaptive": True})
    )
    least = [found.queries_at_most or 0.0 for found in (alone, some, every)]
    assert least[1] - least[0] == pytest.approx(10 * 100)
    assert least[2] - least[0] == pytest.approx(30 * 100)
    assert some.parts[-1].name == "audit: square:steps=99"
