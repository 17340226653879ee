"""What a row under attack has to solve, and the ball it may move in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robbench.core import fused
from robbench.core.rows import Rows, between, finite, lift, pick
from robbench.threat.norm import only
from robbench.threat.norms import BOX as BOX
from robbench.threat.norms import Norm
from robbench.threat.tolerance import fits


class Problem(Rows):
    """B samples to attack; never changes. Batch-wide norm, everything else per row."""

    x0: Tensor  # [B,*] clean input in [0,1]
    y: Tensor  # [B] int64 label
    target: Tensor  # [B] int64 class to reach, -1 when any other will do
    eps: Tensor  # [B] budget
    key: Tensor  # [B] int64 random key
    index: Tensor  # [B] int64 position in the data
    logits0: Tensor  # [B,K] logits at x0
    norm: Norm
    temperature: Tensor | None = None  # [B] what `tempered` divides by; None = 1 for all rows
    free: Tensor | None = None  # [B,*] bool: entries that may change; None = all of them
    variant: Tensor | None = None  # [B] int64 which run of the attack it is; None = the first
    prepared: Tensor | None = None  # [B,k] what the attack has asked about x0, see `Attack.prepare`
    targeted: bool = False  # success is the target alone, else any class but the label

    @classmethod
    def of(
        cls,
        x0: Tensor,
        y: Tensor,
        eps: Tensor | float,
        norm: Norm,
        *,
        key: Tensor | None = None,
        index: Tensor | None = None,
        logits0: Tensor | None = None,
        temperature: Tensor | None = None,
        free: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Problem:
        """By default index and key count the rows, and logits0 is [B,1].

        `target` [B]: the classes that alone are a success.
        """
        index = torch.arange(len(y), device=y.device) if index is None else index
        return cls(
            x0=x0,
            y=y,
            target=torch.full_like(y, -1) if target is None else target,
            eps=eps if isinstance(eps, Tensor) else x0.new_full((len(y),), eps),
            key=index if key is None else key,
            index=index,
            logits0=x0.new_zeros(len(y), 1) if logits0 is None else logits0,
            norm=norm,
            temperature=temperature,
            free=free,
            targeted=target is not None,
        )

    def to(self, dtype: torch.dtype) -> Problem:
        """The same with all real numbers in another precision."""
        return self.map(lambda value: value.to(dtype) if value.is_floating_point() else value)

    @property
    def aim(self) -> Tensor:
        """[B] int64: the class that decides success: the target if `targeted`, else the label."""
        return self.target if self.targeted else self.y

    def likeliest_wrong(self, count: int) -> Tensor:
        """[B,min(count,K-1)] int64: the likeliest wrong classes at x0, the likeliest first."""
        wrong = self.logits0.scatter(1, self.y[:, None], -torch.inf)
        order = wrong.argsort(dim=1, descending=True, stable=True)
        return order[:, : min(count, order.shape[1] - 1)]

    def tempered(self, logits: Tensor) -> Tensor:
        """Logits [B,K] divided by each row's temperature, for objectives that depend on a scale."""
        if self.temperature is None or between(self.temperature, 1, 1):
            return logits
        wide = self.temperature[:, None].to(logits.dtype)
        top = logits.detach().amax(1, keepdim=True)  # an offset common to all would cost digits
        return (logits - torch.where(wide == 1, 0.0, top)) / wide

    def held(self, x: Tensor) -> Tensor:
        """Points x [B,*] with the fixed entries of x0."""
        return x if self.free is None else torch.where(self.free, x, self.x0)

    def movable(self, d: Tensor) -> Tensor:
        """Directions d [B,*] or [B,k,*], zero in fixed entries."""
        free = self.free
        return only(free if free is None or d.ndim == free.ndim else free[:, None], d)

    @property
    def ball(self) -> Ball:
        """The ball around x0, cut by the box; fixed entries do not move."""
        return Ball(self)


class Ball:
    """{x in [0,1]: size(x - x0) <= eps, x = x0 in fixed entries}, row by row."""

    def __init__(self, p: Problem) -> None:
        self.p = p

    def project(self, x: Tensor, *, overwrite: bool = False) -> Tensor:
        """Into ball and box: in l1, l0 and l0px to the nearest point, else the ball first.

        With `overwrite` the result may be x itself, moved.
        """
        p = self.p
        return p.norm.project_boxed(p.held(x), p.x0, p.eps, overwrite=overwrite)

    def into_box(self, x: Tensor) -> Tensor:
        """Clip to [0,1]."""
        return self.p.held(x.clamp(*BOX))

    def ascend(self, x: Tensor, g: Tensor, length: Tensor) -> Tensor:
        """One steepest-ascent step of a length [B] in the norm, projected back.

        Where it moves a single entry, that is the one which gains the most on its way to the length
        or the box's face.
        """
        norm, g = self.p.norm, self.p.movable(g)
        if self.fusable(x, g, each=[length]):
            return fused.ascend(x, g, length, self.p.x0, self.p.eps)
        length = lift(length.clamp(max=torch.finfo(x.dtype).max), x)  # inf times 0 is no number
        if norm.one_entry:
            room = torch.where(g > 0, BOX[1] - x, x - BOX[0]).clamp(min=0)
            g = (
                g
                / lift(norm.dual(g), x).clamp(min=torch.finfo(x.dtype).tiny)
                * torch.minimum(room, length)
            )
        return self.project(norm.steepest(g).mul_(length).add_(x), overwrite=True)

    def stride(
        self,
        x: Tensor,
        g: Tensor,
        length: Tensor,
        before: Tensor,
        share: Tensor,
        inertia: float,
    ) -> Tensor:
        """The point x + share (z - x) + inertia (x - before), projected; z is that of `ascend`."""
        if self.fusable(x, g, before, each=[length, share]):
            p = self.p
            return fused.stride(x, g, length, before, share, inertia, p.x0, p.eps)
        z = self.ascend(x, g, length)
        moved = z.sub_(x).mul_(lift(share, x)).add_(x).add_((x - before).mul_(inertia))
        return self.project(moved, overwrite=True)

    def fusable(self, *points: Tensor, each: Sequence[Tensor] = ()) -> bool:
        """Whether the loops of `core/fused.py` know this ball, and take such points and numbers."""
        p = self.p
        known = p.norm.name == "linf" and p.free is None
        return known and fused.fusable(p.x0, *points, each=[p.eps, *each])

    def uniform(self) -> Tensor:
        """A uniform random point of the ball, clipped to the box; a function of each row's key."""
        p = self.p
        return self._scaled(p.norm.uniform(p.key, p.x0.shape[1:], p.x0.dtype, p.free))

    def on_sphere(self) -> Tensor:
        """A random point of the surface, clipped to the box; a function of each row's key."""
        p = self.p
        return self._scaled(p.norm.on_sphere(p.key, p.x0.shape[1:], p.x0.dtype, p.free))

    def _scaled(self, d: Tensor) -> Tensor:
        """A point at d, which it overwrites, times the budget."""
        eps = self.p.eps
        if not finite(eps):  # without a budget: the ball that holds every point of the box
            eps = pick(torch.isinf(eps), self.p.norm.size(torch.ones_like(d)), eps)
        return self.project(d.mul_(lift(eps, d)).add_(self.p.x0), overwrite=True)


def succeeds(predicted: Tensor, aim: Tensor, targeted: bool) -> Tensor:
    """[B] bool: whether a prediction is a success; `aim` and `targeted` as of a Problem."""
    return predicted == aim if targeted else predicted != aim


def size_and_fits(x: Tensor, p: Problem, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """[B] size of the perturbation, and whether x is inside box and budget, fixed entries kept.

    Of rows that are not `among` [B], if given, any size, and not inside.
    """
    if among is None or not among.is_cpu:  # which rows: a GPU would have to be awaited
        size, inside = _size_and_fits(x, p.x0, p.eps, p.norm, p.free)
        return size, inside if among is None else among & inside
    rows = among.nonzero()[:, 0]
    if len(rows) == 1:  # never alone: its sum may be split among threads, and rounded otherwise
        rows = torch.cat([rows, rows])
    some, some0, eps = (column.index_select(0, rows) for column in (x, p.x0, p.eps))
    free = None if p.free is None else p.free.index_select(0, rows)
    size, inside = _size_and_fits(some, some0, eps, p.norm, free)
    return size.new_zeros(len(x)).index_copy(0, rows, size), among.index_copy(0, rows, inside)


def _size_and_fits(
    x: Tensor, x0: Tensor, eps: Tensor, norm: Norm, free: Tensor | None
) -> tuple[Tensor, Tensor]:
    size = norm.size(x - x0)
    flat = x.flatten(1)
    boxed = (flat.amin(1) >= BOX[0]) & (flat.amax(1) <= BOX[1])  # NaN fails both
    if free is not None:
        boxed &= (free | (x == x0)).flatten(1).all(1)
    return size, boxed & fits(size, eps)
