"""What an attack climbs: one value per row, larger = closer to a mistake. No reduction.

Shapes: logits [B,K], p the rows' Problem, result [B]. z_(i) is the i-th largest logit. Formulas
checked on the vectors of `tests/test_objectives.py`.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from robbench.core import fused
from robbench.core.errors import unknown
from robbench.core.rows import Rows, between
from robbench.threat.problem import Problem

Objective = Callable[[Tensor, Problem], Tensor]
FAR = 1e3  # logits beyond are shifted before they are summed, see `centred`
SMALL, LARGE, USUAL = 1.0, 50.0, 10.0  # of differences of logits, see `temperatures`


class RowObjective(Rows, ABC):
    """An objective with settings of each row, as the phase it is in or weights of the logits."""

    @abstractmethod
    def __call__(self, logits: Tensor, p: Problem) -> Tensor:
        """[B] of logits [B,K]; the rows of this objective and of `p` are those of the logits."""


class SoftCrossEntropy(RowObjective):
    """-sum_k P_k log softmax(z / T)_k of a distribution P for each row, at one temperature T.

    It grows with KL(P || softmax(z / T)), from which it differs by the entropy of P. It leads away
    from P, to no class in particular.
    """

    targets: Tensor  # [B,K] rows of sum 1
    temperature: float = 1.0

    def __call__(self, logits: Tensor, p: Problem) -> Tensor:
        here = log_softmax(p.tempered(logits) / self.temperature)
        return -(self.targets.to(here.dtype) * here).sum(1)


def at_rows(objective: Objective, rows: Tensor | slice) -> Objective:
    """The objective of some rows of a batch."""
    return objective.take(rows) if isinstance(objective, RowObjective) else objective


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """[B] logit margin z_y - max_{k != y} z_k: positive = correct; +inf with a single class."""
    if fused.fusable(logits):
        return fused.margins(logits, y)
    return logits.gather(1, y[:, None])[:, 0] - best_other(logits, y)


def margins_left(logits: Tensor, aim: Tensor, targeted: bool) -> Tensor:
    """[B] what is left until success, negative = reached; `aim` and `targeted` as of a Problem.

    The margin of the label; if targeted max_{k != t} z_k - z_t.
    """
    return -margins(logits, aim) if targeted else margins(logits, aim)


def answered(logits: Tensor) -> Tensor:
    """[B] bool: no logit is NaN or +inf. -inf is allowed: it rules a class out."""
    return logits.amax(1) < torch.inf  # which is NaN where a logit is


def best_other(logits: Tensor, y: Tensor) -> Tensor:
    """[B] max_{k != y} z_k."""
    return _others(logits, y).amax(1)


def soft_margins(logits: Tensor, y: Tensor) -> Tensor:
    """[B] soft logit margin z_y - logsumexp_{k != y} z_k (Ding et al. 2020, arXiv:1812.02637).

    It is at most the logit margin.
    """
    logits = centred(logits)
    return logits.gather(1, y[:, None])[:, 0] - _others(logits, y).logsumexp(1)


def centred(logits: Tensor) -> Tensor:
    """Logits [B,K] less the largest where sums would lose digits, else as they are."""
    top = logits.detach().amax(1, keepdim=True)
    if between(top, -FAR, FAR):
        return logits
    far = top.abs() > FAR
    return logits - torch.where(far & torch.isfinite(top), top, 0.0)


def _others(logits: Tensor, y: Tensor) -> Tensor:
    """The logits with the true one at -inf; a product with a mask fails for negative logits."""
    return logits.scatter(1, y[:, None], -torch.inf)


def cross_entropies(logits: Tensor, y: Tensor) -> Tensor:
    """[B] -log softmax(z)_y, written as softplus(logsumexp_{k != y} z_k - z_y).

    The same function, but its gradient keeps all its digits for confident models, where the usual
    form computes p_y - 1 and rounds to zero from a margin of about 16 in float32.
    """
    gap = -soft_margins(logits, y)
    # Not torch's softplus: it rounds the last elements of a vector otherwise, which would tie a row
    # to its place.
    top = straight_from(gap.dtype)
    return torch.where(gap > top, gap, gap.clamp(max=top).exp().log1p())


def straight_from(dtype: torch.dtype) -> float:
    """From where on softplus is taken as the identity; in float16 exp overflows at 11."""
    return min(40.0, math.log(torch.finfo(dtype).max) - 0.1)


def cross_entropy(logits: Tensor, p: Problem) -> Tensor:
    """-log softmax(z / temperature)_y, see `cross_entropies`; if targeted log softmax(...)_t."""
    return _towards(cross_entropies(p.tempered(logits), p.aim), p)


def _towards(value: Tensor, p: Problem) -> Tensor:
    """What grows as the class p.aim loses, turned round where it has to win."""
    return -value if p.targeted else value


def temperatures(logits0: Tensor) -> Tensor:
    """[B]: what an attack divides a row's logits by, from its clean logits [B,K].

    1 unless their scale is extreme.

    A scale changes no label, but the softmax of tiny logits climbs towards all classes at once, and
    that of huge ones has no gradient in float32. Tiny: z_(1) - median below SMALL, of three classes
    z_(1) - z_(3). Huge: z_(1) - z_(2) above LARGE. Then it becomes USUAL. A small gap alone is no
    sign of a scale: the row may be close to the boundary. So with two classes none is tiny.
    """
    classes = logits0.shape[1]
    if classes < 2:
        return torch.ones_like(logits0[:, 0])
    first, second = logits0.topk(2, dim=1).values.unbind(1)
    gap = first - second
    spread = first - (logits0.amin(1) if classes < 4 else logits0.median(1).values)
    one = torch.ones_like(gap)
    huge = (gap > LARGE) & torch.isfinite(gap)
    tiny = (spread < SMALL) & (spread > 0) & (classes > 2)
    return torch.where(huge, gap / USUAL, torch.where(tiny, spread / USUAL, one))


def log_softmax(logits: Tensor) -> Tensor:
    """[B,K] log-probabilities, as exact as torch's.

    Torch's own starts its threads even for a few rows, which on a busy machine costs a thousand
    times the arithmetic.
    """
    centred = logits - logits.detach().amax(1, keepdim=True)
    return centred - centred.logsumexp(1, keepdim=True)


def margin(logits: Tensor, p: Problem) -> Tensor:
    """max_{k != y} z_k - z_y (Carlini and Wagner 2017, f_6): does not saturate.

    If targeted z_t - max_{k != t} z_k, which is their form.
    """
    return -margins_left(logits, p.aim, p.targeted)


def log_weighted(logits: Tensor, weights: Tensor) -> Tensor:
    """[B] log sum_k w_k softmax(z)_k for weights w [B,K] >= 0.

    With w = 0 for the label its gradient keeps its digits for confident models, as that of
    `cross_entropies`.
    """
    centred = logits - logits.detach().amax(1, keepdim=True)
    least = torch.finfo(logits.dtype).min  # in place of -inf, which minus itself is no number
    counted = centred.detach().masked_fill(weights == 0, -torch.inf)
    top = counted.amax(1, keepdim=True).clamp(min=least)  # added to smaller terms it costs digits
    sums = (centred - top + weights.to(centred).log()).logsumexp(1)
    return sums + top[:, 0] - centred.logsumexp(1)


def rivals(logits: Tensor, p: Problem) -> tuple[Tensor, Tensor]:
    """[B,K] each, one-hot: the class that has to gain, and the one that has to lose.

    The likeliest wrong class and the label; if targeted the target and the likeliest other class.
    """
    aim = F.one_hot(p.aim, logits.shape[1])
    other = F.one_hot(_others(logits.detach(), p.aim).argmax(1), logits.shape[1])
    return (aim, other) if p.targeted else (other, aim)


def probability_margin(logits: Tensor, p: Problem) -> Tensor:
    """log(1 + p_o - p_y), o the likeliest wrong class: what PMA climbs (Xie et al. 2025).

    It grows with their p_o - p_y, so it has the same steepest direction. But theirs has no gradient
    where p_y rounds to 1. If targeted log(1 + p_t - max_{k != t} p_k). z is divided by the
    temperature.
    """
    z = p.tempered(logits)
    gains, loses = rivals(z, p)
    return log_weighted(z, 1 - loses + gains)


def true_logit(logits: Tensor, p: Problem) -> Tensor:
    """-z_y, for logits that are distances to centres (MMC's adaptive attack, Pang et al. 2020).

    If targeted z_t. Unlike the others it sees a common shift of the logits.
    """
    return _towards(-logits.gather(1, p.aim[:, None])[:, 0], p)


def soft_margin(logits: Tensor, p: Problem) -> Tensor:
    """logsumexp_{k != y} z_k - z_y, what MMA climbs: a smooth upper bound of `margin`.

    If targeted z_t - logsumexp_{k != t} z_k. z is divided by the temperature.
    """
    return _towards(-soft_margins(p.tempered(logits), p.aim), p)


def dlr(logits: Tensor, p: Problem) -> Tensor:
    """-(z_y - max_{k != y} z_k) / (z_(1) - z_(3)), Croce and Hein 2020, eq. 5.

    With 2 classes it is the plain margin. If targeted it is `dlr_targeted`.
    """
    if p.targeted:
        return dlr_targeted(logits, p)
    if logits.shape[1] < 3:
        return margin(logits, p)
    top = logits.gather(1, largest(logits, 3))
    return margin(logits, p) / (top[:, 0] - top[:, 2] + guard(logits))


def dlr_targeted(logits: Tensor, p: Problem) -> Tensor:
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), Croce and Hein 2020, eq. 6.

    With 3 classes the denominator is z_(1) - z_(3); with 2 there is no scale left and it is the
    plain difference.

    Where the target alone is a success it takes the largest other logit for z_y: theirs stops
    climbing once the target is above the label, though a third class may be above both.
    """
    logits = centred(logits)
    difference = margin(logits, p) if p.targeted else target_lead(logits, p)
    if logits.shape[1] < 3:
        return difference
    top = logits.gather(1, largest(logits, min(4, logits.shape[1])))
    return difference / (top[:, 0] - top[:, 2:].mean(1) + guard(logits))


def target_lead(logits: Tensor, p: Problem) -> Tensor:
    """z_t - z_y."""
    return logits.gather(1, p.target[:, None])[:, 0] - logits.gather(1, p.y[:, None])[:, 0]


def largest(logits: Tensor, count: int) -> Tensor:
    """[B,count] int64: the classes of the largest logits, of equal ones the first."""
    return logits.detach().sort(dim=1, descending=True, stable=True).indices[:, :count]


def guard(logits: Tensor) -> float:
    """What keeps a division from 0/0 when the top logits tie; 1e-12 itself is 0 in float16."""
    return max(1e-12, torch.finfo(logits.dtype).tiny)


def kl_from_clean(logits: Tensor, p: Problem) -> Tensor:
    """KL(softmax(z at x0) || softmax(z)), what TRADES climbs; z divided by the temperature.

    Both sides are in log space, so zeros give no NaN.
    """
    clean, here = log_softmax(p.tempered(p.logits0)), log_softmax(p.tempered(logits))
    return F.kl_div(here, clean, reduction="none", log_target=True).sum(1)


OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": cross_entropy,
    "margin": margin,
    "soft-margin": soft_margin,
    "dlr": dlr,
    "dlr-targeted": dlr_targeted,
    "kl-from-clean": kl_from_clean,
    "probability-margin": probability_margin,
    "true-logit": true_logit,
}
TARGETED = frozenset({"dlr-targeted"})  # need Problem.target
UNTARGETED = frozenset({"kl-from-clean"})  # lead away from the input, to no class in particular
ANCHORED = TARGETED | {"kl-from-clean"}  # need Problem.logits0


@functools.cache
def find_objective(name: str) -> Objective:
    """The objective of a name. Raises UserError for an unknown one."""
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
