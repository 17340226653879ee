"""The frozen model, and the last look at every point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.engine.guard import frozen
from robbench.engine.oracle import forward_tiles
from robbench.engine.verify import judge_logits, verify
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def mixed() -> nn.Sequential:
    """A model in mixed modes, with one frozen weight, buffers and a gradient already there."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    model[1].eval()
    model[4].bias.grad = torch.ones(2)
    return model


def _facts(model: nn.Module) -> tuple[Any, ...]:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return (
        [m.training for m in model.modules()],
        [w.requires_grad for w in model.parameters()],
        [w.grad for w in model.parameters()],
        state,
    )


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return (
        a[:2] == b[:2]
        and all(x is y for x, y in zip(a[2], b[2], strict=True))
        and all(torch.equal(a[3][k], b[3][k]) for k in a[3])
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_frozen_puts_everything_back(training: bool, fails: bool, mixed: nn.Sequential) -> None:
    """Modes, gradient flags, gradients, weights and running statistics are as before, also after an exception."""
    before, buffers = _facts(mixed), list(mixed.buffers())
    try:
        with frozen(mixed, training=training):
            assert all(module.training == training for module in mixed.modules())
            assert not any(weight.requires_grad for weight in mixed.parameters())
            x = torch.randn(8, 3, requires_grad=True)
            mixed(x).sum().backward()
            assert x.grad is not None
            assert training != torch.equal(mixed[1].running_mean, before[3]["1.running_mean"])
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert _same(_facts(mixed), before)
    assert all(a is b for a, b in zip(mixed.buffers(), buffers, strict=True))


def test_frozen_can_be_nested(mixed: nn.Sequential) -> None:
    """An attack inside an attack leaves the outer one's settings, and both leave the model's."""
    before = _facts(mixed)
    with frozen(mixed):
        inside = _facts(mixed)
        with frozen(mixed, training=True):
            mixed(torch.randn(4, 3))
        assert _same(_facts(mixed), inside)
    assert _same(_facts(mixed), before)


def _problem(x0: Tensor, y: list[int], eps: list[float], norm: str = "linf") -> Problem:
    rows = torch.arange(len(x0))
    return Problem(x0=x0, y=torch.tensor(y), target=-torch.ones_like(rows), eps=torch.tensor(eps), key=rows, index=rows,
                   logits0=torch.zeros(len(x0), 2), norm=NORMS[norm])  # fmt: skip


def test_verify_rejects_whatever_breaks_a_rule() -> None:
    """Only a finite, misclassified point inside box and budget is adversarial; every other row names one broken rule."""

    def model(x: Tensor) -> Tensor:  # class 1 from 0.5 on; NaN and infinity on request
        logits = torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1) * 10
        logits = torch.where((x[:, 1] == 0.25)[:, None], torch.nan, logits)
        return torch.where((x[:, 1] == 0.75)[:, None], torch.tensor([-torch.inf, torch.inf]), logits)

    clean, wrong = [0.45, 0.5], [0.55, 0.5]
    rows: list[tuple[str, list[float], list[float], float, bool]] = [
        ("fine", clean, wrong, 0.1, True),
        ("right", clean, [0.48, 0.5], 0.1, False),
        ("outside the budget", clean, wrong, 0.09, False),
        ("just inside the tolerance", clean, [0.45 + 0.1 * (1 + 5e-6), 0.5], 0.1, True),
        ("outside the box", [0.45, 0.99], [0.55, 1.01], 0.1, False),
        ("below the box", [0.45, 0.01], [0.55, -0.01], 0.1, False),
        ("NaN logits", [0.45, 0.26], [0.55, 0.25], 0.1, False),
        ("infinite logits", [0.45, 0.74], [0.55, 0.75], 0.1, False),
        ("NaN point", clean, [torch.nan, 0.5], 0.1, False),
        ("zero budget", wrong, wrong, 0.0, True),
    ]
    names, x0, x, eps, expected = zip(*rows, strict=True)
    judged = verify(model, torch.tensor(x), _problem(torch.tensor(x0), [0] * len(rows), list(eps)), tile=32)
    assert dict(zip(names, judged.adversarial.tolist(), strict=True)) == dict(zip(names, expected, strict=True))
    assert judged.linf[0].item() == pytest.approx(0.1, abs=1e-6)
    assert judged.pred[:2].tolist() == [1, 0]
    assert judged.margin[0].item() == pytest.approx(-1.0, abs=1e-5)


def test_verify_measures_both_norms() -> None:
    """`linf` and l2 are sizes of the perturbation in both norms, whichever the threat's is."""
    x0 = torch.full((2, 4), 0.5)
    x = x0 + torch.tensor([[0.3, -0.4, 0.0, 0.0], [0.1, 0.1, -0.1, 0.1]])
    for norm, inside in (("linf", [False, True]), ("l2", [False, True])):
        judged = verify(
            lambda x: torch.tensor([0.0, 1.0]).expand(len(x), 2), x, _problem(x0, [0, 0], [0.25, 0.25], norm), tile=32
        )
        assert judged.linf.tolist() == pytest.approx([0.4, 0.1])
        assert judged.l2.tolist() == pytest.approx([0.5, 0.2])
        assert judged.adversarial.tolist() == inside


def test_judged_probabilities() -> None:
    """The probability margin is p_y - max of the others, also for saturated logits; its sign is the margin's."""
    z = torch.tensor([[2.0, -1.0, 0.5], [2.0, -1.0, 0.5], [1000.0, 0.0, -1000.0], [1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]])
    y = torch.tensor([0, 2, 0, 1, 1])
    pred, margin, pmargin = judge_logits(z, y)
    p = z.double().softmax(1)
    expected = [float(p[row, y[row]] - max(p[row, k] for k in range(3) if k != y[row])) for row in range(5)]
    assert pmargin.tolist() == pytest.approx(expected, abs=1e-6)
    assert margin.tolist() == [1.5, -1.5, 1000, -1000, 0]
    assert pred.tolist() == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 31, 32, 33, 40, 100])
def test_tiles_have_few_shapes(rows: int, seen: Callable[..., Any]) -> None:
    """Any number of rows is cut into tiles of 32, the last padded to a multiple of eight; the logits are those of the rows."""
    model = seen(nn.Linear(3, 2))
    x = torch.rand(rows, 3, generator=torch.Generator().manual_seed(rows))
    logits = forward_tiles(model, x, 32, 8)
    assert logits.shape == (rows, 2)
    assert torch.allclose(logits, model.model(x), atol=1e-6)
    assert not logits.requires_grad
    padded = -(-rows // 8) * 8
    assert model.forward_rows == ([32] * (padded // 32) + [padded % 32] * (padded % 32 > 0) or [0])
