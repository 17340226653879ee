"""Randomised smoothing: radii of a linear model in closed form, coverage, widths."""

from __future__ import annotations

from statistics import NormalDist

import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from robbench.catalogue.builtins import CERTIFIERS
from robbench.certifiers import smoothing
from robbench.certifiers.base import Sample
from robbench.certifiers.smoothing import Smoothing, lower_bound
from robbench.core.errors import UserError
from robbench.core.tiles import Tiles
from robbench.models.base import Classifier

NORMAL = NormalDist()


def linear(w, b):
    """A classifier with the logits (0, w.x + b)."""
    head = nn.Linear(len(w), 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0] * len(w), w]))
        head.bias.copy_(torch.tensor([0.0, b]))
    identity = nn.Identity()
    model = Classifier(identity, nn.Identity(), head, features=len(w), classes=2)
    return model.eval().requires_grad_(False)


def sample(x, key=0, label=1, eps=0.1):
    return Sample(torch.tensor([x]), label, torch.tensor([key]), eps, "l2")


def test_the_radius_of_a_linear_model():
    """P = Phi(d / sigma) at distance d from the plane: the radius comes near d and is below it."""
    model = linear([3.0, 4.0], -3.0)
    for d in (0.05, 0.2, 0.4):
        x = [0.6 * d + 0.48, 0.8 * d + 0.39]  # 3 x + 4 y - 3 = 5 d
        prove = Smoothing(sigma=0.25, n0=2000, n=20_000).start(model, torch.zeros(1, 2))
        found = prove(sample(x, key=3))
        assert found.predicted == 1
        assert found.n_forward == 22_000
        assert d - 0.03 < found.radius < d
        assert found.certified == (found.radius >= 0.1 * (1 + 1e-5) + 1e-7)
        p = lower_bound(round(20_000 * NORMAL.cdf(d / 0.25)), 20_000, 0.001)
        assert found.radius == pytest.approx(0.25 * NORMAL.inv_cdf(p), abs=0.012)


@pytest.mark.slow
def test_radii_are_too_large_no_more_often_than_alpha():
    """Over 2,000 samples at one distance, with alpha = 5 %."""
    model, d = linear([1.0], -0.5), 0.1
    prove = Smoothing(sigma=0.25, n0=1, n=60, alpha=0.05).start(model, torch.zeros(1, 1))
    wrong = sum(
        (found := prove(sample([0.5 + d], key=key))).radius is not None
        and found.radius > (d if found.predicted == 1 else -d)
        for key in range(2000)
    )
    assert wrong > 0  # or the bound is not worth its draws
    assert binomtest(wrong, 2000, 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize(("k", "n"), [(0, 5), (37, 50), (50, 50), (990, 1000)])
def test_the_bound_is_exact(k, n):
    """As scipy's one-sided interval."""
    expected = binomtest(k, n, alternative="greater").proportion_ci(0.999, "exact").low
    assert lower_bound(k, n, 0.001) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_on_the_boundary_it_abstains():
    """No class has a probability that is shown to be above one half."""
    found = Smoothing().start(linear([1.0], -0.5), torch.zeros(1, 1))(sample([0.5]))
    assert (found.predicted, found.certified, found.radius) == (None, False, None)


def test_answers_that_are_no_numbers_are_no_votes():
    """A model that answers NaN has no class."""
    model = linear([float("nan")], 0.0)
    assert Smoothing().start(model, torch.zeros(1, 1))(sample([0.5])).predicted is None


def test_draws_do_not_depend_on_the_width(monkeypatch):
    """The same noise in batches of 7 rows as in large ones."""
    model, x = linear([1.0, 1.0], -1.0), torch.zeros(1, 2)
    wide = [Smoothing().start(model, x)(sample([0.5, 0.55], key=k)) for k in range(5)]
    monkeypatch.setattr(smoothing, "largest_tile", lambda device, shape: Tiles(7, 1))
    narrow = [Smoothing().start(model, x)(sample([0.5, 0.55], key=k)) for k in range(5)]
    assert wide == narrow
    assert len({found.radius for found in wide}) > 1  # keys differ


@pytest.mark.parametrize("spec", ["sigma=0", "alpha=0.5", "n=0", "n0=0", "alpha=0"])
def test_options_that_mean_nothing_are_refused(spec):
    with pytest.raises(UserError, match=spec.partition("=")[0]):
        CERTIFIERS.build(f"smoothing:{spec}")
