"""Against the reference implementation of APGD, on the same model and samples in one process."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats

from robbench.engine.records import CLEAN

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = 300
THREATS = {"linf": ("linf:0.08", "Linf", 0.08), "l2": ("l2:0.45", "L2", 0.45)}


@pytest.mark.parametrize(
    ("norm", "ours", "theirs"),
    [
        ("linf", "apgd", "ce"),
        ("l2", "apgd-dlr", "dlr"),
        pytest.param("linf", "apgd-dlr", "dlr", marks=pytest.mark.slow),
        pytest.param("l2", "apgd", "ce", marks=pytest.mark.slow),
    ],
)
def test_apgd_agrees_with_pyautoattack(
    norm: str, ours: str, theirs: str, digits: Any, decide: Callable[..., Any]
) -> None:
    """At most 2 % of verdicts differ, neither side finds more (exact McNemar, p > 0.01).

    They need not be zero. Random starts differ: theirs come from a global generator, ours from each
    sample's own key. And so does the first checkpoint: their count of rises compares f(x_1) with
    the last, still empty row of the history, where ours compares it with f(x_0), and their
    condition 1 is `<=` where the paper and ours have `<`.
    """
    from pyautoattack.autopgd_base import APGDAttack

    threat, name, eps = THREATS[norm]
    split = digits.split.take(torch.arange(ROWS))
    x, y = split.pixels(slice(None)), split.labels
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = APGDAttack(
            digits.model, n_iter=100, norm=name, eps=eps, loss=theirs, seed=0, device="cpu"
        ).perturb(x.clone(), y.clone())
    torch.set_rng_state(state)
    with torch.no_grad():
        reference = digits.model(points).argmax(1) != y
    verdicts = decide([ours], digits.model, split, threat)
    mine = torch.tensor([verdict.adversarial for verdict in verdicts])
    right = torch.tensor([verdict.entry != CLEAN for verdict in verdicts])
    assert bool((mine | right).all())
    assert 0.2 < float(mine[right].float().mean()) < 0.8  # neither all nor nothing is broken
    only_mine, only_theirs = int((mine & ~reference).sum()), int((~mine & reference).sum())
    assert only_mine + only_theirs <= 0.02 * ROWS
    if only_mine + only_theirs:
        assert stats.binomtest(only_mine, only_mine + only_theirs, 0.5).pvalue > 0.01


def test_the_backend_runs_the_reference_itself(digits: Any, decide: Callable[..., Any]) -> None:
    """`pyautoattack:version=apgd-ce` agrees with ours as the package does; queries count."""
    split = digits.split.take(torch.arange(60))
    state = torch.get_rng_state()
    theirs = decide(["pyautoattack:version=apgd-ce"], digits.model, split, "linf:0.08")
    ours = decide(["apgd"], digits.model, split, "linf:0.08")
    assert torch.equal(state, torch.get_rng_state())
    assert sum(a.adversarial != b.adversarial for a, b in zip(theirs, ours, strict=True)) <= 2
    robust = [verdict for verdict in theirs if not verdict.adversarial]
    assert robust
    assert all(verdict.n_forward > 100 and verdict.n_backward > 100 for verdict in robust)
