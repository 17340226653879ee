"""A training step without a model: outputs are given, and what a loss asks for is remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.core import keyed
from robbench.data.base import Split
from robbench.models.base import Classifier, Output
from robbench.testing import toy_split
from robbench.threat.model import parse_threat
from robbench.training.forward import Forward
from robbench.training.inner import Inner
from robbench.training.step import TrainStep


class Found(NamedTuple):
    x: Tensor
    survived: Tensor
    steps: int


class FakeStep:
    """`clean` and `out` are the given logits.

    The adversary is a point whose logits are `adversarial`.
    """

    epoch, progress = 0, 0.5

    def __init__(
        self, logits: Tensor, y: list[int], adversarial: Tensor | None = None, plain: bool = True
    ) -> None:
        self.x, self.y = torch.zeros(len(y), 1), torch.tensor(y)
        self.index = torch.arange(len(y))
        self._adversary = Found(torch.ones(len(y), 1), torch.zeros(len(y)), 1)
        self._outputs = {id(self.x): logits, id(self._adversary.x): adversarial}
        self._plain = plain
        self.asked: list[str | None] = []
        self.logged: dict[str, Tensor] = {}

    @property
    def clean(self) -> Output:
        return self.at(self.x)

    @property
    def out(self) -> Output:
        return self.clean if self._plain else self.at(self._adversary.x)

    def adversary(self, objective: str | None = None) -> Found:
        self.asked.append(objective)
        return self._adversary

    def log(self, **values: Tensor) -> None:
        self.logged |= values

    def at(self, x: Tensor) -> Output:
        logits: Any = self._outputs[id(x)]
        return Output(logits, logits)


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Small tensors only."""


@pytest.fixture(scope="session")
def fake_step() -> Callable[..., FakeStep]:
    """Makes a step from clean logits, labels and perhaps adversarial logits (`plain=False`: the
    recipe has an inner attack).
    """
    return FakeStep


@pytest.fixture
def z() -> Tensor:
    """The clean logits of the test vectors."""
    return torch.tensor([[2, -1, 0.5, 0]], dtype=torch.float64)


@pytest.fixture
def a() -> Tensor:
    """The adversarial logits of the test vectors."""
    return torch.tensor([[0.5, 0, 1, -0.5]], dtype=torch.float64)


EPS = 0.05


def _net(seed: int) -> Classifier:
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Dropout(0.3 * seed))
    head = nn.Linear(16, 4)
    with torch.no_grad():
        head.weight.mul_(6)
    return Classifier(nn.Identity(), body, head, features=16, classes=4)


def _step(model: Classifier, split: Split, inner: Inner, **more: Any) -> TrainStep:
    index = torch.arange(len(split))
    usual = {"key": split.ids, "epoch": 0, "progress": 0.5}
    x = split.pixels(index)
    return TrainStep(model, x, split.labels, index, inner=inner, **{**usual, **more})


@pytest.fixture
def taught_step() -> Callable[..., TrainStep]:
    """Makes the step of 12 samples of a network for a loss, under linf, with a teacher.

    The teacher has dropout and is in training mode: whoever asks it puts it into evaluation mode.
    """

    def make(loss: Any, progress: float = 0.5) -> TrainStep:
        inner = Inner(ATTACKS.build(loss.inner), parse_threat(f"linf:{EPS}")[0])
        teacher = Forward(_net(1).train())
        return _step(_net(0), toy_split(12), inner, progress=progress, teacher=teacher)

    return make


@pytest.fixture
def plain_pgd() -> Callable[..., Tensor]:
    """The inner attack of ten steps, written out: `climbed` maps logits to a value to sum."""

    def attack(step: TrainStep, climbed: Callable[[Tensor], Tensor], gaussian: bool) -> Tensor:
        shape, x = step.x.shape[1:], step.x
        noise = (
            0.001 * keyed.normal(step.key, shape)
            if gaussian
            else EPS * (2 * keyed.uniform(step.key, shape) - 1)
        )
        point = (x + noise.clamp(-EPS, EPS)).clamp(0, 1)
        for _ in range(10):
            point = point.detach().requires_grad_()
            (grad,) = torch.autograd.grad(climbed(step.model(point)).sum(), point)
            moved = point.detach() + EPS / 4 * grad.sign()
            point = torch.min(torch.max(moved, x - EPS), x + EPS).clamp(0, 1)
        return point

    return attack


@pytest.fixture
def same_as() -> Callable[..., None]:
    """Checks that values [B] and their gradients by the weights are those of a transcription."""

    def check(step: TrainStep, values: Tensor, plain: Tensor) -> None:
        assert torch.allclose(values, plain, atol=1e-5)
        weights = list(step.model.parameters())
        ours, theirs = (torch.autograd.grad(v.sum(), weights) for v in (values, plain))
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.allclose(mine, other, atol=1e-4)
            assert mine.abs().max() > 1e-3

    return check


@pytest.fixture
def batch_norm_step() -> Callable[[Any], TrainStep]:
    """Makes a training step of a model with batch norm, with an inner attack at linf:1e-6."""

    def make(attack: Any) -> TrainStep:
        torch.manual_seed(0)
        split = toy_split(12, 3, (1, 4, 4))
        body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU())
        model = Classifier(nn.Identity(), body, nn.Linear(8, 3), features=8, classes=3).train()
        return _step(model, split, Inner(attack, parse_threat("linf:0.000001")[0]))

    return make
