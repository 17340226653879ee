"""The bisection of a way whose boundary is known."""

from __future__ import annotations

import torch

from robbench.attacks.bisection import Bisection
from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem


def test_it_closes_in_on_the_boundary_of_each_row() -> None:
    """X is adversarial from a share of the way on; ten halvings leave a thousandth of the way."""
    x0, boundary = torch.zeros(3, 4), torch.tensor([0.1, 0.5, 0.9])
    p = Problem.of(x0, torch.zeros(3, dtype=torch.int64), torch.inf, find_norm("l2"))
    yes = torch.ones(3, dtype=torch.bool)
    way = Bisection.of(p).after(torch.full((3, 4), 0.75), yes, ~yes, p)
    way = way.after(torch.full((3, 4), 0.9), yes, ~yes, p)  # farther: not kept
    assert way.size.tolist() == [1.5] * 3
    for _ in range(10):
        x = way.middle(p)
        way = way.after(x, x[:, 0] / 0.75 > boundary, yes, p)
    assert ((way.low <= boundary) & (boundary <= way.high)).all()
    assert (way.high - way.low).tolist() == [2.0**-10] * 3
