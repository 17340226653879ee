"""How few features carry a logit: the analysis of Wu et al. 2020 (arXiv:2005.11904).

They find that robust models use fewer. The contribution of feature i to class c is h_i dz_c/dh_i
(models/contributions.py): our reading of the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robbench.models.contributions import contributions, kept

SHARE = 0.9


def features_needed(
    head: nn.Module, features: Tensor, y: Tensor | None, share: float = SHARE
) -> Tensor:
    """[B] int64: how many features, largest first, reach `share` of all positive contributions.

    To the logit of class y, or None: of the predicted one. 0 where no feature speaks for the class.
    """
    c = contributions(head, features, y)
    return torch.where((c > 0).any(1), kept(c, share).sum(1), 0)


def contribution_curve(head: nn.Module, features: Tensor, y: Tensor | None) -> Tensor:
    """[B,D] share of the positive contributions in the first 1, 2, ... features, rising to 1.

    Rows without positive contributions are NaN.
    """
    falling = (
        contributions(head, features, y)
        .clamp(min=0)
        .sort(dim=1, descending=True, stable=True)
        .values
    )
    reached = falling.cumsum(1)
    return reached / reached[:, -1:]
