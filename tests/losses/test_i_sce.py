"""I-SCE: its three forms as they are written with exponentials, its draws, and what stays plain."""

from __future__ import annotations

import itertools
import math
import statistics

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import LOSSES
from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.i_sce import ISCE
from robbench.models.base import Output
from robbench.testing import check_loss

SPEC = "robbench.losses.i_sce:ISCE"
MODES = ["additive", "virtual-class", "multiplicative"]
SAMPLINGS = ["fixed", "uniform", "half-normal", "annealed"]


def slow(mode, z, y, s):
    """-log of the true class's share of one sample, written with exponentials."""
    others = sum(math.exp(v) for k, v in enumerate(z) if k != y)
    if mode == "virtual-class":
        return -math.log(math.exp(z[y]) / (s + math.exp(z[y]) + others))
    true = math.exp(
        z[y] - s if mode == "additive" else z[y] / (1 + s) if z[y] > 0 else z[y] * (1 + s)
    )
    return -math.log(true / (true + others))


@pytest.fixture
def keyed_step(fake_step):
    """Makes a step with a key per sample and a progress, as the trainer's have."""

    def make(logits, y, adversarial=None, *, key=None, progress=0.5):
        step = fake_step(logits, y, adversarial, plain=adversarial is None)
        step.key = keyed.mix(torch.arange(len(y))) if key is None else key
        step.progress = progress
        return step

    return make


@pytest.mark.parametrize(
    ("which", "y", "value"),
    [("z", 0, 0.746567), ("z", 2, 2.736816), ("a", 0, 2.095611), ("a", 2, 1.448154)],
)
def test_the_vectors(keyed_step, request, which, y, value):
    """The default is the additive form with s = 1."""
    assert ISCE()(keyed_step(request.getfixturevalue(which), [y])).tolist() == pytest.approx(
        [value], abs=1e-5
    )


@pytest.mark.parametrize("s", [0.0, 0.5, 2.0, 20.0])
@pytest.mark.parametrize("mode", MODES)
def test_a_plain_transcription(keyed_step, mode, s):
    """Random logits of any sign give what the formula gives, in double precision."""
    logits = 2 * torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = [n % 5 for n in range(8)]
    values = ISCE(mode=mode, s=s)(keyed_step(logits, y))
    assert values.tolist() == pytest.approx(
        [slow(mode, z, c, s) for z, c in zip(logits.tolist(), y, strict=True)], abs=1e-6
    )


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("mode", MODES)
def test_without_a_handicap_it_is_cross_entropy(keyed_step, z, a, mode, sampling):
    """No handicap is cross-entropy in every mode, with its gradient (the virtual class then has a
    logit of -inf).
    """
    logits = torch.cat([z, a]).requires_grad_()
    step = keyed_step(logits, [0, 2])
    values, plain = ISCE(mode=mode, s=0.0, sampling=sampling)(step), CrossEntropy()(step)
    assert torch.allclose(values, plain, atol=1e-9)
    ours, theirs = (torch.autograd.grad(v.sum(), logits)[0] for v in (values, plain))
    assert torch.allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_finite_differences(keyed_step, mode):
    """The gradient is right in double precision, for draws of s also."""
    logits = torch.randn(
        4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    loss = ISCE(mode=mode, s=2.0, sampling="uniform")
    assert torch.autograd.gradcheck(lambda z: loss(keyed_step(z, [0, 1, 2, 0])), (logits,))


@pytest.mark.parametrize("s", [0.0, 0.7, 5.0, 60.0])
def test_the_additive_form_is_the_worst_cross_entropy_in_a_box_of_logits(keyed_step, s):
    """Within s/2 of each logit: the true one at its lowest, the others at their highest.

    No random point of the box is worse, and the largest of its corners is equal.
    """
    torch.manual_seed(0)
    logits, y = 3 * torch.randn(6, 4, dtype=torch.float64), [0, 1, 2, 3, 0, 1]
    values = ISCE(s=s)(keyed_step(logits, y))
    corners = torch.tensor(list(itertools.product([-0.5, 0.5], repeat=4)), dtype=torch.float64)
    inside = torch.rand(500, 4, dtype=torch.float64) - 0.5
    worst = [
        torch.stack([F.cross_entropy(z + s * d, torch.tensor(c)) for d in among]).max()
        for among in (corners, inside)
        for z, c in zip(logits, y, strict=True)
    ]
    assert torch.allclose(values, torch.stack(worst[:6]), rtol=1e-7)
    assert (torch.stack(worst[6:]) <= values + 1e-7).all()


def test_cross_entropy_has_no_gradient_where_a_large_handicap_is_met():
    """In float32: from a log-odds of about 90 on, while the margin and the loss itself have one."""
    for odds, alive in ((60.0, True), (110.0, False)):
        logits = torch.tensor([[odds, 0.0]], requires_grad=True)
        value = F.cross_entropy(logits, torch.tensor([0]))
        (slope,) = torch.autograd.grad(value, logits)
        assert bool(slope[0, 1] > 0) == alive
        own = F.softplus(logits[0, 1] + 100 - logits[0, 0])
        assert torch.autograd.grad(own, logits)[0][0, 1] > 0


class AttackedStep:
    """Clean logits that training sees, and those at the inner attack's point."""

    def __init__(self, clean, adversarial, y):
        self.clean, self.adversarial = Output(clean, clean), adversarial
        self.x, self.y, self.progress, self.logged = "the input", torch.tensor(y), 0.5, {}

    def adversary(self):
        return type("Found", (), {"x": "the point"})

    def peek(self, x):
        return {"the input": self.clean.logits.detach(), "the point": self.adversarial}[x]

    def log(self, **values):
        self.logged |= values


def test_the_attack_decides_the_handicap():
    """S times the drop of the log-odds, never below zero, as a constant; at the clean logits."""
    clean = torch.tensor([[2.0, 0.5, 0.0], [1.0, 0.0, 3.0]], dtype=torch.float64)
    attacked = torch.tensor([[0.5, 1.0, 0.0], [1.0, 0.0, 2.0]], dtype=torch.float64)
    clean.requires_grad_()
    step = AttackedStep(clean, attacked, [0, 0])

    def odds(z):
        return z[0] - math.log(math.exp(z[1]) + math.exp(z[2]))

    drops = [odds(z) - odds(a) for z, a in zip(clean.tolist(), attacked.tolist(), strict=True)]
    assert drops[0] > 1
    assert drops[1] < 0
    values = ISCE(s=2.0, sampling="attack")(step)
    expected = [
        slow("additive", z, 0, 2 * max(d, 0)) for z, d in zip(clean.tolist(), drops, strict=True)
    ]
    assert values.tolist() == pytest.approx(expected, rel=1e-9)
    assert step.logged["drop"].tolist() == pytest.approx(drops)
    (found,) = torch.autograd.grad(values.sum(), clean)
    fixed = F.softplus(
        clean[:, 1:].logsumexp(1) + 2 * torch.tensor(drops).clamp(min=0) - clean[:, 0]
    )
    assert torch.allclose(found, torch.autograd.grad(fixed.sum(), clean)[0])


@pytest.mark.parametrize("s", [0.5, 5.0])
def test_the_additive_form_has_the_direction_of_cross_entropy(keyed_step, s):
    """Its gradient is cross-entropy's times a positive number, so what climbs the one climbs the
    other.
    """
    logits = torch.randn(
        6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    ).requires_grad_()
    step = keyed_step(logits, [0, 1, 2, 3, 0, 1])
    ours, plain = (
        torch.autograd.grad(loss(step).sum(), logits)[0] for loss in (ISCE(s=s), CrossEntropy())
    )
    ratio = ours / plain
    assert (ratio > 1).all()  # a handicap keeps the gradient alive for longer
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-9)


@pytest.mark.parametrize("mode", ["additive", "virtual-class"])
def test_a_larger_handicap_costs_more(keyed_step, z, mode):
    """Additive and virtual-class values grow with s for any logits."""
    values = [ISCE(mode=mode, s=s)(keyed_step(z, [0])).item() for s in (0.0, 0.5, 1.0, 5.0)]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.1


def test_the_multiplicative_handicap_is_one_for_either_sign(keyed_step, z):
    """True logits above and below zero both lose by it, so equal logits far below zero are no way
    out.
    """
    for y in (0, 1):
        values = [
            ISCE(mode="multiplicative", s=s)(keyed_step(z, [y])).item() for s in (0.0, 0.5, 1.0)
        ]
        assert values == sorted(values)
        assert values[0] < values[2]
    equal = torch.full((1, 4), -50.0, dtype=torch.float64)
    assert ISCE(mode="multiplicative")(keyed_step(equal, [0])).item() > 50


def draws(keyed_step, n=4000, progress=0.5, offset=0, **options):
    """What n samples' s were: the additive loss at equal logits of two classes is softplus(s)."""
    step = keyed_step(
        torch.zeros(n, 2, dtype=torch.float64),
        [0] * n,
        key=keyed.mix(torch.arange(n) + offset),
        progress=progress,
    )
    return (ISCE(**options)(step).exp() - 1).log()


def test_uniform_draws(keyed_step):
    """U(0, s): mean, spread and limits."""
    s = draws(keyed_step, s=3.0, sampling="uniform")
    assert s.min() >= -1e-6
    assert s.max() < 3
    assert s.mean().item() == pytest.approx(1.5, abs=0.05)
    assert s.std().item() == pytest.approx(3 / math.sqrt(12), abs=0.03)


def test_half_normal_draws(keyed_step):
    """|N(0, s^2)|: mean s sqrt(2 / pi), median 0.6745 s."""
    s = draws(keyed_step, s=3.0, sampling="half-normal")
    assert s.min() >= -1e-6
    assert s.mean().item() == pytest.approx(3 * math.sqrt(2 / math.pi), abs=0.1)
    assert statistics.median(s.tolist()) == pytest.approx(3 * 0.6745, abs=0.1)


@pytest.mark.parametrize("sampling", ["uniform", "half-normal"])
def test_draws_belong_to_the_sample_and_the_epoch(keyed_step, sampling):
    """The same keys give the same draws in any order, other keys others, and none is the number an
    attack starts from.
    """
    here = draws(keyed_step, n=50, s=1.0, sampling=sampling)
    assert torch.equal(here, draws(keyed_step, n=50, s=1.0, sampling=sampling))
    assert torch.allclose(
        here[10:], draws(keyed_step, n=40, s=1.0, sampling=sampling, offset=10), rtol=1e-5
    )
    assert (here - draws(keyed_step, n=50, s=1.0, sampling=sampling, offset=1000)).abs().min() > 0
    key = keyed.mix(torch.arange(50))
    start = (
        keyed.uniform(key, (4,))[:, 0]
        if sampling == "uniform"
        else keyed.normal(key, (4,))[:, 0].abs()
    )
    assert (here - start).abs().mean() > 0.05


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_annealing_follows_the_progress(keyed_step, z, progress, share):
    """The annealed handicap is s times the share of training done."""
    value = ISCE(s=4.0, sampling="annealed")(keyed_step(z, [0], progress=progress))
    assert value.item() == pytest.approx(slow("additive", z[0].tolist(), 0, 4 * share), abs=1e-6)


def test_it_looks_at_the_inner_attack_when_there_is_one(keyed_step, z, a):
    """With an inner attack the value is that of the adversarial logits."""
    assert ISCE()(keyed_step(z, [0], a)).item() == pytest.approx(2.095611, abs=1e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("mode", MODES)
def test_huge_logits_are_finite(keyed_step, mode, sampling):
    """Logits of +-1e4 in float32, right and wrong, give finite values and gradients.

    Confident ones keep small digits.
    """
    logits = torch.tensor(
        [[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [-1e4, -1e4, -1e4]], requires_grad=True
    )
    values = ISCE(mode=mode, sampling=sampling)(keyed_step(logits, [0, 0, 0]))
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(logits.grad).all()
    assert values[0] == 0
    confident = torch.tensor([[30.0, 0.0]])
    assert ISCE(s=2.0)(keyed_step(confident, [0])).item() == pytest.approx(math.exp(-28), rel=1e-3)


@pytest.mark.parametrize(
    "option", ["mode=virtual_class", "s=-1", "s=inf", "sampling=normal", "scale=0", "space=sphere"]
)
def test_bad_options(option):
    """An option out of range, misspelt or unknown is one line that names it."""
    with pytest.raises(UserError, match=option.partition("=")[0]) as error:
        LOSSES.build(f"{SPEC}:{option}")
    assert "\n" not in str(error.value)


def test_an_attack_that_is_missing_is_asked_for(cli, tmp_path):
    """One line says that the handicap needs one."""
    spec = f"{SPEC}:sampling=attack"
    done = cli(f"train --data digits -n 60 --inner none --loss {spec} --out", tmp_path)
    assert done.code == 2
    assert "needs an inner attack" in done.err


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("mode", MODES)
def test_the_contract(mode, sampling):
    """Every mode with every sampling keeps what every loss must keep."""
    check_loss(f"{SPEC}:mode={mode},sampling={sampling}")


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "options",
    [
        "s=2",
        "mode=virtual-class,sampling=uniform",
        "mode=multiplicative,sampling=half-normal",
        "space=cosine,scale=20,s=3",
        "sampling=attack --inner fgsm --threat linf:0.05",
    ],
)
def test_it_trains(cli, tmp_path, options):
    """A small network learns the digits."""
    done = cli(
        f"train --data digits --model mlp:width=32,depth=1 --loss {SPEC}:{options}"
        " --epochs 4 -n 400 --lr 0.02 --name m --out",
        tmp_path,
    )
    assert done.code == 0, done.err
    assert pd.read_parquet(tmp_path / "models/m/epochs.parquet")["clean_accuracy"].iloc[-1] > 0.7


def test_the_drop_is_one_of_the_model_in_one_mode(batch_norm_step):
    """At points where nothing changes it is zero, whatever batch norm does in training."""
    step = batch_norm_step(PGD(steps=1, rate=1e-7))
    assert not torch.allclose(step.clean.logits, step.peek(step.x), atol=0.01)  # the modes differ
    assert float(ISCE(sampling="attack").draw(step).abs().max()) < 1e-4


def test_the_attack_comes_with_the_loss_that_needs_it():
    """Only one way to choose s does."""
    assert ISCE(sampling="attack").inner == "fgsm"
    assert ISCE(sampling="uniform").inner is None
