"""What the papers prove about these losses, tried on our code: rates of growing margins, and where
gradient descent ends.

Two claims of section 1.3 of Nar et al. 2019 (arXiv:1901.08360) are told apart here. The bound on
cross-entropy's margin holds. But that margin does not vanish as the features' common coordinates D
grow. Gradient descent on (w, b) ends at the least ||w||^2 + b^2; per unit of effective bias beta,
the constant coordinates and the bias together cost beta^2 / (1 + sum D_k^2). So w = (v, beta D / (1
+ sum D_k^2)): for large D the bias becomes free, v is the SVM's and the margin is the optimum
again. It is worst near sum D_k^2 = 1, and vanishes when the classes move away from the origin along
v, which makes beta large.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from scipy.special import lambertw

from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.differential import Differential, threshold
from robbench.losses.one_vs_rest import OneVsRest
from robbench.losses.sovr import SOVR
from robbench.objectives import margins

# -- SOVR: gradient flow of free logits from zero

TABLE = [  # classes, t, margin of CE, of CE with weight 5, of OVR
    (2, 1e2, 5.277, 6.902, 9.138),
    (10, 1e2, 6.845, 8.502, 9.138),
    (10, 1e4, 11.512, 13.122, 18.419),
    (100, 1e2, 9.116, 10.798, 9.138),
]


def flow(fake_step, loss, classes, times, weight=1.0):
    """The margins at some times of dz/dt = - weight * d loss / dz, from z = 0 by Euler steps that
    grow with t.
    """
    z, t, found = torch.zeros(1, classes, dtype=torch.float64), 0.0, []
    for end in times:
        while t < end:
            dt = min(0.01 * (1 + t) / weight if t < 1 else 0.01 * t, end - t)
            z.requires_grad_()
            (grad,) = torch.autograd.grad(weight * loss(fake_step(z, [0])).sum(), z)
            z, t = (z - dt * grad).detach(), t + dt
        found.append(float(margins(z, torch.tensor([0]))))
    return found


def softmax_margin(classes, t, weight):
    """The root m of (K-1) m + e^m = w K t + 1, by bisection."""
    low, high = 0.0, math.log(weight * classes * t + 1)
    for _ in range(80):
        m = (low + high) / 2
        low, high = (
            (m, high) if (classes - 1) * m + math.exp(m) < weight * classes * t + 1 else (low, m)
        )
    return m


def sigmoid_margin(t):
    """2 (t + 1) - 2 W(e^{t+1}), with W(e^u) found without overflow for large u."""
    if t < 500:
        return 2 * (t + 1) - 2 * float(lambertw(math.exp(t + 1)).real)
    z = math.log(t)
    for _ in range(20):  # z + e^z = t + 1
        z -= (z + math.exp(z) - t - 1) / (1 + math.exp(z))
    return 2 * z


@pytest.mark.parametrize(("classes", "t", "ce", "ce5", "ovr"), TABLE)
def test_margins_of_the_gradient_flow(fake_step, classes, t, ce, ce5, ovr):
    """Our losses' own gradients lead to the table's margins, and so do its closed forms."""
    assert [
        softmax_margin(classes, t, 1),
        softmax_margin(classes, t, 5),
        sigmoid_margin(t),
    ] == pytest.approx([ce, ce5, ovr], abs=6e-4)
    assert flow(fake_step, CrossEntropy(), classes, [t]) == pytest.approx([ce], abs=0.03)
    assert flow(fake_step, CrossEntropy(), classes, [t], weight=5.0) == pytest.approx(
        [ce5], abs=0.03
    )
    assert flow(fake_step, OneVsRest(), classes, [t]) == pytest.approx([ovr], abs=0.03)


def test_a_hard_sample_of_sovr_follows_one_versus_rest(fake_step):
    """A sample that SOVR calls hard moves as under one-versus-rest, lam times as fast.

    An easy one as under cross-entropy.
    """
    assert flow(fake_step, SOVR(percent=100, lam=0.4), 10, [250.0]) == pytest.approx(
        [9.138], abs=0.03
    )
    assert flow(fake_step, SOVR(percent=0), 10, [100.0]) == pytest.approx([6.845], abs=0.03)


@pytest.mark.parametrize("classes", [2, 10])
def test_one_versus_rest_doubles_the_rate_and_a_weight_does_not(fake_step, classes):
    """Margins grow like log t under cross-entropy of any weight, and like 2 log t under
    one-versus-rest.

    That is the theorem; the ratio of the margins themselves reaches 2 only in the limit.
    """
    times = [1e3, 1e4]
    rates = {}
    for name, loss, weight in (
        ("ce", CrossEntropy(), 1.0),
        ("ce5", CrossEntropy(), 5.0),
        ("ovr", OneVsRest(), 1.0),
    ):
        early, late = flow(fake_step, loss, classes, times, weight)
        rates[name] = (late - early) / math.log(10)
    assert rates == pytest.approx({"ce": 1.0, "ce5": 1.0, "ovr": 2.0}, abs=0.03)
    ratios = [
        sigmoid_margin(t) / softmax_margin(classes, t, 5) for t in (1e2, 1e4, 1e8, 1e16, 1e100)
    ]
    assert ratios == sorted(ratios)
    assert ratios[0] < 1.4
    assert 1.95 < ratios[-1] < 2


# -- differential training and cross-entropy on an affine subspace


def least_norm(rows):
    """The least ||u||^2 with rows @ u >= 1, exactly: Lawson and Hanson's least-distance problem by
    non-negative squares.
    """
    e, f = np.r_[rows.T, np.ones((1, len(rows)))], np.r_[np.zeros(rows.shape[1]), 1.0]
    r = e @ nnls(e, f)[0] - f
    return -r[:-1] / r[-1]


def descend(fake_step, loss, x, signs, *, bias, until):
    """Weights and bias of gradient descent from zero on a linear score, until the functional margin
    is reached.

    Steps grow as the loss falls, which leaves the direction's limit alone. Cross-entropy rounds to
    zero at a margin of 37.
    """
    points, y = torch.tensor(x), (signs > 0).astype(int).tolist()
    rate = 2 / (1 + (x**2).sum(1).max())
    w, b = torch.zeros(x.shape[1], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    parts = [w.requires_grad_(), b.requires_grad_()][: 1 + bias]
    for _ in range(20000):
        score = points @ w + b
        now = score.detach().numpy()
        reached = (signs * now).min() if bias else (now[signs > 0].min() - now[signs < 0].max()) / 2
        if reached >= until:
            return w.detach().numpy(), b.item()
        value = loss(fake_step(torch.stack([-score / 2, score / 2], 1), y)).mean()
        grads = torch.autograd.grad(value, parts)
        with torch.no_grad():
            for part, grad in zip(parts, grads, strict=True):
                part -= rate * grad / value
    raise AssertionError("no such margin was reached")


def margin_of(x, signs, w, b):
    """Distance of the nearest point to the boundary, negative if one is on the wrong side."""
    return float((signs * (x @ w + b)).min() / np.linalg.norm(w))


def cosine(u, v):
    """Of the angle between two vectors."""
    return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))


def plane(seed, centre):
    """12 points in the plane, of two classes 2 gamma = 1 and more apart across a random direction,
    around a point on it.
    """
    rng = np.random.default_rng(seed)
    across = rng.normal(size=2)
    across /= np.linalg.norm(across)
    along = np.array([-across[1], across[0]])
    signs = np.array([1.0, -1.0] * 6)
    points = (centre + signs * (0.5 + rng.exponential(0.3, 12)))[:, None] * across + rng.normal(
        size=(12, 1)
    ) * along
    return points, signs


def padded(points, constants):
    """The points with more coordinates that are the same for all."""
    return np.c_[points, np.tile(constants, (len(points), 1))]


@pytest.mark.few(2)
@pytest.mark.parametrize("constants", [(0.5,), (0.6, -0.5, 0.4), (3.0,)])
@pytest.mark.parametrize("seed", [0, 1])
def test_cross_entropy_keeps_the_bound_and_differential_training_the_optimum(
    fake_step, seed, constants
):
    """Cross-entropy ends at the least ||w||^2 + b^2 and within the paper's bound, differential
    training at the SVM.
    """
    from sklearn.svm import SVC

    points, signs = plane(seed, 1.5)
    x = padded(points, constants)
    svm = SVC(kernel="linear", C=1e6, tol=1e-6).fit(x, signs)
    best = svm.coef_[0]
    gamma = 1 / np.linalg.norm(best)

    w, _ = descend(fake_step, Differential(form="logistic"), x, signs, bias=False, until=60)
    assert np.abs(w[2:]).max() < 1e-6 * np.linalg.norm(
        w
    )  # a common coordinate cancels in every difference
    assert cosine(w, best) > 0.9997
    s = torch.tensor(x @ w)
    b = threshold(s[signs > 0], s[signs < 0], "extreme")
    assert margin_of(x, signs, w, b) == pytest.approx(gamma, rel=0.01)
    assert b / np.linalg.norm(w) == pytest.approx(float(svm.intercept_[0]) * gamma, rel=0.02)

    w, b = descend(fake_step, CrossEntropy(), x, signs, bias=True, until=30)
    assert cosine(np.append(w, b), least_norm(signs[:, None] * padded(x, [1.0]))) > 0.9985
    margin = margin_of(x, signs, w, b)
    scaled = b / (margin * np.linalg.norm(w))  # the bias at functional margin 1
    bound = 1 / math.sqrt(1 / gamma**2 + scaled**2 * sum(d * d for d in constants))
    # From zero w_k = b D_k holds at every step, and with it the bound, not only in the limit.
    assert w[2:] == pytest.approx(b * np.array(constants), rel=1e-6)
    assert 0 < margin < bound * 1.0001
    assert cosine(w, best) < 0.99
    assert bound < 0.97 * gamma  # it does say something here


def line(fake_step, offset, d, gamma=1.0):
    """Margin and scaled bias of cross-entropy for two points on a line at offset -+ gamma, each
    with a coordinate d.
    """
    x, signs = np.array([[offset + gamma, d], [offset - gamma, d]]), np.array([1.0, -1.0])
    w, b = descend(fake_step, CrossEntropy(), x, signs, bias=True, until=30)
    margin = margin_of(x, signs, w, b)
    return margin, b / (margin * np.linalg.norm(w))


@pytest.mark.parametrize("d", [0.0, 0.3, 1.0, 6.0])
def test_on_a_line_the_bound_is_the_margin(fake_step, d):
    """Two points on a line: beta = -offset / gamma, and the bound holds with equality, at gamma for
    small and for large d.
    """
    offset, gamma = 1.5, 1.0
    margin, bias = line(fake_step, offset, d)
    assert bias == pytest.approx(-offset / gamma / (1 + d * d), rel=0.04)
    assert margin == pytest.approx(1 / math.sqrt(1 / gamma**2 + bias**2 * d * d), rel=0.04)
    assert margin == pytest.approx(gamma / math.sqrt(1 + (offset * d / (1 + d * d)) ** 2), rel=0.04)


def test_the_margin_returns_for_large_common_coordinates_and_vanishes_with_the_offset(fake_step):
    """Common coordinates hurt most around 1 and not at 8.

    What makes cross-entropy's margin vanish is the offset.
    """
    small, middle, large = (line(fake_step, 1.5, d)[0] for d in (0.1, 1.0, 8.0))
    assert min(small, large) > 0.95
    assert middle < 0.85
    by_offset = [line(fake_step, offset, 1.0)[0] for offset in (0.0, 1.0, 3.0)]
    assert by_offset == pytest.approx(
        [1 / math.sqrt(1 + o * o / 4) for o in (0.0, 1.0, 3.0)], rel=0.04
    )
