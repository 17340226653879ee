"""A model's answers: asked for once, at no other cost than is charged, and the model's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robbench.checks.answers import Answers
from robbench.core.tiles import Tiles
from robbench.data.base import Split
from robbench.engine.counter import Counter
from robbench.objectives import OBJECTIVES
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """A smooth one, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-2, 2, 12).sin().reshape(3, 4), False)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).mul(3).sin()[:, None] * self.weight).sum(2)


def _split(n: int) -> Split:
    draw = torch.Generator().manual_seed(n)
    return Split(
        torch.rand(n, 1, 2, 2, generator=draw),
        torch.randint(0, 3, (n,), generator=draw),
        torch.arange(n),
        ("a", "b", "c"),
        "toy",
        "test",
    )


class Watched(nn.Module):
    """Counts the rows it is asked, in total and since a mark."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        return self.net(x)  # type: ignore[no-any-return]


def _problem(split: Split) -> Problem:
    return Problem.of(split.pixels(slice(None)), split.labels, 0.1, NORMS["linf"])


@pytest.mark.parametrize("n", [1, 8, 13, 40])
def test_each_answer_is_asked_for_once_and_charged(n: int) -> None:
    """What is charged is what passes the model, both ways together, padding included."""
    split, charged = _split(n), []
    counter = Counter(Net())
    answers = Answers(counter, split, charged.append)
    answers.tiles  # noqa: B018  what measures the shapes is no answer
    steps: list[Callable[[], object]] = [
        lambda: answers.logits,
        lambda: answers.gradients,
        lambda: answers.ask(answers.x * 0.5),
        lambda: answers.slope(_problem(split), answers.x, OBJECTIVES["margin"]),
    ]
    for step in steps:
        before, paid = counter.n_forward + counter.n_backward, sum(charged)
        step()
        assert sum(charged) - paid == counter.n_forward + counter.n_backward - before > 0
    before = counter.n_forward
    assert answers.logits is answers.logits
    assert answers.gradients is answers.gradients
    assert torch.equal(answers.margins, answers.margins)
    assert counter.n_forward == before


def test_they_are_the_models() -> None:
    """Logits, margins, gradients of cross-entropy and of an objective, against plain autograd."""
    split, net = _split(13), Net()
    answers = Answers(Counter(Net()), split, lambda queries: None)
    x = split.pixels(slice(None))
    logits = net(x)
    assert torch.allclose(answers.logits, logits, atol=1e-6)
    for row in range(13):
        others = [float(z) for k, z in enumerate(logits[row]) if k != split.labels[row]]
        assert float(answers.margins[row]) == pytest.approx(
            float(logits[row, split.labels[row]]) - max(others), abs=1e-5
        )
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(
        F.cross_entropy(net(leaf), split.labels, reduction="sum"), leaf
    )
    found, reason = answers.gradients
    assert reason == ""
    assert torch.allclose(found[0], expected, atol=1e-5)
    assert len(found) == 2
    assert not torch.allclose(found[1], expected, atol=1e-3)  # at a point nearby
    leaf = x.clone().requires_grad_()
    z = net(leaf)
    gap = z.masked_fill(F.one_hot(split.labels, 3).bool(), -torch.inf).amax(1)
    (expected,) = torch.autograd.grad((gap - z.gather(1, split.labels[:, None])[:, 0]).sum(), leaf)
    slope = answers.slope(_problem(split), x, OBJECTIVES["margin"])
    assert torch.allclose(slope, expected, atol=1e-5)


def test_a_budget_that_is_spent_stops_before_the_model_is_asked() -> None:
    """The charge may raise; nothing is kept of an answer that was not paid for."""

    def refuse(queries: int) -> None:
        raise RuntimeError(f"{queries} queries too many")

    watched = Watched()
    answers = Answers(Counter(watched), _split(8), refuse)
    answers.tiles  # noqa: B018
    before = watched.rows
    for _ in range(2):
        with pytest.raises(RuntimeError, match="8 queries too many"):
            answers.logits  # noqa: B018
    assert watched.rows == before


def test_other_shapes_are_asked_on_request() -> None:
    """Tiles of one row are so many single questions."""
    watched = Watched()
    answers = Answers(Counter(watched), _split(5), lambda queries: None)
    answers.tiles  # noqa: B018
    before = watched.rows
    logits = answers.ask(answers.x, Tiles(1, 1))
    assert watched.rows - before == 5
    assert torch.allclose(logits, Net()(answers.x), atol=1e-6)
