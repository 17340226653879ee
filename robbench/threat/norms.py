"""The geometry of perturbations: one class per norm. Shapes as in `norm.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.core import fused, keyed
from robbench.core.errors import unknown
from robbench.core.rows import lift, pick
from robbench.threat.norm import BOX as BOX
from robbench.threat.norm import Norm as Norm
from robbench.threat.norm import only
from robbench.threat.sparse_norms import L0, L1, L0Pixels


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
        return _clipped(d, eps)

    def project_boxed(
        self, x: Tensor, x0: Tensor, eps: Tensor, *, overwrite: bool = False
    ) -> Tensor:
        if fused.fusable(x, x0, each=[eps]):
            return fused.project(x, x0, eps, x if overwrite else None)
        d = torch.sub(x, x0, out=x if overwrite else None)
        return _clipped(d, eps, out=d).add_(x0).clamp_(*BOX)

    def uniform(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        return only(free, keyed.uniform(key, shape, dtype=dtype).mul_(2).sub_(1))

    def on_sphere(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        cube = self.uniform(key, shape, dtype, free)
        return cube / lift(self.size(cube), cube).clamp(min=torch.finfo(dtype).tiny)


def _clipped(d: Tensor, eps: Tensor, out: Tensor | None = None) -> Tensor:
    """The entries of d [B,*] in [-eps, eps], into `out` if given."""
    wide = lift(eps, d)
    # A clamp with two bounds that are broadcast costs four times as much.
    below = torch.minimum(d, wide, out=out)
    return torch.maximum(below, -wide, out=below)


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

    def uniform(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        direction = self.on_sphere(key, shape, dtype, free)
        entries = shape.numel() if free is None else free.flatten(1).sum(1)
        drawn = keyed.uniform(key, (1,), counter=2, dtype=dtype)[:, 0]
        # Not drawn ** (1 / entries): torch's pow rounds the last elements of a tensor otherwise.
        return direction * lift((drawn.log() / entries).exp(), direction)

    def on_sphere(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        return self.steepest(only(free, keyed.normal(key, shape, dtype=dtype)))


NORMS: dict[str, Norm] = {norm.name: norm for norm in (Linf(), L2(), L1(), L0(), L0Pixels())}


def find_norm(name: str) -> Norm:
    """The norm of a name of NORMS, case-blind. Raises UserError for another name."""
    norm = NORMS.get(name.strip().lower())
    if norm is None:
        raise unknown("norm", name, NORMS)
    return norm
