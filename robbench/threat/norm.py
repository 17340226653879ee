"""What a norm is.

Shapes: d, g, x [B,*]; eps, sizes [B]; every row has its own budget, which may be inf: every point
is inside then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

BOX = (0.0, 1.0)


class Norm(ABC):
    """A norm and what an attack needs of it."""

    name: str
    counts: ClassVar[str] = ""  # what sizes, which are whole numbers then, are numbers of
    one_entry: ClassVar[bool] = False  # steepest moves a single entry (l0px: pixel)

    @abstractmethod
    def size(self, d: Tensor) -> Tensor:
        """[B]: the norm of each row."""

    @abstractmethod
    def dual(self, g: Tensor) -> Tensor:
        """[B]: the dual norm, the largest <g, d> over size(d) <= 1."""

    @abstractmethod
    def steepest(self, g: Tensor) -> Tensor:
        """The d of size at most 1 with the largest <g, d>, a new tensor; zero where g is zero."""

    @abstractmethod
    def project(self, d: Tensor, eps: Tensor) -> Tensor:
        """The nearest point (Euclidean) of size at most eps; a tensor of its own, or d itself."""

    def project_boxed(
        self, x: Tensor, x0: Tensor, eps: Tensor, *, overwrite: bool = False
    ) -> Tensor:
        """A point of box and ball around x0, near x: onto the ball, then into the box.

        A new tensor, or with `overwrite` perhaps x.
        """
        return self.project(x - x0, eps).add_(x0).clamp_(*BOX)

    def pooled(self, values: Tensor) -> Tensor:
        """Values [B,*], summed over entries that count as one; there the axis has length 1."""
        return values

    @abstractmethod
    def uniform(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        """Uniform in the unit ball, drawn from each row's key [B].

        free [B,*] bool: the entries that may differ from zero; None = all of them.
        """

    @abstractmethod
    def on_sphere(
        self, key: Tensor, shape: torch.Size, dtype: torch.dtype, free: Tensor | None = None
    ) -> Tensor:
        """A random point of size 1, scaled from the cube or a Gaussian: APGD's start.

        free: as of `uniform`.
        """


def only(free: Tensor | None, d: Tensor) -> Tensor:
    """A d [B,*], zero where not free [B,*]."""
    return d if free is None else torch.where(free, d, 0.0)
