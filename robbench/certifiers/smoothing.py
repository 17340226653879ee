"""Randomised smoothing: Cohen et al. 2019, arXiv:1902.02918."""

from __future__ import annotations

import dataclasses
from collections import Counter
from statistics import NormalDist
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robbench.certifiers.base import Certificate, Certifier, Prove, Sample
from robbench.core import keyed
from robbench.core.spec import Number
from robbench.core.tiles import largest_tile
from robbench.models.base import Classifier
from robbench.objectives import answered
from robbench.statistics.proportions import clopper_pearson
from robbench.threat.tolerance import largest_that_fits

_ABSTAIN = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Smoothing(Certifier):
    """Randomised smoothing (Cohen et al. 2019), l2 alone, for any model: only its answers count.

    What is certified is not the model but the smoothed classifier: the class that the model most
    likely answers to x + N(0, sigma^2 I). n0 draws guess that class, n further ones bound its
    probability from below, p, exactly (Clopper and Pearson 1934), with an error of at most alpha
    per sample. The radius is sigma Phi^-1(p); it abstains unless p > 1/2.
    """

    sigma: Annotated[Number, Field(gt=0, description="deviation of the noise")] = 0.25
    n0: Annotated[int, Field(ge=1, le=10**8, description="draws that guess the class")] = 100
    n: Annotated[int, Field(ge=1, le=10**8, description="draws that bound its probability")] = 1000
    alpha: Annotated[
        Number, Field(gt=0, lt=0.5, description="probability that a certificate is wrong, at most")
    ] = 0.001

    norms: ClassVar[frozenset[str]] = frozenset({"l2"})
    smoothed: ClassVar[bool] = True
    radii: ClassVar[bool] = True

    def start(self, model: Classifier, x: Tensor) -> Prove:
        rows = largest_tile(x.device, x.shape[1:]).rows

        def prove(sample: Sample) -> Certificate:
            guessed = _votes(model, sample, self.sigma, range(self.n0), rows)
            guess = min(guessed, key=lambda k: (-guessed[k], k))
            draws = range(self.n0, self.n0 + self.n)
            votes = _votes(model, sample, self.sigma, draws, rows)[guess]
            low = lower_bound(votes, self.n, self.alpha)
            spent = self.n0 + self.n
            if guess == _ABSTAIN or low <= 0.5:
                return Certificate(None, False, None, None, spent)
            radius = self.sigma * NormalDist().inv_cdf(low)
            holds = guess == sample.label and radius >= largest_that_fits(sample.eps)
            return Certificate(guess, holds, None, radius, spent)

        return prove


def lower_bound(k: int, n: int, alpha: float) -> float:
    """The one-sided exact lower bound of a probability, k of n, that fails with alpha at most."""
    return clopper_pearson(k, n, 1 - 2 * alpha)[0]


def _votes(
    model: Classifier, sample: Sample, sigma: float, draws: range, rows: int
) -> Counter[int]:
    """How often each class is the answer; no answer at all votes for _ABSTAIN.

    Draw number i is a function of the sample's key and i, so that it depends on no batch.
    """
    counts: Counter[int] = Counter()
    for begin in range(draws.start, draws.stop, rows):
        number = torch.arange(begin, min(begin + rows, draws.stop), device=sample.x.device)
        keys = keyed.fold(sample.key.expand(len(number)), number)
        noise = keyed.normal(keys, sample.x.shape[1:])
        with torch.no_grad():
            logits = model(sample.x + sigma * noise)
        classes = torch.where(answered(logits), logits.argmax(1), _ABSTAIN)
        counts.update(classes.tolist())
    return counts
