"""Query counts: the books equal what the model saw, up to padding of lane and check."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.core.tiles import Tiles
from robbench.data.base import Split
from robbench.engine import lane as lane_module
from robbench.engine.lane import Job, Lane
from robbench.engine.pool import Pool
from robbench.engine.records import CLEAN
from robbench.objectives import margins
from robbench.threat.model import parse_threat

pytestmark = pytest.mark.usefixtures("one_thread")

SPECS = [
    "fgsm",
    "pgd:steps=5",
    "pgd:steps=3,restarts=3",
    "apgd:steps=8",
    "apgd-t:steps=4,targets=3",
]


def _copies(split: Split, sample: int, count: int) -> Split:
    """One sample several times over, under one id, so that all copies draw the same numbers."""
    return split.take(torch.full((count,), sample))


def _samples(digits: Any, decide: Callable[..., Any], spec: str, threat: str) -> tuple[int, int]:
    """A sample that falls to the attack and one that holds."""
    verdicts = decide([spec], digits.model, digits.split.take(torch.arange(60)), threat)
    falls = next(v.sample for v in verdicts if v.adversarial and v.entry != CLEAN)
    return falls, next(v.sample for v in verdicts if not v.adversarial)


class _Flat(nn.Module):
    """Always sure of the labels of a split, wherever its images are moved."""

    def __init__(self, split: Split) -> None:
        super().__init__()
        self.logits = 10.0 * torch.nn.functional.one_hot(split.labels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return (
            self.logits[torch.arange(len(x)) % len(self.logits)] + 0 * x.flatten(1).sum(1)[:, None]
        )


def _right(pool: Pool) -> list[int]:
    """Correctly classified samples, most certain first: a tiny budget breaks none."""
    certainty = margins(pool.logits0, pool.split.labels)
    return [i for i in certainty.argsort(descending=True).tolist() if certainty[i] > 0]


def _wrong(pool: Pool) -> list[int]:
    """Misclassified samples, which fall to the first query."""
    return [
        i
        for i, margin in enumerate(margins(pool.logits0, pool.split.labels).tolist())
        if margin < 0
    ]


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("spec", SPECS)
def test_full_batches_are_counted_exactly(
    spec: str, digits: Any, decide: Callable[..., Any], seen: Any
) -> None:
    """Sixteen equal samples need no padding: rows through the model are the books' sums."""
    for sample in _samples(digits, decide, spec, "linf:0.1"):
        watched = seen(digits.model)
        verdicts = decide([spec], watched, _copies(digits.split, sample, 16), "linf:0.1", width=16)
        assert sum(watched.forward_rows) == sum(v.n_forward for v in verdicts)
        assert sum(watched.backward_rows) == sum(v.n_backward for v in verdicts)


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("spec", SPECS)
def test_a_lone_row_is_padded_to_four(
    spec: str, digits: Any, decide: Callable[..., Any], seen: Any
) -> None:
    """A single sample is queried in fours: the clean pass, every step and the last check."""
    for sample in _samples(digits, decide, spec, "linf:0.1"):
        watched = seen(digits.model)
        (verdict,) = decide([spec], watched, _copies(digits.split, sample, 1), "linf:0.1", width=1)
        assert watched.forward_rows == [4] * verdict.n_forward
        assert watched.backward_rows == [4] * verdict.n_backward


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("spec", SPECS)
def test_the_books_never_say_more_than_the_model_saw(
    spec: str, digits: Any, decide: Callable[..., Any], seen: Any
) -> None:
    """Samples that finish at different times: counted rows are at least half of those seen."""
    watched = seen(digits.model)
    verdicts = decide([spec], watched, digits.split.take(torch.arange(80)), "linf:0.1", width=32)
    assert (
        0.5 * sum(watched.forward_rows)
        <= sum(v.n_forward for v in verdicts)
        <= sum(watched.forward_rows)
    )
    assert (
        0.5 * sum(watched.backward_rows)
        <= sum(v.n_backward for v in verdicts)
        <= sum(watched.backward_rows)
    )
    assert max(watched.forward_rows) <= 32
    assert all(rows % 4 == 0 for rows in watched.forward_rows)


@pytest.mark.parametrize(
    ("spec", "steps", "variants"),
    [
        ("fgsm", 1, 1),
        ("pgd:steps=5", 5, 1),
        ("pgd:steps=3,restarts=3", 3, 3),
        ("apgd-t:steps=4,targets=3", 4, 3),
    ],
)
def test_what_each_sample_costs(
    spec: str, steps: int, variants: int, digits: Any, decide: Callable[..., Any]
) -> None:
    """N moves cost N+1 forwards, N backwards; a success at step n costs n+1, n; plus two."""
    for v in decide([spec], digits.model, digits.split.take(torch.arange(80)), "linf:0.1"):
        if v.entry == CLEAN:
            expected = (1, 0)
        elif not v.adversarial:
            # The check is made only where some point was worse than the clean input.
            expected = (1 + variants * (steps + 1) + (v.linf > 0), variants * steps)
        else:
            spent = v.variant * (steps + 1) + v.step + 1
            expected = (1 + spent + 1, spent - v.variant - (1 if v.step == steps else 0))
        assert (v.n_forward, v.n_backward) == expected


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("case", ["misclassified", "zero budget", "nothing worse found"])
def test_samples_that_stay_where_they_are(
    case: str, digits: Any, decide: Callable[..., Any], seen: Any
) -> None:
    """Where the clean input is the worst point, the model sees no more rows than booked."""
    pool = Pool.of(digits.split, parse_threat("linf:0.1"), digits.model, seed=0, tiles=Tiles(32, 8))
    split = digits.split.take(
        torch.tensor((_wrong(pool) if case == "misclassified" else _right(pool))[:8])
    )
    model = digits.model if case != "nothing worse found" else _Flat(split)
    watched = seen(model)
    verdicts = decide(
        ["fgsm"], watched, split, "linf:0" if case == "zero budget" else "linf:0.01", width=8
    )
    assert all(v.linf == 0 for v in verdicts)
    assert sum(watched.forward_rows) == sum(v.n_forward for v in verdicts)


def _problems(pool: Pool) -> Callable[..., Any]:
    return lambda jobs: pool.problem(torch.tensor([job.sample for job in jobs]))


def _pool(digits: Any, threat: str, tiles: Tiles) -> Pool:
    return Pool.of(digits.split, parse_threat(threat), digits.model, seed=0, tiles=tiles)


def _lane(
    spec: str,
    model: nn.Module,
    problems: Callable[..., Any],
    width: int,
    tiles: Tiles,
    **more: Any,
) -> Lane:
    """Of an attack, on a CPU."""
    device = torch.device("cpu")
    return Lane(
        ATTACKS.build(spec), model, problems, width=width, tiles=tiles, device=device, **more
    )


@pytest.mark.usefixtures("step_by_step")
def test_the_last_query_costs_no_backward(digits: Any, seen: Any) -> None:
    """A lane whose rows are all at their last step makes a forward without gradient."""
    pool = _pool(digits, "linf:0.001", Tiles(32, 8))
    watched = seen(digits.model)
    lane = _lane("pgd:steps=3", watched, _problems(pool), 8, Tiles(32, 8))
    lane.queue.extend(Job(i, 0) for i in _right(pool)[:8])
    for step in range(4):
        assert (lane.step() is not None) == (step == 3)
        assert watched.forward_rows == [8] * (step + 1)
        assert watched.backward_rows == [8] * min(step + 1, 3)
    assert lane.waiting == 0


@pytest.mark.usefixtures("step_by_step")
def test_fooled_samples_leave_at_once_and_others_take_their_place(digits: Any, seen: Any) -> None:
    """When eight rows have finished, eight waiting samples start; the batch stays full."""
    pool = _pool(digits, "linf:0.001", Tiles(32, 8))
    easy, hard = _wrong(pool)[:8], _right(pool)[:24]
    watched = seen(digits.model)
    lane = _lane("pgd:steps=4,init=clean", watched, _problems(pool), 16, Tiles(32, 8))
    lane.queue.extend(Job(i, 0) for i in [*easy, *hard])
    done = lane.step()
    assert sorted(job.sample for job in done.jobs) == sorted(easy)
    assert bool((done.book.first == 0).all())
    assert done.book.n_forward.tolist() == [1] * 8
    sizes = []
    while lane.waiting:
        done = lane.step()
        sizes.append(len(lane.jobs))
        if len(sizes) == 1:
            assert (
                sorted(lane.t.tolist()) == [1] * 8 + [2] * 8
            )  # fresh rows have made one move, the others two
    assert max(sizes) == 16
    # 8 easy x 1 + 24 hard x 5 queries; full batches of 16, and the last eight rows on their own
    assert sum(watched.forward_rows) == 8 + 24 * 5


def test_the_lane_gets_narrower_at_the_end(digits: Any, seen: Any) -> None:
    """When nothing waits any more, finished rows are not queried on."""
    pool = _pool(digits, "linf:0.001", Tiles(32, 8))
    wrong, right = _wrong(pool)[:16], _right(pool)[:8]
    watched = seen(digits.model)
    lane = _lane("pgd:steps=4,init=clean", watched, _problems(pool), 24, Tiles(32, 8))
    lane.queue.extend(Job(i, 0) for i in [*wrong, *right])
    while lane.waiting:
        lane.step()
    assert len(wrong) == 16
    assert watched.forward_rows == [24, 8, 8, 8, 8]


@pytest.mark.usefixtures("step_by_step")
def test_idle_rows_go_by_a_live_ones_clock(digits: Any) -> None:
    """Rows that pad the batch do not stay at its first step."""
    pool = _pool(digits, "linf:0", Tiles(8, 4))
    lane = _lane("pgd:steps=6,init=clean", digits.model, _problems(pool), 8, Tiles(8, 4))
    lane.queue.extend(Job(i, 0) for i in _right(pool)[:5])
    for _ in range(4):
        lane.step()
    assert lane.t.tolist() == [4] * 8


def test_a_step_follows_until_a_row_ends(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with fewer steps end first; who is left goes on, and nobody is asked twice."""
    monkeypatch.setattr(lane_module, "CPU_SECONDS", 60.0)
    pool = _pool(digits, "linf:0.001", Tiles(8, 4))
    lane = _lane("pgd:steps=9,init=clean", digits.model, _problems(pool), 8, Tiles(8, 4))
    steps = [2, 2, 5, 5, 9, 9]
    lane.queue.extend(Job(i, steps=n) for i, n in zip(_right(pool)[:6], steps, strict=True))
    ended = []
    while lane.waiting:
        done = lane.step()
        ended.append((lane.taken, done.steps, done.book.n_forward.tolist()))
    assert ended == [(3, [2, 2], [3, 3]), (3, [5, 5], [6, 6]), (4, [9, 9], [10, 10])]


@pytest.mark.parametrize(("end", "seconds", "looks"), [(50, 60.0, 0), (50, -1.0, 0), (5, -1.0, 1)])
def test_padding_is_measured_once_it_has_cost_as_much(
    end: int,
    seconds: float,
    looks: int,
    digits: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One row of eight ends early: what it costs counts from then on, and 39 rows are a measure."""
    monkeypatch.setattr(lane_module, "CPU_SECONDS", seconds)
    asked: list[int] = []
    monkeypatch.setattr(
        lane_module, "holds", lambda model, x, rows, **_: asked.append(rows) or False
    )
    pool = _pool(digits, "linf:0.001", Tiles(32, 4))
    lane = _lane("pgd:steps=60,init=clean", digits.model, _problems(pool), 8, Tiles(32, 4))
    lane.queue.extend(Job(i, steps=60 if n else end) for n, i in enumerate(_right(pool)[:8]))
    while lane.waiting:
        lane.step()
    assert asked == [7] * looks


def test_who_is_next_is_told_before_it_is_asked_for(digits: Any) -> None:
    """At each refill those that wait, as many as the lane has rows, in their order."""
    pool = _pool(digits, "linf:0.001", Tiles(8, 8))
    asked: list[list[int]] = []
    told: list[list[int]] = []
    made = _problems(pool)

    def problems(jobs: Any) -> Any:
        asked.append([job.sample for job in jobs])
        return made(jobs)

    lane = _lane(
        "fgsm",
        digits.model,
        problems,
        8,
        Tiles(8, 8),
        ahead=lambda jobs: told.append([job.sample for job in jobs]),
    )
    lane.queue.extend(Job(i, 0) for i in range(20))
    while lane.waiting:
        lane.step()
    assert asked == [[*range(8)], [*range(8, 16)], [*range(16, 20)]]
    assert told == [*asked[1:], []]


def test_two_threads_give_the_same_verdicts_for_all_widths(
    digits: Any, decide: Callable[..., Any], measured: Any
) -> None:
    """The engine's promise holds within any fixed number of threads, not only with one."""
    split, before = digits.split.take(torch.arange(16)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        equal = measured(digits.model, digits.split).equal
        runs = [decide(["fgsm"], digits.model, split, "linf:0.1", width=width) for width in (1, 16)]
    finally:
        torch.set_num_threads(before)
    assert runs[0] == runs[1] or not equal


def test_equal_ids_draw_equal_numbers(digits: Any, decide: Callable[..., Any]) -> None:
    """Copies of a sample under one id get one verdict; under other ids other starts."""
    same = _copies(digits.split, 3, 8)
    verdicts = decide(["pgd:steps=2,rate=0.1"], digits.model, same, "linf:0.02")
    assert len({v._replace(sample=0) for v in verdicts}) == 1
    apart = dataclasses.replace(same, ids=same.ids + torch.arange(8))
    assert (
        len(
            {
                v._replace(sample=0)
                for v in decide(["pgd:steps=2,rate=0.1"], digits.model, apart, "linf:0.02")
            }
        )
        == 8
    )
