"""Whether a perturbation is inside a budget, and which budgets are one. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from torch import Tensor


@overload
def fits(size: Tensor, eps: Tensor) -> Tensor: ...
@overload
def fits(size: float, eps: float) -> bool: ...
def fits(size: Tensor | float, eps: Tensor | float) -> Tensor | bool:
    """Whether a perturbation of this size is inside the budget, up to the rounding of x0 + eps.

    That is 1e-5 of eps plus 1e-7 in float32, the one tolerance of the project.
    """
    return size <= largest_that_fits(eps)


@overload
def largest_that_fits(eps: Tensor) -> Tensor: ...
@overload
def largest_that_fits(eps: float) -> float: ...
def largest_that_fits(eps: Tensor | float) -> Tensor | float:
    """The largest size that `fits`."""
    return eps * (1 + 1e-5) + 1e-7


def same_budget(eps: float, other: float) -> bool:
    """Whether two budgets are one, such as 8/255 and 0.0313725: each is inside the other."""
    return fits(eps, other) and fits(other, eps)
