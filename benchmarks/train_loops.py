"""The loops that `train_step.py` times: ours, the papers', these without waste, bare passes."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections import Counter
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from robbench.attacks.pgd import PGD
from robbench.core import keyed
from robbench.data.base import DataInfo
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.trades import TRADES
from robbench.models.base import Classifier
from robbench.threat.model import ThreatModel
from robbench.training.forward import Forward
from robbench.training.inner import Inner
from robbench.training.optimizers import make_optimizer
from robbench.training.step import TrainStep

STEPS, RATE, BETA = 10, 0.25, 6.0
CLASSES = tuple(f"class{k}" for k in range(10))
SETTINGS = {  # what the random images are like, and the threat model
    "cifar10": (DataInfo((3, 32, 32), CLASSES, (0.5,) * 3, (0.25,) * 3), "linf:8/255"),
    "mnist": (DataInfo((1, 28, 28), CLASSES, (0.13,), (0.3,)), "linf:0.3"),
}


class Side:
    """A model that trains, and the points of its last inner attack."""

    def __init__(
        self, model: Classifier, threat: ThreatModel, precision: str, device: torch.device
    ) -> None:
        self.threat = threat
        self.model = copy.deepcopy(model).to(device).train()
        self.cast, self.points = precision == "bf16", torch.zeros(0)
        self.forward = Forward(
            self.model.double() if precision == "fp64" else self.model, precision=precision
        )
        if precision == "fp64":
            self.forward = mock.Mock(
                wraps=self.model, output=self.model.output
            )  # without the cast to float32
        self.optimizer = make_optimizer("sgd", self.model, lr=0.1, momentum=0.9, weight_decay=5e-4)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits as plain code has them."""
        with (
            torch.autocast(x.device.type, torch.bfloat16) if self.cast else contextlib.nullcontext()
        ):
            logits = self.model(x)
        return logits.float() if self.cast else logits

    def finish(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def count(self) -> Counter[str]:
        """Passes from now on, in rows; those that reach the weights by themselves."""
        counts = Counter(forwards=0, backwards=0, weights=0)

        def passed(module: Any, inputs: tuple[Tensor], logits: Tensor) -> None:
            counts.update(forwards=len(logits))
            if logits.requires_grad:
                logits.register_hook(lambda grad: counts.update(backwards=len(grad)))

        self.model.head.register_forward_hook(passed)
        next(self.model.parameters()).register_post_accumulate_grad_hook(
            lambda _: counts.update(weights=1)
        )
        return counts


def ours(side: Side, x: Tensor, y: Tensor, key: Tensor, task: str) -> None:
    loss = TRADES(beta=BETA) if task == "trades" else CrossEntropy()
    inner = Inner(
        PGD(steps=STEPS, rate=RATE, init="gaussian" if task == "trades" else "uniform"), side.threat
    )
    index = torch.arange(len(y), device=y.device)
    step = TrainStep(
        side.model, x, y, index, key=key, epoch=0, progress=0.5, inner=inner, forward=side.forward
    )
    side.finish(loss(step).mean())
    side.points = step.adversary(loss.climbs).x


def usual(side: Side, x: Tensor, y: Tensor, key: Tensor, task: str, *, lean: bool = False) -> None:
    """The loops of the papers' code, from the same random start; or their `lean` form."""
    trades, shape, kl = task == "trades", x.shape[1:], torch.nn.KLDivLoss(reduction="sum")
    eps = side.threat.eps
    start = (
        0.001 * keyed.normal(key, shape, dtype=x.dtype)
        if trades
        else keyed.uniform(key, shape, dtype=x.dtype) * 2 * eps - eps
    )
    points = (x + start.clamp(-eps, eps)).clamp(0, 1)
    side.model.eval()
    with torch.no_grad():
        clean = F.softmax(side(x), 1) if trades and lean else None
    for _ in range(STEPS):
        points = points.detach().requires_grad_()
        if trades:
            (grad,) = torch.autograd.grad(
                kl(
                    F.log_softmax(side(points), 1),
                    F.softmax(side(x), 1) if clean is None else clean,
                ),
                [points],
            )
        elif lean:
            (grad,) = torch.autograd.grad(F.cross_entropy(side(points), y), [points])
        else:
            F.cross_entropy(side(points), y).backward()
            grad = points.grad
        points = points.detach() + RATE * eps * grad.sign()
        points = torch.min(torch.max(points, x - eps), x + eps).clamp(0, 1)
    side.model.train()
    side.points = points.detach()
    logits = side(x if trades else side.points)
    loss = F.cross_entropy(logits, y)
    if trades:
        target = F.softmax(logits if lean else side(x), 1)
        loss = loss + BETA * kl(F.log_softmax(side(side.points), 1), target) / len(y)
    side.finish(loss)


def bare(side: Side, x: Tensor, y: Tensor, key: Tensor, task: str) -> None:
    """The passes that are needed, at the clean inputs: no start, no projection, no books."""
    side.model.eval().requires_grad_(False)
    if task == "trades":
        side(x)
    for _ in range(STEPS):
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(side(leaf), y), leaf)
    side.model.train().requires_grad_(True)
    side.finish(
        torch.stack(
            [F.cross_entropy(side(x), y) for _ in range(2 if task == "trades" else 1)]
        ).sum()
    )


RUNS = {
    "ours": ours,
    "usual": usual,
    "lean": functools.partial(usual, lean=True),
    "bare": bare,
}
