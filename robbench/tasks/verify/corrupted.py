"""A run under a corruption is evidence for itself: the corrupted inputs can be made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robbench.core.device import default_batch_size, deterministic
from robbench.core.freeze import frozen
from robbench.data.base import Split
from robbench.engine.corrupted import CorruptedPass
from robbench.tasks.verify.answers import Answers, as_said
from robbench.tasks.verify.answers import column as said_of
from robbench.tasks.verify.points import Evidence
from robbench.threat.model import ThreatModel

NEAR = 1e-4
"""Margins of answers so small, in logits, that rounding may decide them."""


def corrupt_again(
    model: nn.Module,
    split: Split,
    threat: ThreatModel,
    rows: Sequence[Mapping[str, Any]],
    seed: int,
    watch: Callable[[float, str], None],
) -> Evidence:
    """What the model says of clean and corrupted inputs now; rows: in the order of the split.

    seed: of the run.
    """
    width = default_batch_size(split.labels.device)
    one = CorruptedPass(model, split, threat, seed=seed, width=width)
    verdicts = []
    with frozen(model), deterministic():
        torch.manual_seed(0)  # for models that draw from it
        for update in one.run():
            verdicts += update.verdicts
            watch(update.progress, "corrupted inputs")

    def column(name: str) -> Tensor:
        return torch.tensor([getattr(verdict, name) for verdict in verdicts])

    def unsure(margin: str, found: Tensor, claimed: str) -> Tensor:
        said = torch.tensor([row[claimed] for row in rows])
        return (found != said) & (column(margin).abs() < NEAR)

    def answers(margin: str) -> Answers:
        found, said = column(margin).double(), said_of(rows, margin)
        near = NEAR * (1 + found.abs().nan_to_num(posinf=0))
        off = ~as_said(found, said, near)
        return Answers(found, torch.ones_like(off), off, torch.zeros_like(off))

    correct, broken = ~column("clean_wrong"), column("adversarial")
    nothing = torch.zeros_like(broken)
    return Evidence(
        correct=correct,
        correct_unsure=unsure("clean_margin", correct, "clean_correct"),
        broken=broken,
        stored=nothing,
        unsure=unsure("adv_margin", broken, "adversarial"),
        bad=nothing,
        size=torch.where(broken, column("linf").double(), torch.inf),
        targets=None,
        clean=answers("clean_margin"),
        worst=answers("adv_margin"),
    )
