"""The ball a row may move in, cut by the box."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem, size_and_fits

pytestmark = pytest.mark.usefixtures("one_thread")


def _problem(name: str, x0: Tensor, eps: Tensor) -> Problem:
    rows = torch.arange(len(x0))
    return Problem(
        x0=x0, y=torch.zeros_like(rows), target=torch.full_like(rows, -1), eps=eps, key=rows * 7 + 1, index=rows,
        logits0=torch.zeros(len(x0), 3, dtype=x0.dtype), norm=NORMS[name],
    )  # fmt: skip


@given(
    st.integers(0, 10_000),
    st.sampled_from(sorted(NORMS)),
    st.sampled_from([(3,), (1, 2, 3)]),
    st.sampled_from([0.0, 1e-4, 0.3, 5.0]),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_everything_the_ball_gives_is_in_box_and_ball(seed: int, name: str, shape: tuple[int, ...], scale: float) -> None:
    """project, ascend, inside and surface end inside [0,1] and inside the budget, for x0 on the box's faces too, in float32."""
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(5, *shape, generator=generator)
    x0 = torch.where(torch.rand(5, *shape, generator=generator) < 0.3, x0.round(), x0)
    p = _problem(name, x0, scale * torch.rand(5, generator=generator))
    far = x0 + 3 * torch.randn(5, *shape, generator=generator)
    g = torch.randn(5, *shape, generator=generator)
    for x in (p.ball.project(far), p.ball.ascend(far, g, p.eps * 2), p.ball.inside(), p.ball.surface()):
        assert x.dtype == torch.float32
        assert float(x.min()) >= 0
        assert float(x.max()) <= 1
        order = float("inf") if name == "linf" else 2
        size = torch.linalg.vector_norm((x.double() - x0.double()).flatten(1), ord=order, dim=1)
        assert bool((size <= p.eps.double() * (1 + 1e-5) + 1e-7).all())
        assert bool(size_and_fits(x, p)[1].all())


@pytest.mark.parametrize("name", sorted(NORMS))
def test_projection_leaves_inner_points_alone_and_is_idempotent(name: str) -> None:
    """A point already inside is kept to rounding, and projecting twice changes nothing more."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(20, 6, generator=generator, dtype=torch.float64)
    p = _problem(name, x0, torch.full((20,), 0.2, dtype=torch.float64))
    inner = p.ball.project(x0 + torch.randn(20, 6, generator=generator, dtype=torch.float64))
    assert torch.allclose(p.ball.project(inner), inner, rtol=0, atol=1e-15)


def test_linf_projection_is_the_nearest_point_of_the_cut_ball() -> None:
    """In linf, ball and box are one cuboid, whose nearest point is the coordinate-wise clip."""
    generator = torch.Generator().manual_seed(1)
    x0, far = torch.rand(50, 4, generator=generator), torch.randn(50, 4, generator=generator)
    eps = torch.rand(50, generator=generator)
    ours = _problem("linf", x0, eps).ball.project(far)
    assert torch.allclose(
        ours, torch.maximum((x0 - eps[:, None]).clamp(min=0), torch.minimum(far, (x0 + eps[:, None]).clamp(max=1))), atol=1e-6
    )


@pytest.mark.parametrize("name", sorted(NORMS))
def test_ascend_is_one_steepest_step(name: str) -> None:
    """Away from every face, ascend moves by the length in the norm along the gradient; every row by its own length."""
    x0 = torch.full((2, 3), 0.5, dtype=torch.float64)
    p = _problem(name, x0, torch.tensor([0.4, 0.4], dtype=torch.float64))
    g = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    unit = torch.tensor([[1, -1, 0], [0, 0, 1]] if name == "linf" else [[0.6, -0.8, 0], [0, 0, 1]], dtype=torch.float64)
    moved = p.ball.ascend(x0, g, torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert torch.allclose(moved, x0 + torch.tensor([[0.1], [0.2]]) * unit)


@pytest.mark.parametrize("draw", [lambda ball: ball.inside(), lambda ball: ball.surface()])
@pytest.mark.parametrize("name", sorted(NORMS))
def test_random_points_are_functions_of_the_rows_key(name: str, draw: Callable[..., Tensor]) -> None:
    """A row's random point does not depend on its neighbours, and other keys give other points."""
    generator = torch.Generator().manual_seed(2)
    p = _problem(name, torch.rand(6, 5, generator=generator), torch.full((6,), 0.1))
    whole = draw(p.ball)
    assert torch.equal(draw(p.take(torch.tensor([4, 1])).ball), whole[[4, 1]])
    shifted = draw(p.replace(key=p.key + 1).ball)
    assert bool((shifted != whole).flatten(1).any(1).all())


def test_fits_has_one_tolerance() -> None:
    """A size up to eps (1 + 1e-5) + 1e-7 fits; more, a step out of the box, or NaN does not."""
    x0 = torch.full((7, 1), 0.5, dtype=torch.float64)
    x0[4:6] = torch.tensor([[0.0], [1.0]])
    d = torch.tensor(
        [[0.1], [0.1 * (1 + 9e-6)], [-0.1 * (1 + 1e-5) - 1.5e-7], [torch.nan], [-1e-9], [1e-9], [0.0]], dtype=torch.float64
    )
    size, fits = size_and_fits(x0 + d, _problem("linf", x0, torch.full((7,), 0.1, dtype=torch.float64)))
    assert fits.tolist() == [True, True, False, False, False, False, True]
    assert size[0].item() == pytest.approx(0.1)
