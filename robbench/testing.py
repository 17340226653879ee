"""The conformance suite: what every attack and loss must keep, ours and plug-ins' alike.

    from robbench.testing import check_attack, check_loss
    check_attack("my-attack:steps=20")
    check_loss("my_module:MyLoss")

Each raises AssertionError with the rule that was broken. They take seconds, on a small model and
random data.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import torch
from torch import Tensor, nn

from robbench.attacks.base import Attack
from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.errors import RobbenchError
from robbench.core.freeze import frozen
from robbench.data.base import DataInfo, Split, sample_ids
from robbench.engine.cascade import Entry
from robbench.engine.counter import Counter
from robbench.engine.evaluate import evaluate
from robbench.engine.records import Verdict
from robbench.engine.shapes import equality_of
from robbench.losses.base import Loss
from robbench.models.base import Classifier
from robbench.threat.model import ThreatModel, parse_threat
from robbench.threat.norms import NORMS
from robbench.training.inner import Inner
from robbench.training.step import TrainStep

SHAPE = (1, 6, 6)
EPS = {"linf": 0.05, "l2": 0.4, "l1": 1.0, "l0": 4}


def toy_split(
    n: int = 40, classes: int = 4, shape: tuple[int, ...] = SHAPE, seed: int = 0
) -> Split:
    """Random images with labels that a linear model can mostly learn: their brightest block."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)
    blocks = images.flatten(1).float().tensor_split(classes, dim=1)
    labels = torch.stack([block.mean(1) for block in blocks], 1).argmax(1)
    ids = torch.from_numpy(sample_ids(images.numpy(), labels.numpy()))
    return Split(images, labels, ids, tuple(f"c{k}" for k in range(classes)), "toy", "test")


def toy_model(classes: int = 4, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Classifier:
    """A small fixed network that gets most of `toy_split` right, with a batch-norm and a dropout to be left alone."""
    torch.manual_seed(seed)
    width = torch.Size(shape).numel()
    blocks = torch.arange(width).tensor_split(classes)
    first = nn.Linear(width, classes)
    with torch.no_grad():
        first.weight.mul_(0.3)
        for k, block in enumerate(blocks):
            first.weight[k, block] += 12.0 / len(block)
        first.bias.fill_(-5.0)
    head = nn.Linear(classes, classes, bias=False)
    with torch.no_grad():
        head.weight.copy_(3 * torch.eye(classes))
    body = nn.Sequential(
        nn.Flatten(), first, nn.BatchNorm1d(classes), nn.Softplus(), nn.Dropout(0.2)
    )
    return Classifier(nn.Identity(), body, head, features=classes, classes=classes).eval()


def judge(
    spec: str,
    model: nn.Module,
    split: Split,
    threat: ThreatModel,
    *,
    width: int = 16,
    seed: int = 0,
    attack: Any = None,
) -> list[Verdict]:
    """The verdicts of one attack, in the order of the samples."""
    entry = Entry(spec, attack or ATTACKS.build(spec))
    # An attack of ours has to leave random states and buffers alone by itself: not thorough.
    return evaluate(model, split, threat, [entry], seed=seed, width=width, thorough=False).verdicts


def check_attack(spec: str) -> None:
    """Hold an attack to the contract. Raises AssertionError naming the broken rule; UserError for a bad spec."""
    attack = ATTACKS.build(spec)
    _require(
        ATTACKS.build(ATTACKS.canonical(spec)) == attack,
        spec,
        "its canonical spec must build the same attack",
    )
    _require(pickle.loads(pickle.dumps(attack)) == attack, spec, "it must survive pickling")
    _require(
        bool(attack.norms) and attack.norms <= NORMS.keys(),
        spec,
        f"its norms must be some of {sorted(NORMS)}",
    )
    for norm in sorted(attack.norms):
        try:
            _check_attack_in(spec, parse_threat(f"{norm}:{EPS[norm]}")[0])
        except (AssertionError, RobbenchError):
            raise
        except Exception as error:
            raise AssertionError(
                f"{spec} in {norm}: it raised {type(error).__name__}: {error}"
            ) from error


def _check_attack_in(spec: str, threat: ThreatModel) -> None:
    attack, model, split = ATTACKS.build(spec), toy_model(), toy_split()
    rows = isinstance(attack, Attack)
    what = f"{spec} in {threat.norm_name}"
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    verdicts = judge(spec, model, split, threat)
    _require(len(verdicts) == len(split), what, "every sample must get a verdict")
    _require(
        all(v.status == 0 for v in verdicts),
        what,
        "points must be finite and survive the re-check inside box and budget",
    )
    after = model.state_dict()
    same = all(torch.equal(before[name], after[name]) for name in before)
    _require(
        same and all(w.grad is None and w.requires_grad for w in model.parameters()),
        what,
        "it must not touch the model",
    )
    _require(
        not any(module.training for module in model.modules()),
        what,
        "it must not change the model's mode",
    )
    _require(
        torch.equal(random_state, torch.get_rng_state()),
        what,
        "it must not touch the global random state",
    )
    clean_wrong = [v for v in verdicts if v.clean_pred != int(split.labels[v.sample])]
    draws = attack.draws if isinstance(attack, Attack) else 1
    _require(
        all(v.forwards == draws and v.backwards == 0 for v in clean_wrong),
        what,
        "a misclassified sample must cost no step",
    )
    if rows:
        _check_rows(spec, what, model, split, threat, verdicts)

    none = judge(spec, model, split, parse_threat(f"{threat.norm_name}:0")[0])
    broken = [v for v in none if v.adversarial and v.clean_pred == int(split.labels[v.sample])]
    _require(not broken, what, "eps = 0 must not break a correctly classified sample")
    for n in (0, 1):
        few = split.take(torch.arange(n))
        _require(
            len(judge(spec, model, few, threat)) == n, what, f"{n} samples must give {n} verdicts"
        )
    for classes, shape in ((2, SHAPE), (3, SHAPE), (4, (2, 5, 7)), (4, (30,))) if rows else ():
        found = judge(spec, toy_model(classes, shape), toy_split(12, classes, shape), threat)
        _require(
            all(v.status == 0 for v in found),
            what,
            f"{classes} classes and images of shape {shape} must work",
        )
    for bad in (torch.zeros(()), torch.tensor(float("nan"))) if rows else ():
        ill = judge(spec, _IllModel(model, bad), split, threat)
        _require(len(ill) == len(split), what, f"gradients of {bad.item()} must be survived")


def _check_rows(
    spec: str,
    what: str,
    model: Classifier,
    split: Split,
    threat: ThreatModel,
    verdicts: list[Verdict],
) -> None:
    with frozen(model, thorough=False):
        equality = equality_of([model], split.pixels(slice(None)))
    for width in (1, 3, 17) if equality.equal else ():
        _require(
            judge(spec, model, split, threat, width=width) == verdicts,
            what,
            f"width {width} must give the same verdicts",
        )
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))
    moved = [
        v._replace(sample=int(order[v.sample]))
        for v in judge(spec, model, split.take(order), threat)
    ]
    _require(
        sorted(moved) == verdicts or not equality.equal,
        what,
        "another order of the samples must give the same verdicts",
    )
    tight = parse_threat(f"{threat.norm_name}:{threat.eps / 4}")[0]
    counter = Counter(model)
    one = split.take(torch.arange(1))
    for limit in (tight, threat):
        counter.forwards = counter.backwards = 0
        (verdict,) = judge(spec, counter, one, limit)
        # The clean pass and the re-check are padded to the smallest tile, and so is the attack on a
        # lone row.
        queries = verdict.forwards * equality.step
        _require(
            counter.forwards == queries,
            what,
            f"{counter.forwards} rows were queried, the books say {queries}",
        )
        _require(
            counter.backwards == verdict.backwards * equality.step,
            what,
            "backwards must be counted as they happen",
        )


class _IllModel(nn.Module):
    """Right logits, gradients multiplied by a constant that is zero or not a number."""

    def __init__(self, model: nn.Module, factor: Tensor) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(lambda grad: grad * self.factor)  # type: ignore[no-untyped-call]
        return logits


def check_loss(spec: str, classes: int = 4) -> None:
    """Hold a loss to the contract, on data of so many classes. Raises AssertionError naming the broken rule."""
    loss = LOSSES.build(spec)
    _require(
        LOSSES.build(LOSSES.canonical(spec)) == loss,
        spec,
        "its canonical spec must build the same loss",
    )
    _require(pickle.loads(pickle.dumps(loss)) == loss, spec, "it must survive pickling")
    split = toy_split(24, classes)
    info = DataInfo(SHAPE, split.classes, (0.5,), (0.25,))
    loss.check(info)
    model = loss.prepare(
        toy_model(classes), info
    ).eval()  # eval: no dropout, so that a second pass can be compared
    inner = Inner(ATTACKS.build(loss.inner or "pgd:steps=3"), parse_threat("linf:0.05")[0])  # type: ignore[arg-type]
    step = _step(model, split, inner)
    values = loss(step)
    _require(
        values.shape == (len(split),),
        spec,
        f"its value must have shape ({len(split)},), not {tuple(values.shape)}",
    )
    _require(bool(torch.isfinite(values).all()), spec, "its values must be finite")
    _require(torch.equal(values, loss(step)), spec, "the same step must give the same values again")
    _require(
        not any(module.training for module in model.modules()),
        spec,
        "it must leave the model's mode as it was",
    )
    values.mean().backward()  # type: ignore[no-untyped-call]
    grads = [weight.grad for weight in model.parameters()]
    _require(
        any(g is not None and bool(g.abs().sum() > 0) for g in grads),
        spec,
        "its gradient must reach the weights",
    )
    if not loss.batch_coupled:
        order = torch.arange(len(split)).flip(0)
        moved = loss(_step(model, split.take(order), inner))
        _require(
            torch.allclose(moved, values[order], atol=1e-6),
            spec,
            "a sample's value must not depend on its place",
        )
        half = loss(_step(model, split.take(torch.arange(8)), inner))
        _require(
            torch.allclose(half, values[:8], atol=1e-6),
            spec,
            "it depends on the batch: set batch_coupled = True",
        )
    _check_fit(loss, model, split)


def _check_fit(loss: Loss, model: Classifier, split: Split) -> None:
    if loss.fits_head:
        with torch.no_grad():
            loss.fit_head(model.head, model.features(split.pixels(slice(None))), split.labels)
        finite = all(
            bool(torch.isfinite(value).all()) for value in model.head.state_dict().values()
        )
        _require(finite, type(loss).__name__, "fit_head must leave finite values")


def _step(model: Classifier, split: Split, inner: Inner) -> TrainStep:
    index = torch.arange(len(split))
    return TrainStep(
        model,
        split.pixels(index),
        split.labels,
        index,
        key=split.ids,
        inner=inner,
        epoch=0,
        progress=0.5,
    )


def _require(holds: bool, what: str, rule: str) -> None:
    if not holds:
        raise AssertionError(f"{what}: {rule}")
