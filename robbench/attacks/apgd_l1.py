"""APGD in L1: Croce and Hein 2021, arXiv:2103.01208, algorithm 1 and "multi-eps".

    x <- project(x + eta sign(top_k(g)) / k)      top_k: the k largest entries of the gradient

Projected to the nearest point of ball and box at once; no momentum. At checkpoints, every 4 % of
the steps, k becomes 2/3 of the entries by which the best point differs from x0. If these are now
fewer than 95 % of those at the checkpoint before, eta is set to eps and the run goes on from the
best point; else eta is divided by 1.5, down to eps / 10.

With several budgets, 30 % of the steps climb inside 3 eps, 30 % inside 2 eps, the others inside
eps; each phase is such a run of its own, from the best point of the one before, projected.
AutoAttack uses it in L1.

Deviations from the authors' code, all on purpose. k is rounded down: rounded up, it stays at 2 once
two entries differ, and the nearest mistake of a linear model, which changes one, is out of reach.
Entries that differ from x0 by a rounding error because they moved and came back are not counted.
The move to a new phase is one of the `steps` (theirs query two more points), and the first two
phases are rounded down (up, they leave nothing for the last one when steps < 3). As in their code,
a checkpoint is due after 4 % of the phase's steps, and entries that tie with the k-th are kept too.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from robbench.attacks.base import Oracle
from robbench.core import keyed
from robbench.core.rows import Rows, lift, pick
from robbench.objectives import Objective
from robbench.threat.problem import Problem


class SparseState(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    x_top: Tensor  # [B,*] the best point of its phase, with gradient and value
    g_top: Tensor  # [B,*]
    f_top: Tensor  # [B]
    eta: Tensor  # [B] step length
    k: Tensor  # [B] int64: entries that a step changes
    changed: (
        Tensor  # [B] int64: entries in which the best point of the last checkpoint differed from x0
    )


@functools.cache
def phases(steps: int, large_eps: bool) -> tuple[tuple[int, int, int], ...]:
    """(first query, query after the last, budget in eps) of each phase."""
    n = 3 * steps // 10 if large_eps else 0
    return (0, n, 3), (n, 2 * n, 2), (2 * n, steps + 1, 1)


@functools.cache
def schedule(steps: int, large_eps: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """[steps + 1] each: budget in eps, whether a checkpoint is due, whether a phase ends."""
    times, due, ends = torch.ones(steps + 1), *torch.zeros(2, steps + 1, dtype=torch.bool)
    for start, stop, factor in phases(steps, large_eps):
        window = max(4 * (min(stop, steps) - start) // 100, 1)
        times[start:stop] = factor
        due[start + window : stop : window] = True
        ends[start:stop][-1:] = stop <= steps
    return times.to(device), due.to(device), ends.to(device)


def start(p: Problem, steps: int, large_eps: bool) -> SparseState:
    """A Gaussian point, projected. Without larger budgets the first k is a fifth of all entries."""
    p = p.replace(eps=p.eps * schedule(steps, large_eps, p.eps.device)[0][0])
    s = _begin(p, p.x0 + keyed.normal(p.key, p.x0.shape[1:], dtype=p.x0.dtype))
    entries = p.x0.shape[1:].numel()
    return (
        s
        if large_eps
        else s.replace(
            k=torch.full_like(s.k, -(-entries // 5)), changed=torch.full_like(s.k, entries)
        )
    )


def step(
    s: SparseState,
    t: Tensor,
    p: Problem,
    q: Oracle,
    objective: Objective,
    steps: int,
    large_eps: bool,
) -> SparseState:
    """Query, and move by one sparse step or to the start of the next phase."""
    a = q.grad(s.x, objective)
    s = s.where(a.value > s.f_top, x_top=s.x, g_top=a.grad, f_top=a.value)
    times, due, ends = schedule(steps, large_eps, t.device)
    here = p.replace(eps=p.eps * times[t].to(p.eps.dtype))

    changed = _changed(s.x_top, p)
    sparser = due[t] & (20 * changed < 19 * s.changed)
    eta = pick(sparser, here.eps, torch.maximum(s.eta / 1.5, here.eps / 10))
    s = s.where(due[t], eta=eta, k=_two_thirds(changed), changed=changed)
    x, g = pick(sparser, s.x_top, s.x), pick(sparser, s.g_top, a.grad)
    moved = s.replace(x=here.ball.project(x + lift(s.eta, x) * _sparse_sign(g, s.k)))

    following = p.replace(eps=p.eps * times[(t + 1).clamp(max=steps)].to(p.eps.dtype))
    return _begin(following, s.x_top).choose(ends[t], moved)


def _begin(p: Problem, x: Tensor) -> SparseState:
    """A run inside p's budget, from x projected."""
    x = p.ball.project(x)
    changed = _changed(x, p)
    return SparseState(
        x=x,
        x_top=x,
        g_top=torch.zeros_like(x),
        f_top=torch.full_like(p.eps, -torch.inf),
        eta=p.eps,
        k=_two_thirds(changed),
        changed=changed,
    )


def _changed(x: Tensor, p: Problem) -> Tensor:
    return (x != p.x0).flatten(1).sum(1)


def _two_thirds(changed: Tensor) -> Tensor:
    return (2 * changed // 3).clamp(min=1)


def _sparse_sign(g: Tensor, k: Tensor) -> Tensor:
    """The signs of the k largest entries, and of ties with the last of them; L1 size 1."""
    least = g.abs().flatten(1).sort(dim=1, descending=True).values.gather(1, k[:, None] - 1)[:, 0]
    sign = torch.where(g.abs() >= lift(least, g), g.sign(), 0.0)
    return sign / lift(sign.abs().flatten(1).sum(1).clamp(min=1), g)
