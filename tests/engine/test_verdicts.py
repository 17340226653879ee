"""When a sample's verdict is told, and what an answer that cannot be trusted does to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.core.freeze import frozen
from robbench.core.status import NON_FINITE, OK, UNCONFIRMED
from robbench.engine import cascade as module
from robbench.engine.cascade import Cascade
from robbench.threat.model import parse_threat

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.usefixtures("step_by_step")
def test_survivors_are_told_before_the_end(
    digits: Any, entries: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample through its last attack is reported at once: a stopped run keeps it."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.0)
    split = digits.split.take(torch.arange(60))
    with frozen(digits.model):
        run = Cascade(
            digits.model,
            split,
            parse_threat("linf:0.02")[0],
            entries(["pgd:steps=6"]),
            seed=0,
            width=8,
        ).run()
        told = [sum(not v.adversarial for v in tick.verdicts) for tick in run]
    assert sum(told) > 30
    assert sum(told[: len(told) // 2]) > 10


class Liar(nn.Module):
    """Opposite on its second call, the first query of an attack on eight rows, else true."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.model(x)
        return -logits if self.calls == 2 else logits


def test_an_unconfirmed_success_leaves_the_sample_to_the_next_attacks(
    digits: Any, decide: Callable[..., Any], measured: Any
) -> None:
    """An unrepeatable success does not end a row: it continues, and a later one counts."""
    split = digits.split.take(torch.arange(8))
    liar = Liar(digits.model)
    measured(liar, split)
    liar.calls = 0
    verdicts = decide(["pgd:steps=10,restarts=2", "apgd:steps=30"], liar, split, "linf:0.4")
    tried = [v for v in verdicts if v.clean_pred == int(split.labels[v.sample])]
    assert len(tried) >= 6
    assert all(
        v.status == UNCONFIRMED
        and v.adversarial
        and (v.entry, v.variant, v.step > 0) >= (0, 0, True)
        for v in tried
    )


class Rounded(nn.Module):
    """Integer logits with a straight-through gradient: margins tie often."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits + (logits.round() - logits).detach()


def test_ties_are_no_lost_successes(digits: Any, decide: Callable[..., Any]) -> None:
    """Where margins tie at 0 the point that argmax calls wrong is kept: all confirmed."""
    verdicts = decide(
        ["pgd:steps=20"], Rounded(digits.model), digits.split.take(torch.arange(120)), "linf:0.1"
    )
    assert {v.status for v in verdicts} == {OK}
    assert any(v.adversarial and v.adv_margin == 0 for v in verdicts)


def test_clean_logits_that_are_no_numbers_are_reported(
    digits: Any, decide: Callable[..., Any]
) -> None:
    """A sample whose clean logits are NaN is neither right nor robust, and its status says why."""

    class Sick(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = digits.model(x)
            return torch.where(x.flatten(1).sum(1, keepdim=True) > 20, torch.nan, logits)

    split = digits.split.take(torch.arange(40))
    sick = (split.pixels(slice(None)).flatten(1).sum(1) > 20).tolist()
    assert 0 < sum(sick) < 40
    for verdict in decide(["fgsm"], Sick(), split, "linf:0"):
        assert verdict.status == (NON_FINITE if sick[verdict.sample] else OK)
        assert verdict.adversarial or not sick[verdict.sample]
