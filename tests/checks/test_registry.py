"""All checks together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robbench.checks.base import Check, run_checks
from robbench.checks.registry import CHECKS


@pytest.mark.parametrize("norm", ["linf:0.05", "l2:0.2", "l1:1", "l0:3", "l0px:3"])
def test_a_good_model_fails_no_check_in_any_norm(
    norm: str, linear: type[nn.Module], evidence: Callable
) -> None:
    """All checks; those whose attacks do not know the norm are skipped and say so."""
    found = run_checks(CHECKS, evidence(linear(), threat=norm, source=linear()))
    assert len(found) == len(CHECKS) >= 18
    assert [f.check for f in found if f.verdict == "fail" and f.severity != "info"] == []
    assert all(f.text and "\n" not in f.text and f.source for f in found)
    skipped = [f for f in found if f.verdict == "skipped" and "not work" in f.text]
    assert all(f"not work in {norm.partition(':')[0]}" in f.text for f in skipped)
    assert (norm[:2] == "l0") == (len(skipped) > 9)


def test_tables_of_numbers_are_checked_too(evidence: Callable, made: Callable) -> None:
    """Inputs of shape (D,), three classes."""
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(1))
    of = made(x, model(x).argmax(1).detach(), 3)
    found = run_checks(CHECKS, evidence(model, of))
    assert [f.check for f in found if f.verdict == "fail" and f.severity != "info"] == []


def test_a_model_that_cannot_be_differentiated_is_reported_not_raised(
    linear: type[nn.Module], evidence: Callable
) -> None:
    """The model raises on any gradient; checks that need one are skipped with its message."""

    def refuse(x: Tensor) -> Tensor:
        if x.requires_grad:
            raise RuntimeError("no gradients here\nat all")
        return x

    found = {f.check: f for f in run_checks(CHECKS, evidence(linear(refuse)))}
    assert found["no-gradient"].verdict == "fail"
    assert found["single-step"].verdict == "skipped"
    assert "no gradients here" in found["single-step"].text
    assert found["random"].verdict == "pass"


def test_every_check_is_named_once_and_in_a_family() -> None:
    """Names are unique, severities known, and each lives in the file of its family."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {check.severity for check in CHECKS} == {"info", "warning", "error"}
    assert {check.family for check in CHECKS} == {
        "budget",
        "gradients",
        "margins",
        "outputs",
        "adversarial_points",
        "run_rows",
        "trajectory",
        "stronger_attacks",
    }
    assert all(isinstance(check, Check) and check.ask.__doc__ for check in CHECKS)
