"""SOVR and TSOVR: who is hard by a plain sort, both sums by plain loops, what is detached, and
every option.
"""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.one_vs_rest import OneVsRest
from robbench.losses.sovr import SOVR, TSOVR
from robbench.losses.trades import TRADES
from robbench.testing import check_loss

SPEC = "robbench.losses.sovr:SOVR"
T_SPEC = "robbench.losses.sovr:TSOVR"


def ce(z, y):
    """Cross-entropy of one sample."""
    return math.log(sum(math.exp(v) for v in z)) - z[y]


def ovr(z, y):
    """One-versus-rest of one sample."""
    return sum(math.log1p(math.exp(-v if k == y else v)) for k, v in enumerate(z))


def kl(z, other):
    """KL(softmax(z) || softmax(other)) of one sample."""
    p, q = ([math.exp(v) / sum(map(math.exp, w)) for v in w] for w in (z, other))
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def hardest(logits, y, count):
    """The positions of the largest max_{k != y} z_k - z_y, by a sort of plain numbers."""
    loss = [
        max(v for k, v in enumerate(z) if k != c) - z[c] for z, c in zip(logits, y, strict=True)
    ]
    return set(sorted(range(len(y)), key=lambda n: -loss[n])[:count])


def random_logits(n, classes, seed):
    """[n,classes] in double precision."""
    return 2 * torch.randn(
        n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def step_of(fake_step, clean, y, adversarial):
    """A step with an inner attack, which can be peeked at its clean points and counts how often."""
    step = fake_step(clean, y, adversarial, plain=False)
    step.peeked = 0

    def peek(x):
        step.peeked += 1
        return step.at(x).logits.detach()

    step.peek = peek
    return step


def test_the_vectors(fake_step, z, a):
    """Half of the batch {(z, 0), (a, 0)} is hard: (CE(z) + 0.4 OVR(a)) / 2 = 0.762088."""
    values = SOVR(percent=50, lam=0.4)(fake_step(torch.cat([z, a]), [0, 0]))
    assert values.tolist() == pytest.approx([0.342350, 0.4 * 2.954563], abs=1e-5)
    assert values.mean().item() == pytest.approx(0.762088, abs=1e-5)


def test_the_vectors_of_tsovr(fake_step, z, a):
    """One sample of the vectors: cross-entropy or one-versus-rest at z, plus 6 KL = 0.443614 times
    6.
    """
    for percent, term in ((0, 0.342350), (100, 0.4 * 2.107414)):
        step = fake_step(z, [0], a)
        assert TSOVR(percent=percent)(step).item() == pytest.approx(term + 6 * 0.443614, abs=1e-5)
        assert step.asked == ["kl-from-clean"]


@pytest.mark.parametrize("percent", [0, 30, 40, 70, 100])
@pytest.mark.parametrize("normalise", ["batch", "set"])
def test_a_plain_transcription(fake_step, percent, normalise):
    """The batch mean is both sums divided by N, or each by the size of its set, over a plain
    sort.
    """
    logits, y = random_logits(10, 5, percent), [n % 5 for n in range(10)]
    count = percent // 10
    hard = hardest(logits.tolist(), y, count)
    easy_sum = sum(
        ce(z, c) for n, (z, c) in enumerate(zip(logits.tolist(), y, strict=True)) if n not in hard
    )
    hard_sum = sum(
        ovr(z, c) for n, (z, c) in enumerate(zip(logits.tolist(), y, strict=True)) if n in hard
    )
    sizes = (10, 10) if normalise == "batch" else (max(10 - count, 1), max(count, 1))
    values = SOVR(percent=percent, lam=0.7, normalise=normalise)(fake_step(logits, y))
    assert values.mean().item() == pytest.approx(
        easy_sum / sizes[0] + 0.7 * hard_sum / sizes[1], abs=1e-9
    )


@pytest.mark.parametrize("terms", ["clean", "adversarial"])
@pytest.mark.parametrize("margin", ["clean", "adversarial"])
def test_a_plain_transcription_of_tsovr(fake_step, terms, margin):
    """Terms and choice come from the logits that the options name, the divergence from both."""
    at = {"clean": random_logits(10, 5, 0), "adversarial": random_logits(10, 5, 1)}
    y = [n % 5 for n in range(10)]
    hard = hardest(at[margin].tolist(), y, 4)
    expected = [
        (0.3 * ovr(z, c) if n in hard else ce(z, c)) + 2.5 * kl(clean, adversarial)
        for n, (z, c, clean, adversarial) in enumerate(
            zip(
                at[terms].tolist(), y, at["clean"].tolist(), at["adversarial"].tolist(), strict=True
            )
        )
    ]
    loss = TSOVR(percent=40, lam=0.3, beta=2.5, terms=terms, margin=margin)
    assert loss(fake_step(at["clean"], y, at["adversarial"])).tolist() == pytest.approx(
        expected, abs=1e-9
    )


def test_the_defaults_of_tsovr_read_x_and_choose_by_the_adversary(fake_step):
    """Without options: terms at x, choice at x', 40 percent, lam 0.4, beta 6."""
    clean, adversarial, y = (
        random_logits(10, 5, 0),
        random_logits(10, 5, 1),
        [n % 5 for n in range(10)],
    )
    assert hardest(clean.tolist(), y, 4) != hardest(
        adversarial.tolist(), y, 4
    )  # so that the choice shows
    spelled = TSOVR(percent=40, lam=0.4, beta=6, terms="clean", margin="adversarial")
    assert torch.equal(
        TSOVR()(fake_step(clean, y, adversarial)), spelled(fake_step(clean, y, adversarial))
    )


def test_the_margin_may_be_read_at_the_clean_input(fake_step):
    """margin=clean chooses by x, still takes both terms at x', and looks at x without gradient,
    once.
    """
    clean, adversarial, y = (
        random_logits(10, 5, 0),
        random_logits(10, 5, 1),
        [n % 5 for n in range(10)],
    )
    for margin, source in (("adversarial", adversarial), ("clean", clean)):
        hard = hardest(source.tolist(), y, 4)
        step = step_of(fake_step, clean, y, adversarial)
        expected = [
            0.4 * ovr(z, c) if n in hard else ce(z, c)
            for n, (z, c) in enumerate(zip(adversarial.tolist(), y, strict=True))
        ]
        assert SOVR(margin=margin)(step).tolist() == pytest.approx(expected, abs=1e-9)
        assert step.peeked == (margin == "clean")


def test_the_ends_are_their_parts(fake_step, z, a):
    """percent=0 is adversarial training, percent=100 is lam times one-versus-rest, TSOVR with
    percent=0 is TRADES.
    """
    step = fake_step(torch.cat([z, a]), [0, 2], torch.cat([a, z]), plain=False)
    assert torch.equal(SOVR(percent=0)(step), CrossEntropy()(step))
    assert torch.allclose(SOVR(percent=100, lam=0.3)(step), 0.3 * OneVsRest()(step), atol=1e-12)
    assert torch.allclose(TSOVR(percent=0)(step), TRADES()(step), atol=1e-12)


@pytest.mark.parametrize(
    ("percent", "n", "nearest", "down", "up"),
    [
        (40, 128, 51, 51, 52),
        (50, 3, 2, 1, 2),
        (50, 1, 1, 0, 1),
        (30, 5, 2, 1, 2),
        (16.1, 1000, 161, 161, 161),
        (0, 7, 0, 0, 0),
        (100, 7, 7, 7, 7),
        (40, 1, 0, 0, 1),
    ],
)
def test_rounding(percent, n, nearest, down, up):
    """The number of hard samples is percent of N, rounded as asked, and untouched by the digits of
    binary fractions.
    """
    counts = {"nearest": nearest, "down": down, "up": up}
    assert {way: SOVR(percent=percent, rounding=way).count(n) for way in counts} == counts


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=9), st.sampled_from([0, 20, 50, 80, 100]))
def test_equal_margins_keep_the_number_of_hard_samples(fake_step, scores, percent):
    """Ties do not change how many samples switch, no hard margin exceeds an easy one, and of equal
    ones the first switch.
    """
    logits = torch.stack(
        [torch.tensor(scores, dtype=torch.float64), torch.zeros(len(scores), dtype=torch.float64)],
        1,
    )
    loss = SOVR(percent=percent, lam=100.0)
    step = fake_step(logits, [0] * len(scores))
    switched = (loss(step) > 10 * CrossEntropy()(step)).tolist()  # 100 OVR is far above CE
    order = sorted(range(len(scores)), key=lambda n: (scores[n], n))
    assert {n for n, hard in enumerate(switched) if hard} == set(order[: loss.count(len(scores))])


def test_of_many_equal_margins_the_first_switch(fake_step):
    """Fresh or saturated models tie whole batches: sorting must not choose among them as it
    pleases.
    """
    hard = (
        SOVR(percent=30)(fake_step(torch.zeros(500, 3), [0] * 500)) < 1
    )  # 0.4 * 3 log 2, against log 3
    assert hard.tolist() == [True] * 150 + [False] * 350


def test_gradients_flow_through_the_terms_and_not_through_the_choice(fake_step):
    """Each sample's gradient is that of its own term: softmax for the easy, weighted sigmoids for
    the hard.
    """
    logits, y = random_logits(10, 5, 3).requires_grad_(), [n % 5 for n in range(10)]
    SOVR(lam=0.6)(fake_step(logits, y)).sum().backward()
    hard = hardest(logits.tolist(), y, 4)
    for n, (z, c) in enumerate(zip(logits.detach(), y, strict=True)):
        onehot = torch.eye(5, dtype=torch.float64)[c]
        expected = 0.6 * (z.sigmoid() - onehot) if n in hard else z.softmax(0) - onehot
        assert torch.allclose(logits.grad[n], expected, atol=1e-9)


def test_tsovr_sends_gradients_through_both_distributions(fake_step):
    """The gradient reaches clean and adversarial logits, and equals finite differences."""
    clean, adversarial = (random_logits(5, 4, seed).requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(
        lambda z, a: TSOVR()(fake_step(z, [0, 1, 2, 3, 0], a)), (clean, adversarial)
    )
    grads = torch.autograd.grad(
        TSOVR()(fake_step(clean, [0, 1, 2, 3, 0], adversarial)).sum(), (clean, adversarial)
    )
    assert all((grad.abs().amax(1) > 1e-3).all() for grad in grads)


@pytest.mark.parametrize(
    "loss", [SOVR(), SOVR(normalise="set"), TSOVR(), TSOVR(terms="adversarial")]
)
def test_huge_logits_are_finite(fake_step, loss):
    """Logits of +-1e4 in float32, right and wrong, give finite values and gradients."""
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    other = logits.detach().flip(0).requires_grad_()
    values = loss(fake_step(logits, [0, 0, 0], other))
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("spec", [SPEC, T_SPEC])
@pytest.mark.parametrize(
    "option",
    ["percent=101", "percent=-1", "lam=-0.1", "rounding=even", "margin=x", "normalise=sum", "m=40"],
)
def test_bad_options(spec, option):
    """An option out of range, misspelt or unknown is one line that names it."""
    with pytest.raises(UserError, match=option.partition("=")[0]) as error:
        LOSSES.build(f"{spec}:{option}")
    assert "\n" not in str(error.value)


def test_only_tsovr_has_a_divergence():
    """The options beta and terms belong to TSOVR, with their own limits."""
    for option in ("beta=6", "terms=clean"):
        with pytest.raises(UserError, match="unknown option"):
            LOSSES.build(f"{SPEC}:{option}")
        LOSSES.build(f"{T_SPEC}:{option}")
    for option in ("beta=-1", "terms=x"):
        with pytest.raises(UserError, match=option.partition("=")[0]):
            LOSSES.build(f"{T_SPEC}:{option}")


@pytest.mark.parametrize(
    "options", ["", ":margin=clean", ":normalise=set", ":percent=0", ":percent=100"]
)
@pytest.mark.parametrize("spec", [SPEC, T_SPEC])
def test_the_contract(spec, options):
    """They keep what every loss must keep, on two classes also."""
    check_loss(spec + options)
    check_loss(spec + options, classes=2)


@pytest.mark.parametrize("spec", [SPEC, T_SPEC])
def test_it_trains(cli, tmp_path, spec):
    """A small network learns the digits, by its own inner attack, and becomes robust to some
    degree.
    """
    done = cli(
        f"train --data digits --model mlp:width=32,depth=1 --loss {spec}"
        " --epochs 5 -n 400 --lr 0.02 --name m --out",
        tmp_path,
    )
    assert done.code == 0, done.err
    row = pd.read_parquet(tmp_path / "models/m/epochs.parquet").iloc[-1]
    assert row["clean_accuracy"] > 0.7
    assert row["robust_accuracy"] > 0.25


@pytest.mark.parametrize(
    ("spec", "inner"), [(SPEC, "none"), (T_SPEC, "none"), (T_SPEC, "pgd:steps=2,init=clean")]
)
def test_an_inner_attack_that_cannot_work_is_refused(cli, tmp_path, spec, inner):
    """Both need an inner attack, and TSOVR's divergence has no gradient at the clean input: said
    before anything is written.
    """
    done = cli(f"train --data digits --loss {spec} --inner {inner} --out", tmp_path / "S")
    assert done.code == 2
    assert "inner" in done.err
    assert not (tmp_path / "S").exists()
