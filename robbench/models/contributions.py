"""What each feature contributes to a logit: h_i dz_c/dh_i for feature i and class c.

Our reading of Wu et al. 2020 (arXiv:2005.11904); losses/aalp.py trains with it and
metrics/contribution.py measures it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def contributions(head: nn.Module, features: Tensor, y: Tensor | None) -> Tensor:
    """[B,D] features [B,D] times the gradient of a logit of `head` at them, without gradient.

    The logit is that of class y [B], or of the predicted class where y is None.
    """
    with torch.enable_grad():
        h = features.detach().requires_grad_()
        logits = head(h)
        classes = logits.argmax(1) if y is None else y
        (slope,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), h)
    return h.detach() * slope


def kept(contributions: Tensor, rho: float) -> Tensor:
    """[B,D] bool: the fewest features that reach a share rho of the positive contributions.

    `contributions` is [B,D]; the largest are taken first. Without a positive one, all are kept.
    """
    falling, order = contributions.sort(dim=1, descending=True, stable=True)
    reached = falling.clamp(min=0).cumsum(1)
    total = reached[:, -1:]
    before = F.pad(reached[:, :-1], (1, 0))  # reached by the features ahead of this one
    needed = (before < rho * total) | (total == 0)
    return torch.zeros_like(needed).scatter(1, order, needed)
