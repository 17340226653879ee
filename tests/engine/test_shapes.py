"""Which numbers of rows give equal answers is measured, used, and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry
from robbench.core.tiles import RowEquality, Tiles
from robbench.data.base import Split
from robbench.engine.counter import Counter
from robbench.engine.evaluate import evaluate
from robbench.engine.flags import Flag, of_rows
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.engine.pool import Pool
from robbench.engine.records import Verdict
from robbench.engine.shapes import equality_of, shapes_of
from robbench.threat.model import parse_threat

pytestmark = pytest.mark.usefixtures("one_thread")


class Sum(nn.Module):
    """Logits made row by row from a few exact sums: equal in any batch, on any processor."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        # Products with one column: each row's sum runs over its own pixels, in their order.
        total = torch.stack(x.flatten(1).unbind(1)).double().cumsum(0)[-1]
        return (total[:, None] - 19.5) * self.slope.double()


class SmallRoundOtherwise(Sum):
    """Adds 1e-7 in batches of fewer than so many rows, as kernels for few rows do."""

    def __init__(self, rows: int, *, gradient_only: bool = False) -> None:
        super().__init__()
        self.rows, self.gradient_only = rows, gradient_only

    def forward(self, x: Tensor) -> Tensor:
        few = len(x) < self.rows
        if self.gradient_only:
            return super().forward(x) * 1 if not few else _Steeper.apply(super().forward(x))
        return super().forward(x) + 1e-7 * few


class _Steeper(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * (1 + 1e-6)


class ByPlace(Sum):
    """Rounds by a row's place in the batch."""

    def __init__(self, size: float = 1e-6) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + self.size * (torch.arange(len(x)) % 8 == 7))[:, None]


class OfTheBatch(Sum):
    """Subtracts the mean of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0) + 0.5)


class Random(Sum):
    """Draws anew at each look; by very little, as kernels that add in no fixed order."""

    def __init__(self, size: float = 0.1) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.size * torch.rand_like(x))


class Rounds(nn.Module):
    """Without a graph it answers otherwise than with one, as fast paths do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Sum()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.inner(x)
        return z if torch.is_grad_enabled() else z + 1e-7


def _split(n: int = 40) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 6, 6), generator=generator, dtype=torch.uint8)
    labels = (images.flatten(1).double().sum(1) / 255 < 19.5).long()
    return Split(images, labels, torch.arange(n), ("a", "b"), "toy", "test")


def _verdicts(
    model: nn.Module, width: int, split: Split, entries: list[AttackEntry]
) -> tuple[list[Verdict], RowEquality]:
    found = evaluate(model, split, parse_threat("linf:0.02"), entries, seed=0, width=width)
    return found.verdicts, found.equality


@pytest.mark.parametrize(
    ("rows", "step"),
    [(1, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16), (17, 32), (25, 32), (32, 32)],
)
@pytest.mark.parametrize("gradient_only", [False, True])
def test_the_smallest_step_whose_multiples_all_agree(
    rows: int, step: int, gradient_only: bool
) -> None:
    """Batches under `rows` rows round differently: tiles are padded to what does not."""
    model = SmallRoundOtherwise(rows, gradient_only=gradient_only)
    assert equality_of([model], _split().pixels(slice(0, 32))) == RowEquality(step, equal=True)
    assert shapes_of([model], _split(), 1)[0] == Tiles(step, step)
    assert shapes_of([model], _split(), 64)[0] == Tiles(32, step)
    assert shapes_of([Sum(), model], _split(), 64)[1].step == step


def test_verdicts_are_equal_where_small_batches_round_otherwise(
    entries: Callable[..., list[AttackEntry]],
) -> None:
    """Width 1 and width 64 agree to the last bit, for a model that rounds by row count."""
    model, split, attacks = (
        SmallRoundOtherwise(16),
        _split(),
        entries(["pgd:steps=5", "apgd:steps=8"]),
    )
    (one, equality), (many, _) = (_verdicts(model, width, split, attacks) for width in (1, 64))
    assert one == many
    assert equality == RowEquality(16, equal=True)
    assert (
        5 < sum(v.adversarial for v in many) < 35
    )  # neither all nor none: there is something to get wrong


class OddSizes(Sum):
    """Rounds otherwise in batches of some numbers of rows."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes, self.asked = sizes, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(len(x))
        return super().forward(x) + 1e-7 * (len(x) in self.sizes)


@pytest.mark.parametrize("sizes", [(20,), (4, 12), (4, 12, 8)])
def test_few_samples_are_asked_in_few_shapes_with_equal_answers(
    sizes: tuple[int, ...], entries: Callable[..., list[AttackEntry]]
) -> None:
    """Ten samples alone get the verdicts that they get among forty, in no number not measured."""
    split, attacks = _split(), entries(["pgd:steps=5", "apgd:steps=8"])
    all_of, model = _verdicts(OddSizes(*sizes), 64, split, attacks)[0], OddSizes(*sizes)
    some, equality = _verdicts(model, 64, split.take(torch.arange(10)), attacks)
    assert some == all_of[:10]
    assert equality == RowEquality({(20,): 4, (4, 12): 8}.get(sizes, 16), equal=True)
    assert max(set(model.asked) - {32}) == (16 if equality.step > 4 else 12)


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize("odd", [None, 5])
@pytest.mark.parametrize("spec", ["pgd:steps=60,rate=0.01", "square:steps=60"])
def test_rows_that_stay_are_padded_only_where_their_answers_need_it(
    odd: int | None, spec: str, entries: Callable[..., list[AttackEntry]]
) -> None:
    """Five survivors are asked as eight, then as five if these answers are equal; so are all."""
    far = (_split().pixels(slice(None)).flatten(1).sum(1) - 19.5).abs() > 1
    split, attacks = _split().take(far.nonzero()[:5, 0]), entries([spec])
    padded, model = OddSizes(), OddSizes(*([odd] if odd else []))
    alone = [split.take(torch.tensor([i])) for i in range(5)]
    narrow = [v for one in alone for v in _verdicts(padded, 4, one, attacks)[0]]
    verdicts, equality = _verdicts(model, 64, split, attacks)
    assert not any(v.adversarial for v in verdicts)
    assert [v._replace(sample=0) for v in verdicts] == narrow
    assert equality == RowEquality(4, equal=True)
    assert set(padded.asked) == {4, 32}
    assert set(model.asked) == {4, 5, 8, 32}
    assert model.asked.count(8) > 10
    assert model.asked.count(5) > 30 if odd is None else model.asked.count(5) <= 2


def test_where_one_model_needs_a_larger_step_the_others_are_measured_at_it() -> None:
    """Its next size counts for all: sixteen rows, of which the other model answers otherwise."""
    x, others = _split().pixels(slice(0, 32)), (OddSizes(12), OddSizes(16))
    assert [equality_of([model], x, rows=10).step for model in others] == [8, 4]
    assert equality_of(others, x, rows=10) == RowEquality(32, equal=True)
    assert shapes_of(others, _split(10), 64) == (Tiles(32, 32), RowEquality(32, equal=True))


def test_attacks_without_gradients_have_none_measured(
    entries: Callable[..., list[AttackEntry]],
) -> None:
    """Gradients that round otherwise make no larger step for an attack that asks none."""
    model, split = SmallRoundOtherwise(16, gradient_only=True), _split()
    (_, scores), (_, gradients) = (
        _verdicts(model, 64, split, entries([spec])) for spec in ("square:steps=5", "pgd:steps=3")
    )
    assert (scores.step, gradients.step) == (4, 16)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (ByPlace(), "rounding"),
        (ByPlace(0.5), "batch"),
        (OfTheBatch(), "batch"),
        (Random(), "random"),
        (Random(1e-7), "rounding"),
    ],
)
def test_where_nothing_agrees_it_is_said(
    model: nn.Module, why: str, entries: Callable[..., list[AttackEntry]]
) -> None:
    """Rows by place, by neighbours, or random: recorded, flagged once, and the attack ends."""
    split = _split()
    verdicts, equality = _verdicts(model, 16, split, entries(["pgd:steps=3"]))
    assert len(verdicts) == len(split)
    assert equality == RowEquality(4, equal=False, why=why)
    known = [Flag("random", 40, "so it is")] if why == "random" else []
    assert [flag.name for flag in of_rows(equality, known)] == ([] if known else [why])
    assert all("\n" not in flag.text and "{" not in flag.text for flag in of_rows(equality, []))
    assert not any(
        "0 of 0" in flag.text for flag in of_rows(equality, [])
    )  # it is of all rows, and no count


def test_equal_rows_are_no_flag() -> None:
    assert of_rows(RowEquality(32, equal=True), []) == []


def test_measured_once_and_counted_nowhere() -> None:
    """A model behind a counter is asked directly, once per process; its state is restored."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    calls: list[int] = []
    model.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    counter, x, before = Counter(model), _split().pixels(slice(0, 32)), torch.get_rng_state()
    mean = model[2].running_mean.clone()
    first = equality_of([counter], x)
    asked = len(calls)
    assert 0 < asked < 20
    assert equality_of([counter, model], x) == first
    assert (len(calls), counter.n_forward, counter.n_backward) == (asked, 0, 0)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(mean, model[2].running_mean)
    assert model.training


def test_no_samples_and_no_gradient() -> None:
    """Nothing to differ, and models without a gradient, are no trouble."""
    assert equality_of([Sum()], torch.empty(0, 1, 6, 6)) == RowEquality(4, equal=True)
    x, stairs = _split().pixels(slice(0, 32)), lambda x: Sum()(x).round().detach()
    assert equality_of([stairs], x) == RowEquality(4, equal=True)


@pytest.mark.parametrize("last", [1, 8, 15, 16])
def test_an_answer_does_not_depend_on_who_wants_a_gradient(last: int) -> None:
    """A model that differs without a graph: rows at their last step get equal answers."""
    split, model = _split(16), Rounds()
    pool = Pool.of(split, [parse_threat("linf:0.02")[0]], model, seed=0, tiles=Tiles(32, 8))
    p, oracle = pool.problem(torch.arange(16)), ModelOracle(model, Tiles(32, 8))
    everyone, moves = torch.ones(16, dtype=torch.bool), torch.arange(16) >= last
    oracle.bind(p, blank_book(p), (~moves).long(), everyone, steps=1)
    answer = oracle.grad(p.x0, lambda z, _: z[:, 0])
    with torch.enable_grad():
        assert torch.equal(answer.logits, model(p.x0).detach())
    assert not torch.equal(answer.logits, oracle.logits(p.x0)[0])
    assert (oracle.book.n_backward > 0).tolist() == moves.tolist()
