"""Differential training: pairs by a double loop, the closed form of the square loss, the threshold
by brute force.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.differential import Differential, threshold
from robbench.models.heads import ScoreHead

W = torch.tensor([0.5, -0.2], dtype=torch.float64)
HIGH = torch.tensor([[2.0, 1], [3, 2]], dtype=torch.float64)  # class 1
LOW = torch.tensor([[0, 0.5], [-1, 1]], dtype=torch.float64)  # class 0
FORMS = {
    "logistic": lambda d, t: math.log1p(math.exp(-d)),
    "square": lambda d, t: (d - t) ** 2,
    "squared-hinge": lambda d, t: max(0.0, t - d) ** 2,
}


def logits_of(scores):
    """Two logits whose difference is the score."""
    return torch.stack([-scores / 2, scores / 2], 1)


def step_of(fake_step, scores, labels):
    return fake_step(logits_of(torch.as_tensor(scores, dtype=torch.float64)), list(labels))


@pytest.mark.parametrize(
    ("form", "mean"), [("logistic", 0.239707), ("square", 0.235), ("squared-hinge", 0.0025)]
)
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_the_vectors(fake_step, form, mean, order):
    """The batch mean of four points, computed by hand, in any order of the batch."""
    scores, labels = torch.cat([HIGH, LOW])[order] @ W, torch.tensor([1, 1, 0, 0])[order].tolist()
    values = Differential(form=form)(step_of(fake_step, scores, labels))
    assert values.shape == (4,)
    assert values.mean().item() == pytest.approx(mean, abs=1e-5)


def test_the_vectors_pairs():
    """D of the vectors is [[.9, 1.5], [1.2, 1.8]]: the scores are those the other numbers stand
    on.
    """
    gaps = (HIGH @ W)[:, None] - (LOW @ W)[None]
    assert gaps.flatten().tolist() == pytest.approx([0.9, 1.5, 1.2, 1.8], abs=1e-9)


def test_the_vectors_threshold():
    """The extreme rule puts the bias at -0.35, and the head classifies the four points right with
    it.
    """
    head = ScoreHead(2).double()
    with torch.no_grad():
        head.weight.copy_(W)
        Differential(bias="extreme").fit_head(
            head, torch.cat([LOW, HIGH]), torch.tensor([0, 0, 1, 1])
        )
    assert head.bias.tolist() == pytest.approx([-0.35], abs=1e-5)
    assert head(torch.cat([LOW, HIGH])).argmax(1).tolist() == [0, 0, 1, 1]


SCORES = st.floats(-4, 4, width=32)
LEVELS = st.integers(-3, 3)  # few values: ties are the hard case
SIDES = st.lists(LEVELS, min_size=1, max_size=6)


@given(
    batch=st.lists(st.tuples(SCORES, st.integers(0, 1)), min_size=1, max_size=9),
    form=st.sampled_from(sorted(FORMS)),
    target=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_batch_mean_is_the_mean_over_all_pairs(fake_step, batch, form, target):
    """Whatever the sizes of the classes, the batch mean is the plain double loop's mean over pairs
    of opposite classes.
    """
    options = {} if form == "logistic" else {"target": target}
    values = Differential(form=form, **options)(
        step_of(fake_step, [s for s, _ in batch], [y for _, y in batch])
    )
    pairs = [
        FORMS[form](s - r, target) for s, y in batch if y == 1 for r, other in batch if other == 0
    ]
    expected = sum(pairs) / len(pairs) if pairs else 0.0
    assert values.mean().item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(
    high=st.lists(SCORES, min_size=1, max_size=6),
    low=st.lists(SCORES, min_size=1, max_size=6),
    target=st.floats(0.25, 3),
)
def test_square_form_equals_its_closed_form(fake_step, high, low, target):
    """mean_ij (a_i - c_j - t)^2 = Var(a) + Var(c) + (mean a - mean c - t)^2 with population
    variances.
    """
    values = Differential(form="square", target=target)(
        step_of(fake_step, high + low, [1] * len(high) + [0] * len(low))
    )
    expected = np.var(high) + np.var(low) + (np.mean(high) - np.mean(low) - target) ** 2
    assert values.mean().item() == pytest.approx(float(expected), rel=1e-6, abs=1e-9)


@given(
    st.lists(SCORES, min_size=2, max_size=6),
    st.floats(-5, 5, width=32),
    st.sampled_from(sorted(FORMS)),
)
def test_a_common_shift_of_the_scores_changes_nothing(fake_step, batch, shift, form):
    """No bias enters the loss: scores moved together have the same values."""
    labels = [i % 2 for i in range(len(batch))]
    here, there = (
        Differential(form=form)(step_of(fake_step, [s + d for s in batch], labels))
        for d in (0.0, shift)
    )
    assert torch.allclose(here, there, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("label", [0, 1])
def test_a_batch_of_one_class_is_zero_with_a_graph(fake_step, form, label):
    """Without a pair the values are zeros that can be differentiated, with zero gradient, and never
    NaN.
    """
    logits = logits_of(torch.tensor([0.3, -2.0, 50.0])).requires_grad_()
    values = Differential(form=form)(fake_step(logits, [label] * 3))
    assert values.tolist() == [0, 0, 0]
    values.mean().backward()
    assert logits.grad.tolist() == [[0, 0]] * 3


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_finite_differences(fake_step, form):
    """The gradient through all pairs of a batch is right, in double precision."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 2, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: Differential(form=form)(fake_step(z, [0, 1, 1, 0, 1])), (logits,)
    )


@pytest.mark.parametrize("classes", [1, 3, 10])
def test_check_refuses_other_numbers_of_classes(classes):
    """Data of other than 2 classes are refused in one line that names the loss, the number and a
    remedy.
    """
    info = DataInfo((1, 8, 8), tuple(str(k) for k in range(classes)), (0.5,), (0.2,))
    with pytest.raises(UserError) as error:
        Differential().check(info)
    message = str(error.value)
    assert "differential" in message
    assert f"has {classes}" in message
    assert "--data" in message
    assert "\n" not in message


def test_check_accepts_two_classes():
    """Two classes are what the loss is for."""
    assert Differential().check(DataInfo((1, 8, 8), ("a", "b"), (0.5,), (0.2,))) is None


# -- the linear theory of section 1.3


def slanted_data():
    """30 points of two separable classes in the plane, far from the origin: [30,2], labels, and the
    SVM's weights.
    """
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    across = np.array([1.0, 0.3]) / math.hypot(1.0, 0.3)
    along = np.array([-across[1], across[0]])
    points = [
        (5 + side * (0.5 + rng.exponential())) * across + rng.normal() * along
        for side in (1, -1)
        for _ in range(15)
    ]
    x, y = np.array(points), np.array([1] * 15 + [0] * 15)
    return x, y, SVC(kernel="linear", C=1e8).fit(x, y).coef_[0]


def descend(loss, x, y, fake_step, *, bias, steps=2000, rate=0.1):
    """Gradient descent from zero on a linear score.

    Steps grow as the loss falls, which leaves the path's direction alone.
    """
    w, b = torch.zeros(x.shape[1], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    parts = [w.requires_grad_(), b.requires_grad_()][: 1 + bias]
    for _ in range(steps):
        value = loss(fake_step(logits_of(x @ w + b), y)).mean()
        grads = torch.autograd.grad(value, parts)
        with torch.no_grad():
            for part, grad in zip(parts, grads, strict=True):
                part -= rate * grad / value
    return w.detach(), b.detach()


def angle(u, v):
    """Degrees between two vectors."""
    return math.degrees(
        math.acos(min(1.0, float(u @ v) / float(np.linalg.norm(u) * np.linalg.norm(v))))
    )


def test_linear_theory(fake_step):
    """Logistic differential training reaches the hard-margin SVM's direction and margin,
    cross-entropy does not.

    The points get a constant third coordinate D = 1. Theory: the cross-entropy solution, scaled to
    functional margin 1 and with bias B, has a margin of at most 1 / sqrt(1 / gamma^2 + B^2 D^2).
    """
    points, labels, svm = slanted_data()
    gamma = 1 / np.linalg.norm(svm)
    x, y = torch.tensor(np.c_[points, np.ones(len(points))]), torch.tensor(labels)
    optimum = np.append(
        svm, 0.0
    )  # a constant coordinate separates nothing, so the optimum leaves it alone
    signs = 2 * y - 1

    w, _ = descend(Differential(form="logistic"), x, labels.tolist(), fake_step, bias=False)
    assert angle(w.numpy(), optimum) < 1
    s = x @ w
    b = threshold(s[y == 1], s[y == 0], "extreme")
    assert float((signs * (s + b)).min() / w.norm()) == pytest.approx(gamma, rel=0.01)

    w, b = descend(CrossEntropy(), x, labels.tolist(), fake_step, bias=True)
    functional = float((signs * (x @ w + b)).min())
    assert functional > 0  # it does separate them
    assert angle(w.numpy(), optimum) > 45
    margin, scaled_bias = functional / float(w.norm()), float(b) / functional
    assert margin < 0.5 * gamma
    assert margin <= 1.001 / math.sqrt(1 / gamma**2 + scaled_bias**2)
