"""The ranking of targets by distance, on linear models, and what it costs in a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry
from robbench.attacks.target_order import nearest, queries
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.core.tiles import Tiles
from robbench.engine.evaluate import evaluate
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.testing import check_attack, judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}
ROWS, ENTRIES = 12, 6


def _linear(classes: int) -> nn.Linear:
    """Weights of very different size, so that the likeliest class is often not the nearest."""
    draw = torch.Generator().manual_seed(classes)
    model = nn.Linear(ENTRIES, classes, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(classes, ENTRIES, generator=draw))
        model.weight.mul_(torch.logspace(-1, 1, classes)[:, None])
    return model


def _rank(
    model: nn.Module, problem: Callable[..., Problem], norm: str, count: int
) -> tuple[Problem, Tensor]:
    x0 = torch.rand(ROWS, ENTRIES, generator=torch.Generator().manual_seed(0))
    y = model(x0).argmax(1)
    p = problem(model, x0, y, torch.full((ROWS,), 0.1), norm)
    oracle = ModelOracle(model, Tiles(ROWS, step=1))
    everyone = torch.ones(ROWS, dtype=torch.bool)
    oracle.bind(p, blank_book(p), torch.zeros_like(y), everyone, steps=1)
    found = nearest(p, oracle, count)
    forwards, backwards = queries(p.logits0.shape[1])
    assert oracle.book.n_forward.tolist() == [forwards] * ROWS
    assert oracle.book.n_backward.tolist() == [backwards] * ROWS
    return p, found


@pytest.mark.parametrize("classes", [2, 4, 10, 25])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_targets_are_ranked_by_the_exact_distance_of_a_linear_model(
    norm: str, classes: int, problem: Callable[..., Problem]
) -> None:
    """(z_y - z_k) / |w_k - w_y|_dual, written out row by row; another order than the logits'."""
    model = _linear(classes)
    p, found = _rank(model, problem, norm, 9)
    assert found.shape == (ROWS, min(9, classes - 1))
    for row in range(ROWS):
        y = int(p.y[row])
        z, w = p.logits0[row], model.weight.detach()
        far = {
            k: float((z[y] - z[k]) / torch.linalg.vector_norm(w[k] - w[y], ord=DUAL[norm]))
            for k in range(classes)
            if k != y
        }
        assert found[row].tolist() == sorted(far, key=far.__getitem__)[: found.shape[1]]
    if classes > 4:
        assert not torch.equal(found, p.likeliest_wrong(9))


def test_a_class_without_a_gradient_comes_last(problem: Callable[..., Problem]) -> None:
    """Its logit differs from the label's by a constant: no step reaches it, though it is likely."""

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x @ torch.tensor([[9.0, 1.0, -1.0], *[[0.0] * 3] * 5]).to(x)
            return torch.cat([z, z[:, :1] - 0.01], 1)

    x0 = torch.full((1, 6), 0.5)
    model = Constant()
    p = problem(model, x0, torch.zeros(1, dtype=torch.int64), torch.full((1,), 0.1), "linf")
    assert p.likeliest_wrong(3)[0].tolist() == [3, 1, 2]
    oracle = ModelOracle(model, Tiles(1, step=1))
    one = torch.ones(1, dtype=torch.bool)
    oracle.bind(p, blank_book(p), torch.zeros_like(p.y), one, steps=1)
    assert nearest(p, oracle, 3)[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "spec", ["apgd-t:steps=3,targets=2,restarts=2", "fab-t:iterations=3,targets=3"]
)
def test_a_sample_is_ranked_once(spec: str) -> None:
    """A survivor costs one Jacobian more than without, however many variants it goes through."""
    split, threat = toy_split(), parse_threat("linf:0.001")[0]
    plain, ranked = (
        judge(spec + more, toy_model(), split, threat) for more in ("", ",order=distance")
    )
    survivors = 0
    for a, b in zip(plain, ranked, strict=True):
        if not a.adversarial and not b.adversarial:
            survivors += 1
            assert (b.n_forward - a.n_forward, b.n_backward - a.n_backward) == (1, 4)
    assert survivors > 10


def test_the_limit_of_queries_holds_for_the_ranking_too() -> None:
    """No sample exceeds its forwards, whichever query they end at; the re-check adds one."""
    split, threat = toy_split(), parse_threat("linf:0.001")[0]
    spec = "apgd-t:steps=2,targets=2,order=distance"
    entry = AttackEntry(ATTACKS.canonical(spec), ATTACKS.build(spec))
    for most in range(1, 9):
        found = evaluate(
            toy_model(), split, threat, [entry], seed=0, width=8, thorough=False, queries=most
        ).verdicts
        assert all(v.n_forward <= most + 1 for v in found)
        assert max(v.n_forward for v in found) >= most - 1


def test_attacks_that_rank_conform() -> None:
    """Also inside another attack, which has the same ranking."""
    check_attack("fab-t:iterations=2,targets=2,order=distance")
    check_attack("eot:attack=(apgd-t:steps=2,targets=2,order=distance),draws=2")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("fab:targets=3", "attack fab: targets=3 needs targeted=true"),
        ("fab:order=distance", "attack fab: order=distance needs targeted=true"),
        ("fab-t:candidates=3", "attack fab: candidates=3 needs targeted=false"),
        ("apgd-ce:targets=3", "attack apgd: targets=3 needs objective=dlr-targeted"),
        ("apgd-dlr:order=distance", "attack apgd: order=distance needs objective=dlr-targeted"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(spec: str, said: str) -> None:
    """Else two specs of one attack would be compared as two attacks; a default says nothing."""
    with pytest.raises(UserError) as error:
        ATTACKS.build(spec)
    assert str(error.value) == said
    name, option = spec.partition(":")[::2]
    default = {"targets": "targets=9", "order": "order=margin", "candidates": "candidates=9"}
    same = f"{name}:{default[option.partition('=')[0]]}"
    assert ATTACKS.build(same) == ATTACKS.build(name)
