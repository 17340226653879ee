"""The last look at every point, and the tiles it is made in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.core.tiles import Tiles
from robbench.engine.oracle import forward_tiles
from robbench.engine.verify import judge_logits, verify
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")


def _problem(x0: Tensor, y: list[int], eps: list[float], norm: str = "linf") -> Problem:
    rows = torch.arange(len(x0))
    return Problem(
        x0=x0,
        y=torch.tensor(y),
        target=-torch.ones_like(rows),
        eps=torch.tensor(eps),
        key=rows,
        index=rows,
        logits0=torch.zeros(len(x0), 2),
        norm=NORMS[norm],
    )


def test_verify_rejects_whatever_breaks_a_rule() -> None:
    """Only a finite mistake in box and budget is adversarial; each other row breaks one rule."""

    def model(x: Tensor) -> Tensor:  # class 1 from 0.5 on; NaN and infinity on request
        logits = torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1) * 10
        logits = torch.where((x[:, 1] == 0.25)[:, None], torch.nan, logits)
        return torch.where(
            (x[:, 1] == 0.75)[:, None], torch.tensor([-torch.inf, torch.inf]), logits
        )

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
    judged = verify(
        model,
        torch.tensor(x),
        _problem(torch.tensor(x0), [0] * len(rows), list(eps)),
        tiles=Tiles(32, 8),
    )
    assert dict(zip(names, judged.adversarial.tolist(), strict=True)) == dict(
        zip(names, expected, strict=True)
    )
    assert judged.linf[0].item() == pytest.approx(0.1, abs=1e-6)
    assert judged.pred[:2].tolist() == [1, 0]
    assert judged.margin[0].item() == pytest.approx(-1.0, abs=1e-5)


def test_verify_measures_both_norms() -> None:
    """`linf` and l2 are sizes of the perturbation in both norms, whichever the threat's is."""
    x0 = torch.full((2, 4), 0.5)
    x = x0 + torch.tensor([[0.3, -0.4, 0.0, 0.0], [0.1, 0.1, -0.1, 0.1]])
    for norm, inside in (("linf", [False, True]), ("l2", [False, True])):
        judged = verify(
            lambda x: torch.tensor([0.0, 1.0]).expand(len(x), 2),
            x,
            _problem(x0, [0, 0], [0.25, 0.25], norm),
            tiles=Tiles(32, 8),
        )
        assert judged.linf.tolist() == pytest.approx([0.4, 0.1])
        assert judged.l2.tolist() == pytest.approx([0.5, 0.2])
        assert judged.adversarial.tolist() == inside


def test_judged_probabilities() -> None:
    """The probability margin is p_y - max of the others, also for saturated logits."""
    z = torch.tensor(
        [
            [2.0, -1.0, 0.5],
            [2.0, -1.0, 0.5],
            [1000.0, 0.0, -1000.0],
            [1000.0, 0.0, -1000.0],
            [0.0, 0.0, 0.0],
        ]
    )
    y = torch.tensor([0, 2, 0, 1, 1])
    pred, margin, pmargin = judge_logits(z, y)
    p = z.double().softmax(1)
    expected = [
        float(p[row, y[row]] - max(p[row, k] for k in range(3) if k != y[row])) for row in range(5)
    ]
    assert pmargin.tolist() == pytest.approx(expected, abs=1e-6)
    assert margin.tolist() == [1.5, -1.5, 1000, -1000, 0]
    assert pred.tolist() == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 31, 32, 33, 40, 100])
def test_tiles_have_few_shapes(rows: int, seen: Callable[..., Any]) -> None:
    """Any number of rows in tiles of 32, the last padded to 8; logits are the rows' own."""
    model = seen(nn.Linear(3, 2))
    x = torch.rand(rows, 3, generator=torch.Generator().manual_seed(rows))
    logits = forward_tiles(model, x, Tiles(32, 8))
    assert logits.shape == (rows, 2)
    assert torch.allclose(logits, model.model(x), atol=1e-6)
    assert not logits.requires_grad
    padded = -(-rows // 8) * 8
    assert model.forward_rows == ([32] * (padded // 32) + [padded % 32] * (padded % 32 > 0) or [0])


def test_with_a_target_only_the_target_is_a_success() -> None:
    """The margin is that of the best other class over it, on logits and on probabilities."""
    z = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 2.0], [1.0, 1.0, torch.nan]])
    x0 = torch.full((4, 2), 0.5)
    p = Problem.of(
        x0, torch.tensor([0, 0, 0, 0]), 0.1, NORMS["linf"], target=torch.tensor([2, 2, 2, 0])
    )
    judged = verify(lambda x: z[: len(x)], x0, p, tiles=Tiles(4, 4))
    assert judged.adversarial.tolist() == [False, False, True, False]
    assert judged.margin[:3].tolist() == [2.0, 2.0, -1.0]
    q = z[:3].double().softmax(1)
    expected = [float(max(row[0], row[1]) - row[2]) for row in q]
    assert judged.pmargin[:3].tolist() == pytest.approx(expected, abs=1e-6)
