"""Objectives: test vectors, few classes by hand, gradients, and irrelevant shifts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from robbench.core.errors import UserError
from robbench.objectives import (
    ANCHORED,
    OBJECTIVES,
    TARGETED,
    UNTARGETED,
    SoftCrossEntropy,
    at_rows,
    best_other,
    find_objective,
    margins,
    soft_margins,
    temperatures,
)
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

CLEAN, ADVERSARIAL = [2.0, -1.0, 0.5, 0.0], [0.5, 0.0, 1.0, -0.5]


def _value(
    name: str,
    logits: list[list[float]] | Tensor,
    y: list[int],
    target: list[int] | None = None,
    logits0: Tensor | None = None,
) -> Tensor:
    z = torch.as_tensor(logits, dtype=torch.float64)
    return OBJECTIVES[name](z, _problem(z, y, target, logits0))


def _problem(
    z: Tensor, y: list[int], target: list[int] | None = None, logits0: Tensor | None = None
) -> Problem:
    rows = torch.arange(len(z))
    return Problem(
        x0=torch.zeros(len(z), 1),
        y=torch.tensor(y),
        target=torch.tensor(target or [-1] * len(z)),
        eps=torch.ones(len(z)),
        key=rows,
        index=rows,
        logits0=z if logits0 is None else logits0,
        norm=NORMS["linf"],
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross-entropy", [0.342350, 1.842350, 1.287339, 0.787339]),
        ("margin", [-1.5, 1.5, 0.5, -0.5]),
        ("soft-margin", [-0.895869, 1.669846, 0.964369, 0.180270]),
        ("dlr", [-0.75, 0.75, 0.5, -0.5]),
        ("dlr-targeted", [-1.2, -0.6, -0.4, -0.8]),
        ("true-logit", [-2.0, -0.5, -0.5, -1.0]),
    ],
)
def test_vectors(name: str, expected: list[float]) -> None:
    """The values by hand in double precision, for z and a with y = 0 and 2 (target 1)."""
    found = _value(name, [CLEAN, CLEAN, ADVERSARIAL, ADVERSARIAL], [0, 2, 0, 2], [1] * 4)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_divergence_vector() -> None:
    """KL(p(z) || p(a)) = 0.443614, zero at the clean point, and it does not look at the label."""
    z = torch.tensor([CLEAN], dtype=torch.float64)
    for y in range(4):
        assert _value("kl-from-clean", [ADVERSARIAL], [y], logits0=z).item() == pytest.approx(
            0.443614, abs=1e-6
        )
        assert _value("kl-from-clean", z, [y]).item() == pytest.approx(0, abs=1e-15)


def test_margins_by_hand() -> None:
    """z_y - max of the others, also for negative logits, ties, and one class."""
    z = torch.tensor([[-5.0, -3.0, -9.0], [-5.0, -3.0, -9.0], [1.0, 1.0, 0.0], [-1.0, -2.0, -3.0]])
    y = torch.tensor([0, 1, 0, 0])
    assert margins(z, y).tolist() == [-2, 2, 0, 1]
    assert best_other(z, y).tolist() == [-3, -5, 1, -2]
    assert margins(torch.tensor([[-4.0]]), torch.tensor([0])).tolist() == [math.inf]


def test_two_classes_have_no_scale() -> None:
    """With 2 classes both DLRs are the plain logit difference."""
    z = [[3.0, 1.0], [3.0, 1.0], [-4.0, -7.0]]
    assert _value("dlr", z, [0, 1, 0]).tolist() == [-2, 2, -3]
    assert _value("dlr-targeted", z, [0, 1, 0], [1, 0, 1]).tolist() == [-2, 2, -3]


def test_three_classes_use_the_smallest_as_scale() -> None:
    """With 3 classes both DLRs divide by z_(1) - z_(3)."""
    z = [[3.0, 1.0, -1.0], [-1.0, 0.0, 1.0]]
    assert _value("dlr", z, [0, 1]).tolist() == pytest.approx([-(3 - 1) / 4, -(0 - 1) / 2])
    assert _value("dlr-targeted", z, [0, 1], [2, 0]).tolist() == pytest.approx(
        [-(3 + 1) / 4, -(0 + 1) / 2]
    )


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_gradients(name: str, classes: int) -> None:
    """Analytic gradients agree with finite differences, for right, wrong and mid-ranked labels."""
    generator = torch.Generator().manual_seed(classes)
    z = torch.randn(classes, classes, generator=generator, dtype=torch.float64) * 2
    clean = torch.randn(classes, classes, generator=generator, dtype=torch.float64)
    y = list(range(classes))
    p = _problem(z, y, [(k + 1) % classes for k in y], clean)
    assert torch.autograd.gradcheck(lambda logits: OBJECTIVES[name](logits, p), z.requires_grad_())


LOGITS = st.lists(st.lists(st.floats(-20, 20), min_size=5, max_size=5), min_size=1, max_size=4)


@given(LOGITS, st.floats(-50, 50))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_common_shift_of_the_logits_changes_nothing(z: list[list[float]], shift: float) -> None:
    """Every objective depends on differences of logits, but true-logit, which shifts back."""
    y = [row.index(max(row)) for row in z]
    target = [(k + 1) % 5 for k in y]
    moved = torch.tensor(z, dtype=torch.float64) + shift
    clean = torch.zeros(len(z), 5, dtype=torch.float64)
    for name in OBJECTIVES:
        if (
            name in ("dlr", "dlr-targeted")
            and min(sorted(row)[-1] - sorted(row)[-3] for row in z) < 1e-3
        ):
            continue  # the 1e-12 in the denominator is all that is left
        a, b = _value(name, z, y, target, clean), _value(name, moved, y, target, clean)
        assert torch.allclose(a - shift * (name == "true-logit"), b, rtol=1e-8, atol=1e-9)


@given(LOGITS, st.floats(0.01, 100))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_dlr_does_not_see_the_scale(z: list[list[float]], scale: float) -> None:
    """Scaling all logits leaves both DLRs unchanged (Croce and Hein), and |DLR| <= 1."""
    z = [row for row in z if sorted(row)[-1] - sorted(row)[-3] > 1e-3]
    if not z:
        return
    y = [row.index(max(row)) for row in z]
    target = [(k + 2) % 5 for k in y]
    for name in ("dlr", "dlr-targeted"):
        a, b = (
            _value(name, z, y, target),
            _value(name, torch.tensor(z, dtype=torch.float64) * scale, y, target),
        )
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-9)
    assert float(_value("dlr", z, y).abs().max()) <= 1


@given(LOGITS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_signs_tell_mistakes(z: list[list[float]]) -> None:
    """`margin` and dlr are positive where the label lost; margin is -(logit margin)."""
    for y in range(5):
        labels = [y] * len(z)
        value = _value("margin", z, labels)
        others = [max(row[:y] + row[y + 1 :]) - row[y] for row in z]
        assert value.tolist() == others
        assert torch.equal(
            value, -margins(torch.tensor(z, dtype=torch.float64), torch.tensor(labels))
        )
        assert torch.equal(_value("dlr", z, labels).sign(), value.sign())


@given(LOGITS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_soft_margin_is_between_its_bounds(z: list[list[float]]) -> None:
    """Margin <= soft-margin (= -`soft_margins`) <= margin + log(K - 1); its softplus is CE."""
    logits = torch.tensor(z, dtype=torch.float64)
    for y in range(5):
        labels = [y] * len(z)
        soft, hard = _value("soft-margin", z, labels), _value("margin", z, labels)
        assert bool(((soft >= hard - 1e-12) & (soft <= hard + math.log(4) + 1e-12)).all())
        assert torch.equal(soft, -soft_margins(logits, torch.tensor(labels)))
        assert torch.allclose(
            _value("cross-entropy", z, labels), torch.nn.functional.softplus(soft, threshold=50)
        )


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_saturated_and_equal_logits_give_finite_values_and_gradients(name: str) -> None:
    """Logits of a thousand, or all equal, give no NaN and no infinity in float32."""
    z = torch.tensor(
        [[1000.0, -1000.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0], [-1000.0, 1000.0, 1000.0, 1000.0]],
        requires_grad=True,
    )
    p = _problem(z, [0, 0, 0], [1, 1, 1], torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 3))
    value = OBJECTIVES[name](z, p)
    (grad,) = torch.autograd.grad(value.sum(), z)
    assert bool(torch.isfinite(value).all())
    assert bool(torch.isfinite(grad).all())


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_rows_are_independent(name: str) -> None:
    """A row's value and gradient are the same alone and in a batch."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    p = _problem(
        z.detach(),
        [0, 1, 2, 3, 0, 1],
        [1, 2, 3, 0, 2, 3],
        torch.randn(6, 4, generator=generator, dtype=torch.float64),
    )
    value = OBJECTIVES[name](z, p)
    (grad,) = torch.autograd.grad(value.sum(), z)
    for row in range(6):
        alone = z[row : row + 1].detach().requires_grad_()
        one = OBJECTIVES[name](alone, p.take(slice(row, row + 1)))
        assert one.shape == (1,)
        assert torch.allclose(one[0], value[row])
        assert torch.allclose(torch.autograd.grad(one.sum(), alone)[0][0], grad[row])


def test_names() -> None:
    """Every name is found, a typo gets the nearest, and special needs are of known names."""
    assert all(find_objective(name) is objective for name, objective in OBJECTIVES.items())
    assert OBJECTIVES.keys() >= ANCHORED > TARGETED
    with pytest.raises(
        UserError, match="unknown objective 'cross-entropie'; did you mean cross-entropy"
    ):
        find_objective("cross-entropie")


def test_the_gradient_of_cross_entropy_survives_confidence() -> None:
    """At a logit margin of 60 usual float32 cross-entropy has no gradient; ours has e^-60."""
    logits = torch.tensor([[60.0, 0.0, -5.0]], requires_grad=True)
    value = OBJECTIVES["cross-entropy"](logits, _problem(logits, [0]))
    (grad,) = torch.autograd.grad(value.sum(), logits)
    exact = torch.tensor([[-(1 + math.exp(-5)), 1.0, math.exp(-5)]]) * math.exp(-60)
    assert torch.allclose(grad, exact, rtol=1e-4, atol=0)


def _plain_probability_margin(z: Tensor, y: int) -> Tensor:
    """[B] p_o - p_y."""
    p = z.softmax(1)
    return torch.cat([p[:, :y], p[:, y + 1 :]], 1).max(1).values - p[:, y]


@given(LOGITS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_probability_margin_is_that_of_the_probabilities(z: list[list[float]]) -> None:
    """exp(value) - 1 is p_o - p_y, and the gradients point the same way."""
    for y in range(5):
        leaf = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        value = _value("probability-margin", leaf, [y] * len(z))
        plain = _plain_probability_margin(leaf, y)
        assert torch.allclose(torch.expm1(value), plain, atol=1e-12)
        found, expected = (torch.autograd.grad(v.sum(), leaf)[0] for v in (value, plain))
        top = torch.cat([leaf[:, :y], leaf[:, y + 1 :]], 1).topk(2, dim=1).values
        clear = top[:, 0] - top[:, 1] > 1e-9  # where two classes tie either is right
        # d log(1 + m) = dm / (1 + m)
        scaled = found * (1 + plain)[:, None]
        assert torch.allclose(scaled[clear], expected[clear], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_gradient_of_the_probability_margin_survives_confidence(dtype: torch.dtype) -> None:
    """Where p_y rounds to 1 it is that of the exact values, of size 1; the plain one is zero."""
    rows = [[60.0, 0.0, -1.0, -5.0], [900.0, 3.0, 2.0, -800.0]]
    logits = torch.tensor(rows, dtype=dtype, requires_grad=True)
    plain = torch.autograd.grad(_plain_probability_margin(logits, 0).sum(), logits)[0]
    value = OBJECTIVES["probability-margin"](logits, _problem(logits, [0, 0]))
    (found,) = torch.autograd.grad(value.sum(), logits)
    for row, z in enumerate(rows):
        sizes = [2 * math.exp(z[1] - z[1]), math.exp(z[2] - z[1]), math.exp(z[3] - z[1])]
        exact = [-1.0, *(size / sum(sizes) for size in sizes)]
        assert found[row].tolist() == pytest.approx(exact, abs=4 * torch.finfo(dtype).eps)
        assert float(plain[row].abs().max()) < 1e-20


def test_the_probability_margin_of_two_classes_and_of_classes_ruled_out() -> None:
    """With K = 2 it is log(2 p_o); logits of -inf count for nothing and give no NaN."""
    two = torch.tensor([[3.0, 1.0], [-2.0, 4.0]], dtype=torch.float64)
    expected = torch.log(2 * two.softmax(1)[:, 1])
    assert torch.allclose(_value("probability-margin", two, [0, 0]), expected)
    ruled = torch.tensor([[3.0, -torch.inf, 1.0]], dtype=torch.float64, requires_grad=True)
    value = _value("probability-margin", ruled, [0])
    assert torch.allclose(value, expected[:1])
    (slope,) = torch.autograd.grad(value.sum(), ruled)
    assert bool(slope.isfinite().all())


# -- scale

ORDINARY = [7.0, 2.0, 0.0, -1.0, -3.0]  # spread 7 (the median is 0), gap 5


@pytest.mark.parametrize(
    ("logits", "temperature"),
    [
        (ORDINARY, 1.0),
        ([z / 10 for z in ORDINARY], 0.07),  # spread 0.7 becomes 10
        ([z / 10 - 3 for z in ORDINARY], 0.07),
        ([z * 9.9 for z in ORDINARY], 1.0),
        ([z * 20 for z in ORDINARY], 10.0),  # gap 100 becomes 10
        ([5.0, 5.0, 5.0, 5.0, 5.0], 1.0),  # nothing to scale by
        (
            [7.0, 2.0, 0.0, -torch.inf, -1e9],
            1.0,
        ),  # classes that are ruled out do not make the others large ...
        ([0.7, 0.2, 0.0, -torch.inf, -1e9], 0.07),  # ... and tiny ones are seen beside them
        ([7.0, torch.nan, 0.0, 1.0, 2.0], 1.0),
        ([torch.inf, 0.0, 0.0, 1.0, 2.0], 1.0),
        ([7.0], 1.0),
        ([0.001, 0.0], 1.0),  # two classes: close to the boundary, whatever the scale
        ([100.0, 0.0], 10.0),
        ([0.5, 0.499, -3.0], 1.0),  # three classes: the third tells the scale
        ([0.05, 0.049, 0.0], 0.005),
    ],
)
def test_temperatures_are_of_extreme_scales_only(logits: list[float], temperature: float) -> None:
    """By hand; and a row's own matter."""
    found = temperatures(torch.tensor([logits, logits]))
    assert found.tolist() == pytest.approx([temperature] * 2, rel=1e-5)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1e2, 1e4])
def test_no_objective_depends_on_an_extreme_scale(name: str, scale: float) -> None:
    """The gradient's direction is that of logits scaled to the usual size beforehand."""
    z0 = torch.tensor([[2.0, -1.0, 0.5, 0.0], [0.4, 1.9, 0.1, -0.2]], dtype=torch.float64)

    def direction(size: Tensor, temperature: Tensor | None) -> Tensor:
        here = (size * (z0 + 0.1)).requires_grad_()
        p = _problem(size * z0, [0, 1], [2, 2]).replace(temperature=temperature)
        gradient = torch.autograd.grad(
            OBJECTIVES[name](here + 0.3 * size * z0.flip(1), p).sum(), here
        )[0]
        return gradient / gradient.norm(dim=1, keepdim=True)

    found = temperatures(scale * z0)
    scaled = direction(torch.full((2, 1), scale, dtype=torch.float64), found)
    assert torch.allclose(scaled, direction((scale / found)[:, None], None), rtol=1e-4)


@pytest.mark.parametrize("offset", [1e4, -1e5, 1e6])
@pytest.mark.parametrize("scale", [1.0, 64.0, 2.0**-3])
@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"true-logit"}))
def test_an_offset_common_to_all_logits_costs_no_digits(
    name: str, scale: float, offset: float
) -> None:
    """In float32: values and gradients are as without it, where logits are exact."""
    z0 = torch.tensor([[2.0, -1.0, 0.5, 0.0, -3.0], [0.5, 2.0, 0.0, -0.5, 1.0]]) * scale
    z = z0 + torch.tensor([0.0, 1.0, -1.0, 0.5, 0.0]) * scale
    temperature = temperatures(z0)
    found = []
    for add in (0.0, offset):
        assert torch.equal((z + add) - add, z)
        here = (z + add).requires_grad_()
        p = _problem(here, [0, 1], [2, 2], logits0=z0 + add).replace(temperature=temperature)
        assert torch.equal(temperatures(z0 + add), temperature)
        value = OBJECTIVES[name](here, p)
        found.append((value.detach(), torch.autograd.grad(value.sum(), here)[0]))
    for plain, moved in zip(*found, strict=True):
        assert torch.allclose(plain, moved, rtol=1e-5, atol=1e-6)


def test_with_a_target_every_objective_climbs_towards_it() -> None:
    """Written out by hand: the target's log-probability, its lead over the best other, its logit.

    Both DLR forms divide the lead by z_(1) - (z_(3) + z_(4)) / 2.
    """
    z = torch.tensor([[2.0, -1.0, 0.5, 0.0], [0.5, 3.0, 1.0, -0.5]], dtype=torch.float64)
    goal = [2, 1]
    p = _problem(z, [0, 0], goal).replace(targeted=True)
    others = [[2.0, -1.0, 0.0], [0.5, 1.0, -0.5]]
    mine = [0.5, 3.0]
    lead = [m - max(o) for m, o in zip(mine, others, strict=True)]
    raw = [[math.exp(m), math.exp(max(o))] for m, o in zip(mine, others, strict=True)]
    sums = [sum(math.exp(v) for v in row) for row in z.tolist()]
    soft = [m - math.log(sum(map(math.exp, o))) for m, o in zip(mine, others, strict=True)]
    whole = [math.log(sum(math.exp(v) for v in row)) for row in z.tolist()]
    scale = [2.0 - (0.0 - 1.0) / 2, 3.0 - (0.5 - 0.5) / 2]
    expected = {
        "margin": lead,
        "soft-margin": soft,
        "cross-entropy": [m - w for m, w in zip(mine, whole, strict=True)],
        "true-logit": mine,
        "probability-margin": [
            math.log1p((m - o) / total) for (m, o), total in zip(raw, sums, strict=True)
        ],
        "dlr": [a / b for a, b in zip(lead, scale, strict=True)],
        "dlr-targeted": [a / b for a, b in zip(lead, scale, strict=True)],
    }
    assert set(expected) | UNTARGETED == set(OBJECTIVES)
    for name, values in expected.items():
        assert OBJECTIVES[name](z, p).tolist() == pytest.approx(values), name
        leaf = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(OBJECTIVES[name](leaf, p).sum(), leaf)
        assert bool((slope.gather(1, torch.tensor(goal)[:, None]) > 0).all()), name


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_cross_entropy(temperature: float) -> None:
    """It is torch's of z / T and probabilities, also of some rows, and grows as KL(P || .) does."""
    generator = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    targets = torch.randn(6, 4, generator=generator, dtype=torch.float64).softmax(1)
    objective, p = SoftCrossEntropy(targets=targets, temperature=temperature), _problem(z, [0] * 6)
    plain = F.cross_entropy(z / temperature, targets, reduction="none")
    assert torch.allclose(objective(z, p), plain, atol=1e-12)
    rows = torch.tensor([4, 1])
    assert torch.allclose(at_rows(objective, rows)(z[rows], p.take(rows)), plain[rows], atol=1e-12)
    leaves = [z.clone().requires_grad_() for _ in range(2)]
    divergence = F.kl_div((leaves[1] / temperature).log_softmax(1), targets, reduction="sum")
    (ours,) = torch.autograd.grad(objective(leaves[0], p).sum(), leaves[0])
    (theirs,) = torch.autograd.grad(divergence, leaves[1])
    assert torch.allclose(ours, theirs, atol=1e-12)
