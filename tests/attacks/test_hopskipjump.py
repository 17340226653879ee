"""HopSkipJump against a plain transcription, closed forms, and foolbox's."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.hopskipjump import HopSkipJump
from robbench.catalogue.builtins import ATTACKS
from robbench.core import keyed
from robbench.testing import check_attack, judge, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

DIMENSION, ROWS, QUERIES = 12, 16, 1500
DUAL = {"linf": 1, "l2": 2}


def _weight() -> Tensor:
    return torch.randn(
        2, DIMENSION, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


def _linear(x: Tensor) -> Tensor:
    return (x - 0.5) @ _weight().T


def _curved(x: Tensor) -> Tensor:
    """A small network of four classes, float64."""
    generator = torch.Generator().manual_seed(5)
    u, v = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((8, 10), (4, 8))
    )
    return torch.tanh(2 * (x - 0.5) @ u.T) @ v.T


def _points(rows: int, dimension: int) -> Tensor:
    return 0.3 + 0.4 * torch.rand(
        rows, dimension, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )


def _no_budget(rows: int) -> Tensor:
    return torch.full((rows,), torch.inf, dtype=torch.float64)


class Case(NamedTuple):
    """What the linear model's samples came to, relative to their distance to the boundary."""

    x0: Tensor
    y: Tensor
    distance: Tensor
    ratios: Tensor


@pytest.fixture
def linear(
    request: pytest.FixtureRequest, problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> Case:
    """1,500 queries per sample in a norm."""
    norm, w = request.param, _weight()
    x0 = _points(ROWS, DIMENSION)
    z = _linear(x0)
    distance = (z[:, 0] - z[:, 1]).abs() / torch.linalg.vector_norm(w[0] - w[1], ord=DUAL[norm])
    p = problem(_linear, x0, z.argmax(1), _no_budget(ROWS), norm)
    endings = conquer(HopSkipJump(steps=QUERIES - 1), _linear, p)
    size = p.norm.size(torch.stack([ending.x for ending in endings]) - x0)
    return Case(x0, p.y, distance, size / distance)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Foolbox's log advises on its set-up; and it draws from the global generator."""
    logging.disable(logging.CRITICAL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    logging.disable(logging.NOTSET)


class _Counted(nn.Module):
    rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        return _linear(x.double()).float()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("linear", "norm"), [("l2", "l2"), ("linf", "linf")], indirect=["linear"])
def test_it_comes_close_to_a_plane_and_no_less_than_foolbox(
    linear: Case, norm: str, quiet: None
) -> None:
    """Mostly within 1.15 of the distance, never below; median <= 1.1 foolbox's at equal queries."""
    assert bool((linear.ratios >= 1 - 1e-9).all())
    assert float(linear.ratios.quantile(0.75)) < 1.15

    foolbox = pytest.importorskip("foolbox")
    model = _Counted().eval()
    peer = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.HopSkipJumpAttack(steps=7, constraint=norm)
    x0 = linear.x0.float()
    d = attack.run(peer, x0, foolbox.criteria.Misclassification(linear.y)) - x0
    size = d.norm(dim=1) if norm == "l2" else d.abs().amax(1)
    assert 0.95 * QUERIES < model.rows / ROWS < 1.2 * QUERIES
    assert float(linear.ratios.median()) <= 1.1 * float((size / linear.distance).median())


def _plain(x0: Tensor, y: int, key: Tensor, norm: str, attack: HopSkipJump) -> list[Tensor]:
    """Chen et al. 2020, algorithms 1 and 2, one sample, nested loops: all queries. key: [1]."""
    asked: list[Tensor] = []
    d = len(x0)

    def phi(x: Tensor) -> int:
        asked.append(x)
        return 1 if int(_curved(x[None]).argmax()) != y else -1

    def now() -> Tensor:  # the random key of the query to come
        return keyed.fold(key, len(asked) - 1)

    def size(v: Tensor) -> float:
        return float(v.abs().max()) if norm == "linf" else math.sqrt(float((v * v).sum()))

    far = keyed.uniform(keyed.fold(key, -1), (d,), dtype=x0.dtype)[0]
    while phi(far) < 0:
        a, b = keyed.uniform(now(), (2,), 1, x0.dtype)[0]
        far = a + (b - a) * keyed.uniform(now(), (d,), dtype=x0.dtype)[0]
    turn = 0
    while len(asked) <= attack.steps:
        turn += 1
        reach, low, high = size(far - x0), 0.0, 1.0

        def between(share: float, far: Tensor = far, reach: float = reach) -> Tensor:
            way = far - x0
            return x0 + (share * way if norm == "l2" else way.clamp(-share * reach, share * reach))

        while high - low > d ** (-1.5 if norm == "l2" else -2.0):
            middle = (low + high) / 2
            low, high = (low, middle) if phi(between(middle)) > 0 else (middle, high)
        x = between(high)

        delta = 0.1 if turn == 1 else reach / d
        votes, directions = [], []
        for _ in range(int(attack.evals * math.sqrt(turn))):
            draw = (
                keyed.normal(now(), (d,), dtype=x0.dtype)
                if norm == "l2"
                else 2 * keyed.uniform(now(), (d,), dtype=x0.dtype) - 1
            )[0]
            point = (x + delta * draw / draw.norm()).clamp(0, 1)
            votes.append(phi(point))
            directions.append((point - x) / delta)
        mean = sum(votes) / len(votes)
        baseline = 0 if abs(mean) == 1 else mean
        v = sum((vote - baseline) * u for vote, u in zip(votes, directions, strict=True))
        assert isinstance(v, Tensor)
        v = v.sign() if norm == "linf" else v / v.norm()

        xi = size(x - x0) / math.sqrt(turn)
        far = (x + xi * v).clamp(0, 1)
        while phi(far) < 0:
            xi /= 2
            far = (x + xi * v).clamp(0, 1)
    return asked


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_query_is_that_of_a_plain_transcription(
    norm: str, problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """Trials, searches, estimates and strides over 300 queries, for rows that start at any time."""
    x0 = _points(6, 10)
    y = _curved(x0).argmax(1)
    p = problem(_curved, x0, y, _no_budget(6), norm, 11)
    attack = HopSkipJump(steps=300, evals=12)
    trials = 0
    for row in range(6):
        asked: list[Tensor] = []

        def watched(x: Tensor, asked: list[Tensor] = asked) -> Tensor:
            asked.append(x[0])
            return _curved(x)

        conquer(attack, watched, p.take(slice(row, row + 1)))
        key = keyed.fold(p.key[row : row + 1], 0)  # of its only variant
        plain = _plain(x0[row], int(y[row]), key, norm, attack)[: attack.steps + 1]
        trials += int(_curved(plain[0][None]).argmax()) == int(y[row])
        assert len(asked) == attack.steps + 1
        torch.testing.assert_close(torch.stack(asked), torch.stack(plain), rtol=0, atol=1e-9)
    assert trials > 0


def test_it_uses_labels_only(problem: Callable[..., Problem], conquer: Callable[..., Any]) -> None:
    """With logits that say only the label it goes the same way, and asks for no gradient."""

    def labels(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return nn.functional.one_hot(_curved(x).argmax(1), 4).double()

    x0 = _points(5, 10)
    attack, y = HopSkipJump(steps=150, evals=10), _curved(x0).argmax(1)
    soft = conquer(attack, _curved, problem(_curved, x0, y, _no_budget(5), "l2"))
    hard = conquer(attack, labels, problem(labels, x0, y, _no_budget(5), "l2"))
    assert all(torch.equal(a.x, b.x) for a, b in zip(soft, hard, strict=True))


class _Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(torch.zeros(len(x), dtype=torch.int64), 4).to(x.dtype)


def test_a_sample_without_a_start_ends_after_its_trials() -> None:
    """A model of one class: no point is found, nothing is NaN, and no query is wasted on it."""
    split = toy_split(12)
    verdicts = judge(
        "hopskipjump:steps=200,trials=7", _Constant(), split, parse_threat("l2:inf")[0]
    )
    tried = [v for v in verdicts if int(split.labels[v.sample]) == 0]
    assert tried
    for verdict in tried:
        assert (verdict.adversarial, verdict.n_forward, verdict.n_backward, verdict.status) == (
            False,
            1 + 7,
            0,
            0,
        )


def test_a_class_that_noise_belongs_to_has_a_start(
    problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """Where all uniform noise has one class, that class starts from low-contrast noise."""

    def model(x: Tensor) -> Tensor:
        return torch.stack([x.std(1), torch.full_like(x[:, 0], 0.1)], 1)

    x0 = torch.rand(8, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(x0.std(1).min()) > 0.2
    p = problem(model, x0, torch.zeros(8, dtype=torch.int64), _no_budget(8), "l2")
    endings = conquer(ATTACKS.build("hopskipjump:steps=60"), model, p)
    assert all(ending.variant == 0 for ending in endings)


def test_it_conforms() -> None:
    """The conformance suite, through several turns."""
    check_attack("hopskipjump:steps=18,evals=2,gamma=4")
