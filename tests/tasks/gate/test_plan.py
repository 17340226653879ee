"""A candidate is planned as its baseline was attacked, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from robbench.analysis.gate_checks import Tolerances
from robbench.core.errors import UserError
from robbench.data.load import load
from robbench.tasks.gate.plan import GatePlan, random_order


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eps": float("inf")}, "no budget"),
        ({"max_time_s": 90.0}, "time limit 90s"),
        ({"audit_attack": "autoattack"}, "was audited .autoattack., which needs the verdicts"),
        ({"attack_params": "{}"}, "does not say how"),
        ({"config": "nothing"}, "does not say how"),
        ({"attack_params": '["pgd:steps=4"]'}, "otherwise"),
        ({"attack_params": '["nobody"]'}, "nobody"),
    ],
)
def test_baselines_that_cannot_be_repeated(
    planned: Callable[..., GatePlan], changes: dict[str, Any], said: str
) -> None:
    """Each with its reason, before anything is attacked."""
    with pytest.raises(UserError, match=said):
        planned(**changes)


@pytest.mark.parametrize("tolerances", [Tolerances(margin=1.0), Tolerances(per_class=0.1)])
def test_numbers_that_need_every_sample(
    planned: Callable[..., GatePlan], tolerances: Tolerances
) -> None:
    """Margins and classes cannot be decided early."""
    with pytest.raises(UserError, match="need every sample"):
        planned(tolerances)


def test_the_plan_is_the_baselines(planned: Callable[..., GatePlan]) -> None:
    """Its samples, threat model and attacks, for another model, under a run id of its own."""
    gated = planned()
    info = gated.baseline.info
    assert gated.title == f"ce against {info['model']}"
    assert gated.plan.run_ids != (info["run_id"],)
    assert (gated.plan.threat, gated.plan.attack) == (info["threat"], info["attack"])
    assert set(gated.plan.subject.split.ids.tolist()) == set(
        gated.baseline.samples["sample_id"].to_pylist()
    )
    assert sorted(gated.order) == list(range(info["n_samples"]))


def test_the_order_depends_on_content_not_on_place() -> None:
    """And on the seed."""
    split = load("digits", "test", limit=50)
    order = random_order(split, 3)
    assert sorted(order) == list(range(50))
    turned = split.take(torch.arange(49, -1, -1))
    assert [49 - i for i in random_order(turned, 3)] == order
    assert random_order(split, 4) != order
