"""Distance of features to the last layer's boundaries.

The logit differences of all our heads are affine in the features, so the distance to the boundary
between classes y and k is (z_y - z_k) / ||grad_h (z_y - z_k)||, exactly. For another head that is
its first-order approximation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robbench.core.gradients import column_gradients
from robbench.models.heads import GaussianHead, MaxMahalanobisHead, ScoreHead


def is_affine(head: nn.Module) -> bool:
    """Whether the head's logit differences are known to be affine in the features."""
    # A subclass may normalise its input.
    plain = isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward
    return plain or isinstance(head, ScoreHead | MaxMahalanobisHead | GaussianHead)


def boundary_distances(head: nn.Module, features: Tensor, y: Tensor) -> Tensor:
    """[B,K] signed distance of features [B,D] to the boundary of class y [B] against each class.

    Positive on the side of y. +inf for k = y. Where z_y - z_k does not depend on the features there
    is no boundary: +inf or -inf by its sign, 0 if it is 0.
    """
    with torch.no_grad():
        logits = head(features)
    gaps = logits.gather(1, y[:, None]) - logits
    if is_affine(head):
        # [K,D], up to what is common to all classes.
        slopes = _jacobian(head, torch.zeros_like(features[:1]))[0]
        # From differences, and without an array [B,K,D] of them.
        lengths = torch.cdist(slopes[y], slopes, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        slopes = _jacobian(head, features)
        own = slopes.gather(1, y[:, None, None].expand(-1, 1, slopes.shape[2]))
        lengths = torch.linalg.vector_norm(own - slopes, dim=2)
    distances = torch.nan_to_num(gaps / lengths, nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    return distances.scatter(1, y[:, None], torch.inf)


def feature_margins(distances: Tensor) -> Tensor:
    """[B] distance to the nearest of the boundaries [B,K]: a correct sample's distance to an error.

    Of a wrong sample minus the distance to the boundary it is farthest beyond.
    """
    return distances.amin(1)


def pair_margins(
    distances: NDArray[np.floating], y: NDArray[np.integer], pairs: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """[P] smallest distance of the samples of classes a and b to their boundary, from [N,K].

    +inf where neither class has a sample.
    """

    def margin(a: int, b: int) -> float:
        return float(
            min(distances[y == a, b].min(initial=np.inf), distances[y == b, a].min(initial=np.inf))
        )

    return np.array([margin(a, b) for a, b in pairs])


def _jacobian(head: nn.Module, features: Tensor) -> Tensor:
    """[B,K,D] gradients of the logits in the features."""
    with torch.enable_grad():
        h = features.detach().requires_grad_()
        return column_gradients(head(h), h)
