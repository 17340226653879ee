"""Norms whose ball has its corners on the axes: l1, l0 and l0px. Shapes as in `norm.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.core import keyed
from robbench.core.rows import lift, pick
from robbench.threat.norm import BOX, Norm, only


class _Sparse(Norm):
    """What L1 and L0 share: the best direction is the largest entry alone (of ties the first)."""

    one_entry = True

    def dual(self, g: Tensor) -> Tensor:
        return g.abs().flatten(1).amax(1)

    def steepest(self, g: Tensor) -> Tensor:
        flat = g.flatten(1)
        top = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, top, flat.gather(1, top).sign()).reshape(g.shape)


class L1(_Sparse):
    """The sum of absolute entries."""

    name = "l1"

    def size(self, d: Tensor) -> Tensor:
        return d.abs().flatten(1).sum(1)

    def project(self, d: Tensor, eps: Tensor) -> Tensor:
        return pick(self._fits(d, eps), d, self._shrink(d, torch.full_like(d, torch.inf), eps))

    def project_boxed(
        self, x: Tensor, x0: Tensor, eps: Tensor, *, overwrite: bool = False
    ) -> Tensor:
        """The nearest point of box and ball: Croce and Hein 2021, arXiv:2103.01208, section 2.

        To clip a point of the ball to the box would leave part of the budget unused.
        """
        d, boxed = x - x0, x.clamp(*BOX)
        near = self._shrink(d, torch.where(d > 0, BOX[1] - x0, x0 - BOX[0]), eps)
        moved = (x0 + near).clamp(*BOX)
        # Rounded towards x0: many small entries rounded away from it would add up to more than the
        # tolerance.
        moved = torch.where((moved - x0).abs() > near.abs(), torch.nextafter(moved, x0), moved)
        return pick(self._fits(boxed - x0, eps), boxed, moved)

    def uniform(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        d = only(free, _laplace(key, shape, dtype))
        slack = -torch.log1p(-keyed.uniform(key, (1,), counter=2, dtype=dtype)[:, 0])
        return d / lift(self.size(d) + slack, d).clamp(min=torch.finfo(dtype).tiny)

    def on_sphere(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        d = only(free, _laplace(key, shape, dtype))
        return d / lift(self.size(d), d).clamp(min=torch.finfo(dtype).tiny)

    def _fits(self, d: Tensor, eps: Tensor) -> Tensor:
        """[B] bool: inside the ball up to rounding, so that a second projection moves nothing."""
        return self.size(d) <= eps * (1 + 8 * torch.finfo(d.dtype).eps)

    def _shrink(self, d: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        """sign(d) clip(|d| - s, 0, room), with the s at which its size is eps, if there is one.

        That size falls with s, piecewise linearly: an entry shrinks while s is between |d| - room
        and |d|. So it is found by going down the sorted ends of those intervals, and adding up what
        each stretch adds.
        """
        high = d.abs().flatten(1)
        low = (high - room.flatten(1)).clamp(min=0)
        ends, order = torch.cat([high, low], 1).sort(dim=1, descending=True, stable=True)
        # Entries that shrink below each end.
        moving = torch.where(order < high.shape[1], 1, -1).cumsum(1).to(d.dtype)
        grown = (moving[:, :-1] * (ends[:, :-1] - ends[:, 1:])).cumsum(1)
        sizes = torch.cat([torch.zeros_like(ends[:, :1]), grown], 1)  # at s = each end
        last = ((sizes <= eps[:, None]).sum(1, keepdim=True) - 1).clamp(min=0)
        end, size, slope = (
            column.gather(1, last)[:, 0] for column in (ends, sizes, moving.clamp(min=1))
        )
        shrunk = torch.minimum((d.abs() - lift(end - (eps - size) / slope, d)).clamp(min=0), room)
        size = self.size(shrunk)
        rounding = torch.where(size > eps, eps / size, torch.ones_like(eps))
        return d.sign() * shrunk * lift(rounding, d)


class L0(_Sparse):
    """The number of entries that are not zero; each colour of a pixel is an entry.

    No norm: it does not grow with the length of d, and its ball is not bounded. So `steepest` and
    `dual` are those of the convex hull of what is left of the ball in the cube [-1,1], for entries
    those of L1; `uniform` and `on_sphere` fill that cube, to be projected.
    """

    name = "l0"
    counts = "entries"

    def size(self, d: Tensor) -> Tensor:
        return (self.pooled(d != 0) > 0).flatten(1).sum(1).to(d.dtype)

    def project(self, d: Tensor, eps: Tensor) -> Tensor:
        """Keeps the floor(eps) largest, the first of them where they tie."""
        largest = d.abs().flatten(1).amax(1).clamp(min=torch.finfo(d.dtype).tiny)
        # Scaled: squares of small entries would underflow.
        return self._keep(d, (d / lift(largest, d)).square(), eps)

    def project_boxed(
        self, x: Tensor, x0: Tensor, eps: Tensor, *, overwrite: bool = False
    ) -> Tensor:
        """The nearest point of box and ball: moves what gains most."""
        d, boxed = x - x0, x.clamp(*BOX) - x0
        # The gain is d^2 - (d - boxed)^2.
        return (x0 + self._keep(boxed, boxed * (2 * d - boxed), eps)).clamp(*BOX)

    def uniform(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        return only(free, 2 * keyed.uniform(key, shape, dtype=dtype) - 1)

    def on_sphere(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        return self.uniform(key, shape, dtype, free)

    def _keep(self, d: Tensor, worth: Tensor, eps: Tensor) -> Tensor:
        worth = self.pooled(worth)
        rank = worth.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return torch.where((rank < eps.floor()[:, None]).reshape(worth.shape), d, 0.0)


class L0Pixels(L0):
    """The number of pixels that change, in whatever colours.

    A pixel is what an image [C,H,W] has at one place; of inputs of another shape each entry is one.
    """

    name = "l0px"
    counts = "pixels"

    def pooled(self, values: Tensor) -> Tensor:
        return values.sum(1, keepdim=True) if values.ndim == 4 else values

    def dual(self, g: Tensor) -> Tensor:
        return self.pooled(g.abs()).flatten(1).amax(1)

    def steepest(self, g: Tensor) -> Tensor:
        """All colours of the pixel whose gradient is largest in l1, of ties the first."""
        worth = self.pooled(g.abs())
        flat = worth.flatten(1)
        top = torch.zeros_like(flat).scatter(1, flat.argmax(1, keepdim=True), 1.0)
        return top.reshape(worth.shape) * g.sign()


def _laplace(key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """[B,*shape] with density exp(-|x|) / 2 each."""
    size = -torch.log1p(-keyed.uniform(key, shape, dtype=dtype))
    return torch.where(keyed.uniform(key, shape, counter=1, dtype=dtype) < 0.5, -size, size)
