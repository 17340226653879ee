"""The oracle against a plain one: row by row, one query at a time, its books in Python."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robbench.core.tiles import Tiles
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.objectives import OBJECTIVES, SoftCrossEntropy
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread", "either_way")

CLASSES = 3


def _model(x: Tensor) -> Tensor:
    """Three logits of four pixels, per row; flat if the third is dark, NaN if the last bright."""
    first = torch.linspace(-3, 4, 20).sin().reshape(5, 4)
    second = torch.linspace(1, 9, 15).cos().reshape(CLASSES, 5)

    def net(x: Tensor) -> Tensor:
        return (((x - 0.5)[:, None] * first).sum(2).tanh()[:, None] * second).sum(2) * 4

    z = torch.where(x[:, 2:3] < 0.2, net(x.detach()) + 0 * x.sum(1, keepdim=True), net(x))
    return z * torch.where(x[:, 3:] > 0.9, torch.tensor([torch.nan, 1.0, 1.0]), torch.ones(3))


@dataclasses.dataclass
class Plain:
    """The book of one row, kept as the definition says."""

    x0: Tensor
    y: int
    eps: float
    norm: str
    found: bool = False
    first: int = -1
    margin: float = math.inf
    size: float = math.inf
    n_forward: int = 0
    n_backward: int = 0
    n_nonfinite: int = 0
    n_zero_gradient: int = 0

    def __post_init__(self) -> None:
        self.x = self.x0

    def see(self, x: Tensor, t: int, grads: Tensor | None) -> bool:
        """One query; `grads` [k,*] where a gradient was wanted."""
        z = _model(x[None])[0].tolist()
        finite = not any(math.isnan(v) or v == math.inf for v in z)
        hit = finite and z.index(max(z)) != self.y
        margin = z[self.y] - max(v for k, v in enumerate(z) if k != self.y)
        d = (x - self.x0).double()
        size = float(d.abs().max() if self.norm == "linf" else d.norm())
        inside = bool(((x >= 0) & (x <= 1)).all()) and size <= self.eps * (1 + 1e-5) + 1e-7
        self.n_forward += 1
        bad = grads is not None and not bool(torch.isfinite(grads).all())
        self.n_nonfinite += bad or not finite
        if grads is not None:
            self.n_backward += len(grads)
            self.n_zero_gradient += bool((grads == 0).all())
        if inside and finite:
            lower = (hit and not self.found) or margin < self.margin
            if hit and size < self.size if math.isinf(self.eps) else lower:
                self.x, self.margin, self.size = x, margin, size
            if hit and not self.found:
                self.found, self.first = True, t
        return hit


def _gradients(x: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """[k,*] of the values [k] of one row's logits."""
    leaf = x[None].clone().requires_grad_()
    values = value(_model(leaf))
    return torch.stack(
        [torch.autograd.grad(v, leaf, retain_graph=True)[0][0] for v in values.flatten()]
    )


def _points(p: Problem, generator: torch.Generator) -> Tensor:
    """Near and far: on the input, inside, outside the ball, outside the box, dark and bright."""
    far = torch.rand(len(p), 1, generator=generator) * 0.6
    x = p.x0 + far * (2 * torch.rand(len(p), 4, generator=generator) - 1)
    clip = torch.rand(len(p), 1, generator=generator) < 0.7
    return torch.where(clip, x.clamp(0, 1), x)


@pytest.mark.few(10)
@pytest.mark.parametrize("rows", [4, 5, 8, 13])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.2), ("l2", 0.4), ("l2", math.inf)])
def test_answers_and_books_are_those_of_a_plain_loop(norm: str, eps: float, rows: int) -> None:
    """Whoever is idle is neither answered nor booked; whoever needs no gradient pays for none."""
    generator = torch.Generator().manual_seed(rows)
    x0 = torch.rand(rows, 4, generator=generator)
    y = _model(x0).nan_to_num().argmax(1)
    p = Problem.of(x0, y, eps, NORMS[norm])
    plain = [Plain(x0[i], int(y[i]), eps, norm) for i in range(rows)]
    oracle, book = ModelOracle(_model, Tiles(8, 4)), blank_book(p)
    for n in range(24):
        kind = ("logits", "grad", "jacobian")[n % 3]
        x = _points(p, generator)
        t = torch.randint(0, 5, (rows,), generator=generator)
        active = torch.rand(rows, generator=generator) < (0.3 if n % 4 == 0 else 0.8)
        need = None if n % 2 else torch.rand(rows, generator=generator) < 0.5
        classes = torch.stack(
            [torch.randperm(CLASSES, generator=generator)[:2] for _ in range(rows)]
        )
        oracle.bind(p, book, t, active, 4)
        if kind == "logits":
            logits, hit = oracle.logits(x)
        elif kind == "grad":
            logits, value, grad, hit = oracle.grad(x, OBJECTIVES["cross-entropy"], need)
        else:
            logits, grad, hit = oracle.jacobian(x, classes, need)
        book = oracle.book
        for i in range(rows):
            if not active[i]:
                continue
            row = p.take(slice(i, i + 1))
            wants = kind != "logits" and int(t[i]) < 4 and (need is None or bool(need[i]))
            if kind == "grad":
                grads = _gradients(x[i], lambda z, row=row: OBJECTIVES["cross-entropy"](z, row))
            else:
                grads = _gradients(x[i], lambda z, k=classes[i]: z[0, k])
            assert bool(hit[i]) == plain[i].see(x[i], int(t[i]), grads if wants else None)
            assert torch.allclose(logits[i], _model(x[i : i + 1])[0], atol=1e-5, equal_nan=True)
            if wants:
                expected = grads.nan_to_num(0, 0, 0).reshape(grad[i].shape)
                assert torch.allclose(grad[i], expected, atol=1e-5)
            if wants and kind == "grad" and not logits[i].isnan().any():
                assert float(value[i]) == pytest.approx(
                    float(OBJECTIVES["cross-entropy"](logits[i : i + 1], row)), abs=1e-5
                )
    for name in ("found", "first", "n_forward", "n_backward", "n_nonfinite", "n_zero_gradient"):
        assert getattr(book, name).tolist() == [getattr(row, name) for row in plain], name
    assert book.margin.tolist() == pytest.approx([row.margin for row in plain], abs=1e-5)
    assert book.size.tolist() == pytest.approx([row.size for row in plain], abs=1e-6)
    assert torch.equal(book.x, torch.stack([row.x for row in plain]))
    assert any(row.found for row in plain)
    assert any(row.n_nonfinite for row in plain)
    assert any(row.n_zero_gradient for row in plain)


class Moody:
    """Two logits with another slope and offset at each look, in turn."""

    def __init__(self, slopes: list[float], offsets: list[float]) -> None:
        self.slopes, self.offsets, self.looks = slopes, offsets, 0

    def __call__(self, x: Tensor) -> Tensor:
        n = self.looks % len(self.slopes)
        self.looks += 1
        z = self.slopes[n] * x[:, 0] + self.offsets[n]
        return torch.stack([z, torch.zeros_like(z)], 1)


@pytest.mark.parametrize(
    ("offsets", "wrong"),
    [
        ([1.0, 1.0, -9.0], False),  # one of three, though the mean says otherwise
        ([-1.0, -1.0, 9.0], True),
        ([1.0, -1.0, 1.0, -1.0], False),  # half is not most
        ([-1.0], True),
    ],
)
@pytest.mark.parametrize("kind", ["logits", "grad", "jacobian"])
def test_several_looks_are_averaged_and_put_to_the_vote(
    kind: str, offsets: list[float], wrong: bool
) -> None:
    """Logits and gradients are means over draws; each draw is a forward, maybe a backward."""
    draws = len(offsets)
    slopes = [float(n + 1) for n in range(draws)]
    p = Problem.of(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64), 0.5, NORMS["linf"])
    oracle = ModelOracle(Moody(slopes, offsets), Tiles(8, 4), draws)
    oracle.bind(p, blank_book(p), torch.zeros(4, dtype=torch.int64), torch.ones(4).bool(), 1)
    if kind == "logits":
        logits, hit = oracle.logits(p.x0)
    elif kind == "grad":
        logits, value, grad, hit = oracle.grad(p.x0, OBJECTIVES["margin"])
        assert value.tolist() == pytest.approx([-sum(offsets) / draws] * 4)
        assert grad.flatten().tolist() == pytest.approx([-sum(slopes) / draws] * 4)
    else:
        logits, grad, hit = oracle.jacobian(p.x0, torch.tensor([[0, 1]] * 4))
        assert grad[:, 0, 0].tolist() == pytest.approx([sum(slopes) / draws] * 4)
        assert grad[:, 1, 0].tolist() == [0.0] * 4
    assert logits[:, 0].tolist() == pytest.approx([sum(offsets) / draws] * 4)
    assert hit.tolist() == [wrong] * 4
    n_backward = {"logits": 0, "grad": draws, "jacobian": 2 * draws}[kind]
    assert oracle.book.n_forward.tolist() == [draws] * 4
    assert oracle.book.n_backward.tolist() == [n_backward] * 4


@pytest.mark.parametrize("rows", [4, 8])
def test_an_objective_of_the_rows_travels_with_those_that_are_asked(rows: int) -> None:
    """However the live rows are packed into tiles, each has the gradient of its own distribution.

    The objective of the oracle comes before the one that is asked for.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(13, 4, generator=generator) * 0.5 + 0.3
    targets = torch.randn(13, CLASSES, generator=generator).softmax(1)
    p = Problem.of(x, torch.zeros(13, dtype=torch.int64), 0.1, NORMS["linf"])
    leaf = x.clone().requires_grad_()
    plain = torch.nn.functional.cross_entropy(_model(leaf), targets, reduction="none")
    (grads,) = torch.autograd.grad(plain.sum(), leaf)
    active = torch.arange(13) % 3 == 1
    oracle = ModelOracle(_model, Tiles(rows, step=4), objective=SoftCrossEntropy(targets=targets))
    oracle.bind(p, blank_book(p), torch.zeros(13, dtype=torch.int64), active, 5)
    found = oracle.grad(x, OBJECTIVES["margin"])
    assert torch.allclose(found.grad[active], grads[active], atol=1e-6)
    assert torch.allclose(found.value[active], plain.detach()[active], atol=1e-6)
    assert oracle.book.n_backward.tolist() == active.int().tolist()


def test_points_given_out_are_not_written_into() -> None:
    """Books are written in place: the points of large rows, dense or not, that all are worse."""
    x0 = torch.zeros(4, 1 << 13)
    p = Problem.of(x0, torch.zeros(4, dtype=torch.int64), 1.0, NORMS["linf"])
    values = [0.125, 0.25, 0.375, 0.5]
    points = [torch.full_like(x0, value) for value in values]
    points[0] = points[0].t().contiguous().t()
    oracle = ModelOracle(lambda x: torch.stack([1 - x[:, 0], x[:, 0], -x[:, 1]], 1), Tiles(4, 4))
    oracle.bind(p, blank_book(p), torch.zeros_like(p.y), torch.ones(4, dtype=torch.bool), 1)
    for x in points:
        oracle.logits(x)
        assert torch.equal(oracle.book.x, x)
    assert not x0.any()
    assert [float(x.mean()) for x in points] == values
