"""Stronger attacks find what the attack in question does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from robbench.checks import (
    stronger_attacks,
)

WEAK = "pgd:steps=2,rate=0.05"


BAD = {  # check -> (function, what comes before the classifier, its scale)
    "random-noise": (stronger_attacks.noise, Tensor.detach, 1),
    "black-box": (stronger_attacks.black_box, Tensor.detach, 1),
    "labels-only": (stronger_attacks.labels_only, Tensor.detach, 1),
    "transfer": (stronger_attacks.transfer, Tensor.detach, 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_check_tells_a_spoilt_model_from_a_good_one(name: str, told_apart: Callable) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    good, bad = told_apart(*BAD[name])
    assert len(bad.evidence) > len(good.evidence)


@pytest.mark.parametrize("check", [stronger_attacks.loss_gap, stronger_attacks.logit_scale])
def test_cross_entropy_that_climbs_towards_a_crowd_is_noticed(
    check: Callable, crowded: tuple, evidence: Callable
) -> None:
    """Of 30 in reach most withstand cross-entropy, and fall to other scales and the margin; at 10x
    nothing is wrong.
    """
    model, split = crowded
    bad, good = check(evidence(model(1), split)), check(evidence(model(10), split))
    assert (bad.failed, good.failed, good.figure) == (True, False, 0.0)
    assert ": " in bad.text
    assert ": " not in good.text  # advice is for failures
    assert 0.4 < bad.figure == len(bad.evidence) / 60 <= 0.5


CHALLENGERS = {
    "single-step": stronger_attacks.single_step,
    "random-noise": stronger_attacks.noise,
    "step-size": stronger_attacks.step_size,
    "steps-doubled": stronger_attacks.steps_doubled,
    "restarts": stronger_attacks.restarts,
    "black-box": stronger_attacks.black_box,
    "labels-only": stronger_attacks.labels_only,
    "transfer": stronger_attacks.transfer,
}


@pytest.mark.parametrize("name", CHALLENGERS)
def test_a_challenger_finds_what_a_weak_attack_leaves(
    name: str, linear: type[nn.Module], evidence: Callable
) -> None:
    """On a good model: what the challenger breaks is named, and in reach in closed form."""
    weak = {
        "random-noise": "noise:steps=1",
        "labels-only": "noise:steps=1",
        "steps-doubled": "pgd:steps=4,rate=0.15",
    }.get(name, WEAK)
    e = evidence(linear(), attack=weak, source=linear())
    reading = CHALLENGERS[name](e)
    assert reading.failed is True, reading
    reach = 0.05 * linear().w.abs().sum()
    within = linear().score(e.answers.x).abs() <= reach * 1.0001
    assert set(reading.evidence) <= set(e.ids(within & e.standing))
    assert len(reading.evidence) == round(reading.figure * 60)


def test_twice_the_steps_are_of_the_attack_in_question(
    linear: type[nn.Module], evidence: Callable
) -> None:
    """A weak attack keeps its settings with doubled steps; one without gradients is skipped."""
    assert (
        f"{WEAK.replace('steps=2', 'steps=4')}"
        in stronger_attacks.steps_doubled(evidence(linear(), attack=WEAK)).text
    )
    assert (
        "pgd)" in stronger_attacks.steps_doubled(evidence(linear(), attack="noise:steps=1")).text
    )  # 40 steps are pgd's default
