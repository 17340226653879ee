"""What a row under attack has to solve: its defaults, and its likeliest wrong classes."""

from __future__ import annotations

import pytest
import torch

from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem, size_and_fits


def test_a_problem_of_plain_rows() -> None:
    """Rows are counted, without a target; one eps is that of each row."""
    x0, y = torch.rand(3, 2), torch.tensor([1, 0, 2])
    p = Problem.of(x0, y, 0.1, find_norm("linf"))
    assert p.target.tolist() == [-1, -1, -1]
    assert p.index.tolist() == p.key.tolist() == [0, 1, 2]
    assert torch.equal(p.eps, torch.full((3,), 0.1))
    assert Problem.of(x0, y, torch.ones(3), p.norm, key=y).key is y


def test_the_likeliest_wrong_classes() -> None:
    """By clean logit, without the label, ties by number, at most all the others."""
    logits = torch.tensor([[3.0, 1.0, 2.0, 1.0], [0.0, 9.0, 0.0, 0.0]])
    y = torch.tensor([0, 2])
    p = Problem.of(torch.rand(2, 1), y, 0.1, find_norm("linf"), logits0=logits)
    assert p.likeliest_wrong(2).tolist() == [[2, 1], [1, 0]]
    assert p.likeliest_wrong(9).tolist() == [[2, 1, 3], [1, 0, 3]]


def test_fixed_entries_are_no_part_of_the_ball() -> None:
    """Points are put back there, directions are zero, and a point that moved one does not fit."""
    x0, free = torch.full((2, 3), 0.5), torch.tensor([[True, False, True], [False, True, True]])
    p = Problem.of(x0, torch.zeros(2, dtype=torch.int64), 1.0, find_norm("l1"), free=free)
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(p.held(x), torch.where(free, x, x0))
    assert torch.equal(p.movable(x), x * free)
    assert torch.equal(p.movable(torch.stack([x, x], 1))[:, 1], x * free)
    for point in (p.ball.into_box(3 * x), p.ball.project(3 * x), p.ball.uniform()):
        assert torch.equal(point[~free], x0[~free])
        assert size_and_fits(point, p)[1].tolist() == [True, True]
    moved = x0.clone()
    moved[1, 0] += 1e-7
    assert size_and_fits(moved, p)[1].tolist() == [True, False]
    assert size_and_fits(moved, p.replace(free=None))[1].tolist() == [True, True]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_the_size_of_some_rows_is_that_of_all(norm: str) -> None:
    """To the bit; rows that are not asked about are not inside."""
    rng = torch.Generator().manual_seed(0)
    x0, x = torch.rand(2, 5, 3, 40, 40, generator=rng)
    x[3] = x0[3]
    free = torch.rand(x0.shape, generator=rng) < 0.5
    for fixed in (None, free):
        p = Problem.of(x0, torch.zeros(5, dtype=torch.int64), 1e4, find_norm(norm), free=fixed)
        size, inside = size_and_fits(x, p)
        for rows in ([1], [3], [0, 3, 4], [0, 1, 2, 3, 4]):
            among = torch.zeros(5, dtype=torch.bool)
            among[rows] = True
            some, kept = size_and_fits(x, p, among=among)
            assert torch.equal(some[rows], size[rows])
            assert torch.equal(kept, inside & among)
