"""A cascade run to its end in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from robbench.core.freeze import frozen
from robbench.core.status import UNFINISHED
from robbench.engine.cascade import Cascade
from robbench.engine.evaluate import evaluate
from robbench.threat.model import parse_threat

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_is_the_cascade_in_the_order_of_samples(
    digits: Any, entries: Callable[..., Any]
) -> None:
    """Verdicts by sample and budget, the points of the moved ones, and the model as it was."""
    split, threats = digits.split.take(torch.arange(30)), parse_threat("linf:0.05,0.1")
    built = entries(["pgd:steps=3", "apgd:steps=4"])
    digits.model.train()
    try:
        found = evaluate(digits.model, split, threats, built, seed=0, width=16, keep_points=True)
        assert digits.model.training
        assert all(weight.requires_grad for weight in digits.model.parameters())
    finally:
        digits.model.eval()
    with frozen(digits.model):
        run = list(Cascade(digits.model, split, threats, built, seed=0, width=16).run())
    assert [(v.sample, v.eps_index) for v in found.verdicts] == [
        (i, n) for i in range(30) for n in range(2)
    ]
    assert found.verdicts == sorted(
        (v for update in run for v in update.verdicts), key=lambda v: (v.sample, v.eps_index)
    )
    moved = {(v.sample, v.eps_index) for v in found.verdicts if v.linf > 0}
    assert found.points.keys() == moved


def test_out_of_time_gives_every_sample_a_verdict(digits: Any, entries: Callable[..., Any]) -> None:
    """The clean pass is made all the same; what is right there is unfinished."""
    split = digits.split.take(torch.arange(20))
    found = evaluate(
        digits.model,
        split,
        parse_threat("linf:0.05"),
        entries(["apgd:steps=50"]),
        seed=0,
        width=16,
        out_of_time=lambda: True,
    )
    assert len(found.verdicts) == 20
    assert all(v.adversarial or v.status == UNFINISHED for v in found.verdicts)
