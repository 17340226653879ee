"""AALP: what guided dropout keeps, the weights of the pairing, and that ALP is left when both are
off.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.losses.aalp import AALP
from robbench.losses.alp import ALP
from robbench.models.base import Classifier, Output
from robbench.models.contributions import contributions, kept
from robbench.testing import check_loss, toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.step import TrainStep
from tests.dropped_features import curved_head, slow_kept

SPEC = "robbench.losses.aalp:AALP"
ABLATIONS = [
    {"guided_dropout": dropout, "adaptive_weights": weights}
    for dropout, weights in itertools.product([False, True], repeat=2)
]
OFF = ABLATIONS[0]


def hard(**options):
    """AALP that drops every feature outside of rho, and leaves the others as they are."""
    return AALP(**{"drop": 1.0, "rescale": False, **options})


class HeadStep:
    """Features at x and at the adversary are given, logits are the head's.

    What is logged is remembered.
    """

    epoch = 0

    def __init__(self, head, clean, adversarial, labels, *, progress=0.5, key=None):
        self.head, self.progress = head, progress
        self.x, self.point = torch.zeros(len(labels), 1), torch.ones(len(labels), 1)
        self.y = torch.tensor(labels)
        self.key = torch.arange(len(labels)) if key is None else key
        self.outputs = {
            id(self.x): Output(head(clean), clean),
            id(self.point): Output(head(adversarial), adversarial),
        }
        self.logged = {}

    @property
    def clean(self):
        return self.at(self.x)

    def at(self, x):
        return self.outputs[id(x)]

    def adversary(self, objective=None, eps=None, head=None):
        return type("Found", (), {"x": self.point})

    def once(self, name, make):
        return make()

    def log(self, **values):
        self.logged |= values


def linear_step(seed=0, *, size=6, features=5, classes=4, **more):
    """A step with a linear head and random features that are not all positive, in double
    precision.
    """
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, size, features, generator=generator, dtype=torch.float64)
    torch.manual_seed(seed)
    head = nn.Linear(features, classes).double()
    labels = torch.randint(classes, (size,), generator=generator).tolist()
    return HeadStep(
        head,
        clean.requires_grad_(),
        (clean.detach() + 0.3 * noise).requires_grad_(),
        labels,
        **more,
    )


# -- guided dropout


def slow_contributions(head, h, c):
    h = h.detach().clone().requires_grad_()
    head(h)[c].backward()
    head.zero_grad()
    return (h * h.grad).tolist()


@pytest.mark.parametrize("head", ["linear", "curved"])
@pytest.mark.parametrize("mask_from", ["clean", "adversarial", "each"])
@pytest.mark.parametrize("rescale", [False, True])
def test_the_logits_are_those_of_the_kept_features(head, mask_from, rescale):
    """Row by row: contributions, the slow loop's set, the other features at zero, then the head."""
    step = linear_step()
    if head == "curved":
        step = HeadStep(
            curved_head(), step.clean.features, step.at(step.point).features, step.y.tolist()
        )
    loss = hard(rho=0.6, mask_from=mask_from, rescale=rescale)
    found = loss.guided_logits(step)
    features = {"clean": step.clean.features, "adversarial": step.at(step.point).features}
    shares = []
    for n in range(len(step.y)):
        for logits, branch in zip(found, features, strict=True):
            source = features[branch if mask_from == "each" else mask_from][n]
            chosen = slow_kept(
                slow_contributions(step.head, source, int(step.head(source).argmax())), 0.6
            )
            scale = 5 / len(chosen) if rescale else 1
            h = torch.tensor(
                [
                    scale * v if i in chosen else 0
                    for i, v in enumerate(features[branch][n].tolist())
                ]
            )
            assert torch.allclose(logits[n], step.head(h.double()), atol=1e-9)
            if branch == ("adversarial" if mask_from == "adversarial" else "clean"):
                shares.append(len(chosen) / 5)
    assert step.logged["features_kept"].tolist() == pytest.approx(shares)
    assert min(shares) < 0.7  # something was dropped


@pytest.mark.parametrize("mask_from", ["clean", "adversarial", "each"])
def test_a_batch_has_one_mask(mask_from):
    """That of the mean contributions, over samples and the branches that count; in both."""
    step = linear_step()
    features = {"clean": step.clean.features, "adversarial": step.at(step.point).features}
    means = [
        np.mean(
            [slow_contributions(step.head, h, int(step.head(h).argmax())) for h in features[name]],
            axis=0,
        )
        for name in (features if mask_from == "each" else [mask_from])
    ]
    chosen = slow_kept(np.mean(means, axis=0).tolist(), 0.6)
    assert 0 < len(chosen) < 5
    mask = torch.tensor([float(i in chosen) for i in range(5)], dtype=torch.float64)
    loss = hard(rho=0.6, mask_from=mask_from, granularity="batch")
    for logits, h in zip(loss.guided_logits(step), features.values(), strict=True):
        assert torch.allclose(logits, step.head(mask * h))
    soft = dataclasses.replace(loss, drop=0.5)
    step = linear_step(size=40, features=60)
    masks = soft.masks(step, step.clean.features, step.at(step.point).features)
    assert len(masks(step.clean.features).unique(dim=0)) == 1


@pytest.mark.parametrize("mask_from", ["clean", "adversarial", "each"])
def test_the_mask_is_a_constant_to_the_gradient(mask_from):
    """Gradients into features and head are those of the formula with the masks written in as
    numbers.
    """
    step = linear_step()
    features = step.clean.features, step.at(step.point).features
    wanted = [*features, *step.head.parameters()]
    loss = hard(rho=0.6, mask_from=mask_from, adaptive_weights=False)
    found = torch.autograd.grad(loss(step).mean(), wanted)
    sources = {"clean": features[:1] * 2, "adversarial": features[1:] * 2, "each": features}[
        mask_from
    ]
    masks = [
        kept(h.detach() * step.head.weight.detach()[step.head(h).argmax(1)], 0.6).double()
        for h in sources
    ]
    clean, adversarial = (step.head(mask * h) for mask, h in zip(masks, features, strict=True))
    by_hand = ALP().classification(clean, adversarial, step.y) + 0.5 * (
        clean - adversarial
    ).square().mean(1)
    for one, other in zip(found, torch.autograd.grad(by_hand.mean(), wanted), strict=True):
        assert torch.allclose(one, other, atol=1e-12)
        assert one.abs().max() > 1e-3


def test_start_and_ramp():
    """Before `start` it is ALP; then rho falls from 1 over `ramp` of the training, and stays."""
    loss = hard(rho=0.5, start=0.2, ramp=0.4, adaptive_weights=False)
    for progress, rho in [
        (0.2, 1.0),
        (0.3, 0.875),
        (0.4, 0.75),
        (0.6, 0.5),
        (0.9, 0.5),
        (1.0, 0.5),
    ]:
        steady = hard(rho=rho, adaptive_weights=False)
        assert torch.allclose(loss(linear_step(progress=progress)), steady(linear_step())), progress
    early = linear_step(progress=0.19)
    assert torch.equal(loss(early), ALP()(early))
    assert "features_kept" not in early.logged
    assert not torch.allclose(
        loss(linear_step(progress=0.2)), ALP()(early)
    )  # rho = 1 drops what is not positive


def mask_of(loss, step):
    return loss.masks(step, step.clean.features, None)(step.clean.features).bool()


@pytest.mark.parametrize("drop", [0.0, 0.3, 1.0])
def test_soft_dropout_drops_a_share_of_the_others(drop):
    """Kept features stay, of the others `drop` are dropped: a function of the sample's key."""
    step = linear_step(size=4000)
    loss = hard(rho=0.6, drop=drop)
    mask, safe = mask_of(loss, step), mask_of(hard(rho=0.6), step)
    assert mask[safe].all()
    assert (~mask[~safe]).float().mean().item() == pytest.approx(drop, abs=0.02)
    assert torch.equal(mask_of(loss, step), mask)
    other = mask_of(loss, linear_step(size=4000, key=step.key + 1))
    assert torch.equal(other, mask) == (drop in (0.0, 1.0))


@pytest.mark.parametrize("drop", [0.4, 1.0])
@pytest.mark.parametrize("progress", [0.25, 1.0])
def test_the_rate_rises_with_the_rank(drop, progress):
    """The i-th of 5 by falling contribution is dropped with probability drop i/4; a ramp scales."""
    step = linear_step(size=6000, progress=progress)
    mask = mask_of(AALP(rate="rank", drop=drop, ramp=0.5), step)
    order = [
        sorted(range(5), key=lambda i, row=row: -row[i])
        for row in contributions(step.head, step.clean.features, None).tolist()
    ]
    dropped = torch.gather(~mask, 1, torch.tensor(order)).float().mean(0)
    expected = [min(1, progress / 0.5) * drop * i / 4 for i in range(5)]
    assert dropped.tolist() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("ramp", "progress", "rho"), [(0.0, 0.5, 0.6), (0.8, 0.2, 0.15), (0.8, 0.9, 0.6)]
)
def test_the_control_drops_the_features_that_are_kept_otherwise(ramp, progress, rho):
    """A ramp lets the share that is dropped grow from nothing; what is not positive stays."""
    step = linear_step(size=50, progress=progress)
    mask = mask_of(hard(rho=0.6, drops="high", ramp=ramp), step)
    for n, row in enumerate(contributions(step.head, step.clean.features, None).tolist()):
        high = {i for i in slow_kept(row, rho) if row[i] > 0}
        assert mask[n].tolist() == [i not in high for i in range(5)]
    assert (~mask).any()


def test_the_control_of_the_rate_by_rank_drops_the_highest_most():
    """The i-th of 5 by rising contribution is dropped with probability i/4."""
    step = linear_step(size=6000)
    mask = mask_of(AALP(rate="rank", drop=1.0, drops="high"), step)
    order = contributions(step.head, step.clean.features, None).argsort(1)
    dropped = torch.gather(~mask, 1, order).float().mean(0)
    assert dropped.tolist() == pytest.approx([i / 4 for i in range(5)], abs=0.03)


# -- no mask may bring the class with it


def unrelated(features=256, classes=10, size=400, seed=0):
    """A ReLU network's features of samples, and of others that have nothing to do with them."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(features, classes, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.randn(classes, features, generator=generator) / features**0.5)
    h, g = torch.randn(2, size, features, generator=generator).relu()
    with torch.no_grad():
        labels = head(h).argmax(1).tolist()
    return HeadStep(head, h, g, labels)


RULES = [
    {"mask_from": source, "granularity": granularity, "rate": rate, "drop": drop}
    for source, granularity, rate, drop in itertools.product(
        ["each", "clean"], ["sample", "batch"], ["flat", "rank"], [0.5, 1.0]
    )
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_only_another_inputs_mask_gives_the_class_away(rule):
    """Of features that know nothing of x, the mask for x makes x's class: a leak, else at chance.

    The default is none of those that leak; the logged figures say which is which.
    """
    step = unrelated()
    loss = AALP(**rule)
    _, masked = loss.guided_logits(step)
    told = float((masked.argmax(1) == step.y).float().mean())
    chance = float((step.at(step.point).logits.argmax(1) == step.y).float().mean())
    leaks = rule["mask_from"] == "clean" and rule["granularity"] == "sample"
    if leaks:
        assert told > chance + 0.15
    else:
        assert told < chance + 0.08
    difference = float((step.logged["leak"] - step.logged["leak_unmasked"]).mean())
    assert difference > 0.15 if leaks else difference < 0.08
    assert AALP().mask_from == "each"


@pytest.mark.parametrize("rate", ["flat", "rank"])
@pytest.mark.parametrize("mask_from", ["each", "adversarial"])
def test_the_mask_of_the_adversary_tells_the_clean_branch_its_class(mask_from, rate):
    """The same leak the other way: the clean branch sees the class that x' was taken for."""
    step = unrelated()
    masked, _ = AALP(mask_from=mask_from, rate=rate).guided_logits(step)
    other = step.at(step.point).logits.argmax(1)
    told, chance = (
        float((z.argmax(1) == other).float().mean()) for z in (masked, step.clean.logits)
    )
    if mask_from == "adversarial":
        assert told > chance + 0.15
    else:
        assert told < chance + 0.08


def test_each_branch_keeps_its_own_prediction():
    """Without the features that speak against it, a class stays the largest: for a linear head."""
    step = linear_step(size=500)
    with torch.no_grad():
        step.head.bias.zero_()
    found = hard(rho=1.0).guided_logits(step)
    for logits, h in zip(found, (step.clean.features, step.at(step.point).features), strict=True):
        own = step.head(h).argmax(1)
        mine = logits.gather(1, own[:, None])[:, 0]
        assert (mine >= step.head(h).max(1).values - 1e-12).all()


def test_both_cross_entropies_are_logged():
    """At the adversarial points: of the masked head and of the whole."""
    step = linear_step()
    loss = AALP(rho=0.6)
    _, masked = loss.guided_logits(step)
    for name, logits in (("ce_masked", masked), ("ce_unmasked", step.at(step.point).logits)):
        expected = nn.functional.cross_entropy(logits, step.y, reduction="none")
        assert torch.equal(step.logged[name], expected)


def test_a_masked_attack_climbs_the_masked_head():
    """One step of an attack along the gradient of the masked loss, written by hand."""
    torch.manual_seed(3)
    split, model = toy_split(8), network(lambda: nn.Linear(16, 4))
    step = real_step(model, split, attack="fgsm")
    found = hard(rho=0.5, attack_masked=True)._masked_adversary(step)
    x = split.pixels(slice(None)).requires_grad_()
    h = model.features(x)
    rows = zip(contributions(model.head, h, None).tolist(), h, strict=True)
    masked = torch.stack(
        [h_n * torch.tensor([float(i in slow_kept(c, 0.5)) for i in range(16)]) for c, h_n in rows]
    )
    loss = nn.functional.cross_entropy(model.head(masked), split.labels, reduction="sum")
    (slope,) = torch.autograd.grad(loss, x)
    expected = (x + 0.05 * slope.sign()).clamp(0, 1).detach()
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, step.adversary().x, atol=1e-3)


# -- adaptive weights


@pytest.mark.parametrize("confidence", ["clean", "adversarial", "min"])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("balance", ["pairing", "both", "convex"])
def test_adaptive_weights_are_the_slow_loop(confidence, exponent, normalise, balance):
    """CE and pairing of each sample with w = p_y^exponent, by loops."""
    step = linear_step()
    loss = AALP(
        lam=0.7,
        guided_dropout=False,
        confidence=confidence,
        exponent=exponent,
        normalise=normalise,
        balance=balance,
    )
    clean, adversarial = step.clean.logits.tolist(), step.at(step.point).logits.tolist()
    entropies, weights, distances = [], [], []
    for z, a, y in zip(clean, adversarial, step.y.tolist(), strict=True):
        p, q = (math.exp(v[y]) / sum(math.exp(u) for u in v) for v in (z, a))
        weights.append({"clean": p, "adversarial": q, "min": min(p, q)}[confidence] ** exponent)
        entropies.append(-(math.log(p) + math.log(q)) / 2)
        distances.append(sum((u - v) ** 2 for u, v in zip(z, a, strict=True)) / 4)
    factors = [{"pairing": 1, "both": 2 - w, "convex": 1 - w}[balance] for w in weights]
    if normalise:
        weights = [w / np.mean(weights) for w in weights]
    expected = [
        f * e + 0.7 * w * d
        for f, e, w, d in zip(factors, entropies, weights, distances, strict=True)
    ]
    assert loss(step).tolist() == pytest.approx(expected, rel=1e-9)
    assert step.logged["pairing_weight"].tolist() == pytest.approx(weights, rel=1e-9)


@pytest.mark.parametrize("y", [0, 2])
def test_the_vectors(z, a, y):
    """CE/2 + CE'/2 + 0.5 p_y 0.9375 with p_y = exp(-CE) of the vectors: an identity for head."""
    step = HeadStep(nn.Identity(), z, a, [y])
    clean, adversarial = {0: (0.342350, 1.287339), 2: (1.842350, 0.787339)}[y]
    expected = (clean + adversarial) / 2 + 0.5 * math.exp(-clean) * 0.9375
    assert AALP(guided_dropout=False)(step).tolist() == pytest.approx([expected], abs=2e-6)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_weight_is_a_constant_to_the_gradient(normalise):
    """Gradients are those of the formula with the weights written in as numbers."""
    step = linear_step()
    wanted = [step.clean.features, step.at(step.point).features]
    loss = AALP(guided_dropout=False, normalise=normalise, balance="both")
    found = torch.autograd.grad(loss(step).mean(), wanted, retain_graph=True)
    clean, adversarial = step.clean.logits, step.at(step.point).logits
    p = clean.detach().softmax(1).gather(1, step.y[:, None])[:, 0]
    w = p / p.mean() if normalise else p
    values = (2 - p) * ALP().classification(clean, adversarial, step.y) + 0.5 * w * ALP().pairing(
        clean, adversarial
    )
    for one, other in zip(found, torch.autograd.grad(values.mean(), wanted), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("weight", ["correct", "no-conflict"])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_gate_pairs_some_samples_only(weight, normalise):
    """Those that are classified right, or whose pairing does not oppose the cross-entropy."""
    step = linear_step(size=50)
    loss = AALP(guided_dropout=False, clean=0.0, weight=weight, normalise=normalise)
    values = loss(step)
    clean, adversarial = step.clean.logits, step.at(step.point).logits
    right, conflict = clean.argmax(1) == step.y, step.logged["conflict"] > 0
    open_ = right if weight == "correct" else ~conflict
    assert 0 < int(open_.sum()) < 50
    w = open_.double() / (open_.double().mean() if normalise else 1)
    expected = loss.classification(clean, adversarial, step.y) + 0.5 * w * loss.pairing(
        clean, adversarial
    )
    assert torch.allclose(values, expected)


def test_a_gate_that_is_shut_for_all_pairs_nothing():
    """Also where the weights are divided by their mean, zero."""
    z = torch.tensor([[1.0, 0.0], [2.0, 0.0]], requires_grad=True)
    step = HeadStep(nn.Identity(), z, z.detach() - 1, [1, 1])  # wrong
    values = AALP(guided_dropout=False, weight="correct", normalise=True, clean=1.0)(step)
    expected = nn.functional.cross_entropy(z, step.y, reduction="none")
    assert torch.allclose(values, expected)


def test_badly_classified_samples_are_paired_less(z, a):
    """The weight of a label of small probability is the smaller one."""
    step = HeadStep(nn.Identity(), z.expand(2, 4), a.expand(2, 4), [0, 1])  # p = 0.71 and 0.035
    AALP(guided_dropout=False)(step)
    right, wrong = step.logged["pairing_weight"].tolist()
    assert wrong < 0.1 * right


def test_what_couples_the_batch():
    """It says so, option by option."""
    assert AALP(normalise=True).batch_coupled
    assert not AALP().batch_coupled
    assert AALP(granularity="batch").batch_coupled


@pytest.mark.parametrize(
    "options",
    [
        *ABLATIONS,
        {"normalise": True, "balance": "both"},
        {"mask_from": "clean"},
        {"weight": "no-conflict"},
    ],
)
@pytest.mark.parametrize("labels", [[0, 1], [2, 2], [1, 0]])  # right, and hopelessly wrong
def test_confident_models_give_finite_numbers(options, labels):
    """Logits of 1e4 in float32, where a probability is exactly 0 or 1, have finite values and
    gradients.
    """
    h = torch.tensor([[1e4, 0, -1e4], [0, 1e4, -1e4]], requires_grad=True)
    step = HeadStep(nn.Identity(), h, h * 0.5, labels)
    values = AALP(**options)(step)
    values.mean().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(h.grad).all()


# -- the whole


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lam": 2.0, "clean": 0.0},
        {"space": "probs", "reduction": "sum"},
        {"clean": 1.0, "lam": 0.0},
    ],
)
def test_without_both_modules_it_is_exactly_alp(options):
    """Bit for bit; and the four ablations are four losses."""
    step = linear_step()
    off = AALP(**OFF, **options)
    assert torch.equal(off(step), ALP(**options)(step))
    assert step.logged.keys() == {"conflict"}
    values = [AALP(**ablation, **options)(step) for ablation in ABLATIONS]
    for (one, first), (other, second) in itertools.combinations(
        zip(values, ABLATIONS, strict=True), 2
    ):
        same_weights = (
            options.get("lam") == 0 and first["guided_dropout"] == second["guided_dropout"]
        )
        assert (
            torch.allclose(one, other) == same_weights
        )  # without pairing there is nothing to weigh


def test_weights_are_of_the_logits_in_the_loss():
    """With both modules the weight is the label's probability from the kept features."""
    step = linear_step()
    both, dropout = (AALP(rho=0.6, adaptive_weights=on) for on in (True, False))
    clean, adversarial = dropout.guided_logits(step)
    p = clean.softmax(1).gather(1, step.y[:, None])[:, 0]
    expected = dropout.classification(clean, adversarial, step.y) + 0.5 * p * dropout.pairing(
        clean, adversarial
    )
    assert torch.allclose(both(step), expected)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "guided_dropout=false",
        "adaptive_weights=false",
        "guided_dropout=false,adaptive_weights=false",
        "drop=0.5,rescale=true",
        "mask_from=clean",
        "rate=rank,drop=0.7",
        "drops=high",
        "granularity=batch,drop=0.5",
        "attack_masked=true",
        "weight=correct",
        "weight=no-conflict,clean=0,normalise=true",
        "normalise=true",
        "confidence=min,exponent=2,balance=convex",
        "start=0.8",
        "start=0.2,ramp=0.6",
    ],
)
def test_it_keeps_the_contract(options):
    """Per sample where it says so, repeatable, with a gradient, for four and two classes."""
    spec = f"{SPEC}:{options}" if options else SPEC
    check_loss(spec, 4)
    check_loss(spec, 2)


def network(head):
    """A small network under a head, on 6x6 images of 4 classes."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU())
    return Classifier(nn.Identity(), body, head(), features=16, classes=4)


def real_step(model, split, t=0, steps=1, attack="pgd:steps=2"):
    inner = Inner(ATTACKS.build(attack), parse_threat("linf:0.05")[0])
    index = torch.arange(len(split))
    return TrainStep(
        model,
        split.pixels(index),
        split.labels,
        index,
        key=split.ids + t,
        inner=inner,
        epoch=t,
        progress=t / steps,
    )


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "options", ["", "drop=0.5,start=0.2,ramp=0.3", "rho=0.7,attack_masked=true"]
)
@pytest.mark.parametrize(
    "head",
    [
        lambda: nn.Linear(16, 4),
        lambda: nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)),
    ],
    ids=["linear", "curved"],
)
def test_it_trains(options, head):
    """A small network learns the toy data; at the end all of its features are in use again."""
    model, split = network(head), toy_split(32)
    train(LOSSES.build(f"{SPEC}:{options}" if options else SPEC), model, split)
    with torch.no_grad():
        x = split.pixels(slice(None))
        assert (
            float((model(x).argmax(1) == split.labels).float().mean()) > 0.5
        )  # chance is about 0.25
        assert torch.equal(model(x), model.head(model.features(x)))


def train(loss, model, split, steps=60):
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for t in range(steps):
        optimizer.zero_grad()
        loss(real_step(model, split, t, steps)).mean().backward()
        optimizer.step()


def test_it_costs_no_pass_more_than_alp():
    """Guided dropout repeats the head, not the network: as many rows go through it as in ALP."""
    model, split = network(lambda: nn.Linear(16, 4)), toy_split(8)
    steps = [real_step(model, split) for _ in range(2)]
    AALP()(steps[0])
    ALP()(steps[1])
    assert (steps[0].n_forward, steps[0].n_backward) == (steps[1].n_forward, steps[1].n_backward)


def test_a_schedule_that_ends_after_training_is_refused():
    """A start and ramp beyond 1 together would never reach rho: one line says so."""
    info = DataInfo((1, 6, 6), ("a", "b"), (0.5,), (0.2,))
    with pytest.raises(UserError, match=r"start=0\.7 and ramp=0\.5") as error:
        AALP(start=0.7, ramp=0.5).check(info)
    assert "\n" not in str(error.value)
    AALP(start=0.5, ramp=0.5).check(info)


@pytest.mark.parametrize(
    "bad",
    [
        "rho=0",
        "rho=1.1",
        "drop=2",
        "start=1",
        "ramp=-1",
        "exponent=-1",
        "rate=steep",
        "granularity=pixel",
        "weight=1",
        "balance=none",
        "mask_from=both",
        "confidence=max",
        "guided_dropout=perhaps",
        "rhoo=1",
        "lam=-1",
    ],
)
def test_bad_options_are_one_clear_line(bad):
    """An option out of range, of the wrong type or unknown is a UserError that names it."""
    with pytest.raises(UserError) as error:
        LOSSES.build(f"{SPEC}:{bad}")
    assert bad.partition("=")[0] in str(error.value)
    assert "\n" not in str(error.value)
