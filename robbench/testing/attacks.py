"""The contract of attacks."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import torch
from torch import nn

from robbench.attacks.base import AnyAttack, Attack, AttackEntry, what_is_missing
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import RobbenchError, text_of
from robbench.core.freeze import frozen
from robbench.core.objects import spec_of
from robbench.core.tiles import RowEquality
from robbench.data.base import Split
from robbench.engine.counter import Counter
from robbench.engine.evaluate import evaluate
from robbench.engine.records import Verdict
from robbench.engine.shapes import equality_of
from robbench.testing.rules import Require, check_spec, rules_of
from robbench.testing.steps import SHAPES, check_steps
from robbench.testing.toys import SHAPE, BadGradients, toy_model, toy_split
from robbench.threat.model import ThreatModel, parse_threat

EPS = {"linf": 0.05, "l2": 0.4, "l1": 1.0, "l0": 4, "l0px": 4}


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
    entry = AttackEntry(spec, attack or ATTACKS.build(spec))
    # An attack of ours has to leave random states and buffers alone by itself: not thorough.
    return evaluate(model, split, threat, [entry], seed=seed, width=width, thorough=False).verdicts


def check_attack(given: str | AnyAttack | type[AnyAttack]) -> None:
    """Check that an attack keeps the contract, in each of its norms.

    given: a spec, an attack, or a class of them. Raises AssertionError naming the broken rule;
    UserError for a bad spec, and for an object that none describes.
    """
    spec = spec_of(ATTACKS, given)
    attack = ATTACKS.build(spec)
    check_spec(spec, ATTACKS, "attack")
    missing = what_is_missing(attack)
    rules_of(spec)(missing is None, str(missing))
    for norm in sorted(attack.norms):
        try:
            _check_in(spec, parse_threat(f"{norm}:{EPS[norm]}")[0])
        except (AssertionError, RobbenchError):
            raise
        except Exception as error:
            hint = f" ({SHAPES})" if "must match the size of tensor" in str(error) else ""
            raise AssertionError(
                f"{spec} in {norm}: it raised {type(error).__name__}: {text_of(error)}{hint}"
            ) from error


def _check_in(spec: str, threat: ThreatModel) -> None:
    require = rules_of(f"{spec} in {threat.norm_name}")
    attack, model, split = ATTACKS.build(spec), toy_model(), toy_split()
    if isinstance(attack, Attack):
        check_steps(attack, toy_model(), split, threat, require)
    verdicts = _check_side_effects(spec, model, split, threat, require)

    wrong = [v for v in verdicts if v.clean_pred != int(split.labels[v.sample])]
    draws = attack.draws if isinstance(attack, Attack) else 1
    free = all(v.n_forward == draws and v.n_backward == 0 for v in wrong)
    require(free, "a misclassified sample must cost no step")
    if isinstance(attack, Attack):
        _check_equal_rows(spec, model, split, threat, verdicts, require)
        _check_counts(spec, model, split, threat, require)

    none = judge(spec, model, split, parse_threat(f"{threat.norm_name}:0")[0])
    broken = [v for v in none if v.adversarial and v.clean_pred == int(split.labels[v.sample])]
    require(not broken, "eps = 0 must not break a correctly classified sample")
    for n in (0, 1):
        few = judge(spec, model, split.take(torch.arange(n)), threat)
        require(len(few) == n, f"{n} samples must give {n} verdicts")
    if isinstance(attack, Attack):
        _check_unusual(spec, model, split, threat, require)


def _check_side_effects(
    spec: str, model: nn.Module, split: Split, threat: ThreatModel, require: Require
) -> list[Verdict]:
    """Every sample gets a confirmed verdict; model and random state stay as they are."""
    before, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    verdicts = judge(spec, model, split, threat)
    require(len(verdicts) == len(split), "every sample must get a verdict")
    require(
        all(v.status == 0 for v in verdicts),
        "points must be finite and survive the re-check inside box and budget",
    )
    after = model.state_dict()
    same = all(torch.equal(before[name], after[name]) for name in before)
    same &= all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    require(same, "it must not touch the model")
    training = any(module.training for module in model.modules())
    require(not training, "it must not change the model's mode")
    same = torch.equal(random_state, torch.get_rng_state())
    require(same, "it must not touch the global random state")
    return verdicts


def _check_equal_rows(
    spec: str,
    model: nn.Module,
    split: Split,
    threat: ThreatModel,
    verdicts: list[Verdict],
    require: Require,
) -> None:
    """Verdicts do not depend on the rows in flight or on the samples' order."""
    if not _equality(model, split).equal:
        return
    for width in (1, 3, 17):
        same = judge(spec, model, split, threat, width=width) == verdicts
        require(same, f"width {width} must give the same verdicts")
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))
    moved = judge(spec, model, split.take(order), threat)
    back = sorted(v._replace(sample=int(order[v.sample])) for v in moved)
    require(back == verdicts, "another order of the samples must give the same verdicts")


def _check_counts(
    spec: str, model: nn.Module, split: Split, threat: ThreatModel, require: Require
) -> None:
    """Verdicts count the forwards and backwards that the model makes."""
    counter, step = Counter(model), _equality(model, split).step
    for eps in (threat.eps / 4, threat.eps):
        limit = parse_threat(f"{threat.norm_name}:{eps}")[0]
        counter.n_forward = counter.n_backward = 0
        (verdict,) = judge(spec, counter, split.take(torch.arange(1)), limit)
        # Every pass of a single sample is padded to the smallest tile.
        queries = verdict.n_forward * step
        text = f"{counter.n_forward} rows were queried, the verdict says {queries}"
        require(counter.n_forward == queries, text)
        same = counter.n_backward == verdict.n_backward * step
        require(same, "backwards must be counted as they happen")


def _check_unusual(
    spec: str, model: nn.Module, split: Split, threat: ThreatModel, require: Require
) -> None:
    """Few classes, other shapes of images, fixed entries, gradients that are zero or NaN."""
    attack = ATTACKS.build(spec)
    assert isinstance(attack, Attack)
    free = torch.arange(math.prod(SHAPE)).reshape(SHAPE) % 3 > 0
    check_steps(attack, toy_model(), dataclasses.replace(split, free=free), threat, require)
    for classes, shape in ((2, SHAPE), (3, SHAPE), (4, (2, 5, 7)), (4, (30,))):
        found = judge(spec, toy_model(classes, shape), toy_split(12, classes, shape), threat)
        text = f"{classes} classes and images of shape {shape} must work"
        require(all(v.status == 0 for v in found), text)
    for factor in (torch.zeros(()), torch.tensor(float("nan"))):
        found = judge(spec, BadGradients(model, factor), split, threat)
        require(len(found) == len(split), f"gradients of {factor.item()} must be survived")


def _equality(model: nn.Module, split: Split) -> RowEquality:
    with frozen(model, thorough=False):
        return equality_of([model], split.pixels(slice(None)))
