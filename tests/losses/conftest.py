"""A training step without a model: outputs are given, and what a loss asks for is remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from robbench.models.base import Output


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
