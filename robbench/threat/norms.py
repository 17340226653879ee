"""The geometry of perturbations: one class per norm.

Shapes: d, g, x [B,*]; eps, sizes [B]; every row has its own budget, which may be inf: every point
is inside then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from robbench.core import keyed
from robbench.core.errors import unknown
from robbench.core.rows import lift, pick

BOX = (0.0, 1.0)


class Norm(ABC):
    """A norm and what an attack needs of it."""

    name: str
    one_entry: ClassVar[bool] = False  # steepest moves a single entry

    @abstractmethod
    def size(self, d: Tensor) -> Tensor:
        """[B]: the norm of each row."""

    @abstractmethod
    def dual(self, g: Tensor) -> Tensor:
        """[B]: the dual norm, the largest <g, d> over size(d) <= 1."""

    @abstractmethod
    def steepest(self, g: Tensor) -> Tensor:
        """The d of size at most 1 with the largest <g, d>; zero where g is zero."""

    @abstractmethod
    def project(self, d: Tensor, eps: Tensor) -> Tensor:
        """The nearest point (Euclidean) of size at most eps."""

    def project_boxed(self, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        """A point of box and ball around x0, near x: onto the ball, then into the box."""
        return (x0 + self.project(x - x0, eps)).clamp(*BOX)

    @abstractmethod
    def uniform(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Uniform in the unit ball, drawn from each row's key [B]."""

    @abstractmethod
    def on_sphere(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """A random point of size 1, scaled from the cube or a Gaussian: APGD's start."""


class Linf(Norm):
    """The largest absolute entry."""

    name = "linf"

    def size(self, d: Tensor) -> Tensor:
        return d.abs().flatten(1).amax(1)

    def dual(self, g: Tensor) -> Tensor:
        return g.abs().flatten(1).sum(1)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def project(self, d: Tensor, eps: Tensor) -> Tensor:
        wide = lift(eps, d)
        return d.clamp(-wide, wide)

    def uniform(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        return 2 * keyed.uniform(key, shape, dtype=dtype) - 1

    def on_sphere(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        cube = self.uniform(key, shape, dtype)
        return cube / lift(self.size(cube), cube).clamp(min=torch.finfo(dtype).tiny)


class L2(Norm):
    """The Euclidean length."""

    name = "l2"

    def size(self, d: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(d.flatten(1), dim=1)
        return length

    def dual(self, g: Tensor) -> Tensor:
        return self.size(g)

    def steepest(self, g: Tensor) -> Tensor:
        # Scaled by the largest entry first: squares of a saturated model's gradient would underflow
        # to zero.
        scaled = g / lift(g.abs().flatten(1).amax(1), g).clamp(min=torch.finfo(g.dtype).tiny)
        length = self.size(scaled)
        return pick(
            length > 0,
            scaled / lift(length, g).clamp(min=torch.finfo(g.dtype).tiny),
            torch.zeros_like(g),
        )

    def project(self, d: Tensor, eps: Tensor) -> Tensor:
        length = self.size(d)
        return d * lift(torch.where(length > eps, eps / length, torch.ones_like(eps)), d)

    def uniform(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        direction = self.on_sphere(key, shape, dtype)
        radius = keyed.uniform(key, (1,), counter=2, dtype=dtype)[:, 0] ** (
            1 / max(shape.numel(), 1)
        )
        return direction * lift(radius, direction)

    def on_sphere(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        return self.steepest(keyed.normal(key, shape, dtype=dtype))


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

    def project_boxed(self, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
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

    def uniform(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        d = _laplace(key, shape, dtype)
        slack = -torch.log1p(-keyed.uniform(key, (1,), counter=2, dtype=dtype)[:, 0])
        return d / lift(self.size(d) + slack, d).clamp(min=torch.finfo(dtype).tiny)

    def on_sphere(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        d = _laplace(key, shape, dtype)
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
    `dual` are those of L1, which is what is left of L0 in the cube [-1,1] when made convex;
    `inside` and `surface` fill that cube, to be projected.
    """

    name = "l0"

    def size(self, d: Tensor) -> Tensor:
        return (d != 0).flatten(1).sum(1).to(d.dtype)

    def project(self, d: Tensor, eps: Tensor) -> Tensor:
        """Keeps the floor(eps) largest entries, the first of them where they tie."""
        return self._keep(d, d.abs(), eps)

    def project_boxed(self, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        """The nearest point of box and ball: moves the entries that gain most."""
        d, boxed = x - x0, x.clamp(*BOX) - x0
        # The gain is d^2 - (d - boxed)^2.
        return (x0 + self._keep(boxed, boxed * (2 * d - boxed), eps)).clamp(*BOX)

    def uniform(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        return 2 * keyed.uniform(key, shape, dtype=dtype) - 1

    def on_sphere(self, key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        return self.uniform(key, shape, dtype)

    @staticmethod
    def _keep(d: Tensor, worth: Tensor, eps: Tensor) -> Tensor:
        rank = worth.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return torch.where((rank < eps.floor()[:, None]).reshape(d.shape), d, 0.0)


def _laplace(key: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """[B,*shape] with density exp(-|x|) / 2 each."""
    size = -torch.log1p(-keyed.uniform(key, shape, dtype=dtype))
    return torch.where(keyed.uniform(key, shape, counter=1, dtype=dtype) < 0.5, -size, size)


NORMS: dict[str, Norm] = {norm.name: norm for norm in (Linf(), L2(), L1(), L0())}


def find_norm(name: str) -> Norm:
    """The norm called `linf`, `l2`, `l1` or `l0`, case-blind. Raises UserError for another name."""
    norm = NORMS.get(name.strip().lower())
    if norm is None:
        raise unknown("norm", name, NORMS)
    return norm
