"""Certificates by lower bounds of the logit margins over a whole region."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from robbench.certifiers.base import Certificate, Certifier, Prove, Sample
from robbench.certifiers.network import Network
from robbench.certifiers.region import Region
from robbench.certifiers.substitution import margin_weights
from robbench.certifiers.trace import trace
from robbench.models.base import Classifier


class Bounds(Certifier):
    """A method that bounds the margins z_y - z_k, all at once.

    What is certified is the network of the stored weights in exact arithmetic: bounds are computed
    in float64 and lowered by what rounding may have changed. A float32 evaluation of the model
    rounds, too, and may differ from that network where its margin is next to zero.
    """

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2"})

    @abstractmethod
    def margins(self, network: Network, region: Region, weights: Tensor) -> Tensor:
        """[B,S]: lower bounds of <w, logits> over the region, for w [B,S,K], before rounding."""

    def lowest_margins(self, network: Network, region: Region, labels: Tensor) -> Tensor:
        """[B,K-1]: lower bounds of z_y - z_k over the region, for labels y [B] and k != y."""
        with torch.no_grad():
            error = network.slack(region)[-1]
            weights = margin_weights(labels, error.shape[1])
            found = self.margins(network, region, weights)
            return found - (weights.abs() @ error[:, :, None])[..., 0]

    def start(self, model: Classifier, x: Tensor) -> Prove:
        network = trace(model, x)

        def prove(sample: Sample) -> Certificate:
            with torch.no_grad():
                predicted = int(model(sample.x).argmax(1))
            if predicted != sample.label:
                return Certificate(predicted, False, None, None, 1)
            region = Region.around(sample.x, sample.eps, sample.norm, sample.free)
            labels = torch.tensor([sample.label], device=sample.x.device)
            low = self.lowest_margins(network, region, labels).min().item()  # NaN stays NaN
            return Certificate(predicted, low > 0, low if low == low else None, None, 1)

        return prove
