"""Probes find what is within reach, and only that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from robbench.checks.probes import PROBE


def test_an_attack_finds_what_is_within_reach_and_only_that(linear, evidence: Callable) -> None:
    """The mini attack on a linear model against the closed form |score| < eps |w|_1."""
    e = evidence(linear())
    reach = 0.05 * linear().w.abs().sum()
    score = linear().score(e.answers.x).abs()
    found = e.probe(PROBE).found
    assert not bool(found[score > 1.001 * reach].any())
    assert bool(found[score < 0.999 * reach].all())
    assert torch.equal(e.reference | e.standing, e.right)
    assert set(e.probe(PROBE).points) >= set(found.nonzero()[:, 0].tolist())


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.3, 40, 1e3, 1e6])
def test_an_attack_does_not_depend_on_an_extreme_scale(
    scale: float, crowded: tuple, linear, evidence: Callable
) -> None:
    """Exactly those in reach fall to cross-entropy (closed form); unscaled it finds none."""
    model, split = crowded
    within = linear().score(split.images).abs() < 0.05 * linear().w.abs().sum()
    assert torch.equal(evidence(model(scale), split).probe(PROBE).found, within)
    assert int(within.sum()) == 30
