"""What a row under attack has to solve: its defaults, and its likeliest wrong classes."""

from __future__ import annotations

import torch

from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem


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
