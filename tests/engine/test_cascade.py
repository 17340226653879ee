"""Verdicts depend on sample, seed and attack only, and say what broke a sample and where."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import Attack, AttackEntry, Backend, Oracle
from robbench.core.freeze import frozen
from robbench.core.rows import Rows
from robbench.core.status import NON_FINITE, OK, UNCONFIRMED
from robbench.core.tiles import Tiles
from robbench.engine.cascade import Cascade
from robbench.engine.pool import Pool, stream_of
from robbench.engine.records import CLEAN
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

CASCADE = ["pgd:steps=2,rate=0.5,restarts=4", "apgd:steps=12", "apgd-t:steps=10,targets=4"]
THREATS = {"linf": "linf:0.12", "l2": "l2:0.6"}


@pytest.fixture(scope="module", params=sorted(THREATS))
def whole(
    request: pytest.FixtureRequest, digits: Any, decide: Callable[..., Any]
) -> tuple[str, Any, list[Any]]:
    """A threat, 90 samples, and their verdicts at width 64."""
    split = digits.split.take(torch.arange(90))
    return (
        THREATS[request.param],
        split,
        decide(CASCADE, digits.model, split, THREATS[request.param]),
    )


def test_the_run_is_no_idle_one(whole: tuple[str, Any, list[Any]]) -> None:
    """Some samples hold, some are wrong, some fall to each entry and to a second variant."""
    entries = {verdict.entry for verdict in whole[2]}
    assert (
        entries >= {CLEAN, -2, 0, 1} if whole[0].startswith("linf") else entries >= {CLEAN, -2, 0}
    )
    assert {verdict.variant for verdict in whole[2]} >= {0, 1}
    assert all(verdict.status == OK for verdict in whole[2])


@pytest.mark.usefixtures("equal_rows")
@pytest.mark.parametrize(
    "width", [1, *(pytest.param(width, marks=pytest.mark.slow) for width in (3, 40)), 17]
)
def test_widths_change_nothing(
    width: int, whole: tuple[str, Any, list[Any]], digits: Any, decide: Callable[..., Any]
) -> None:
    """Every field of every verdict is bit-equal whatever number of rows is in flight."""
    threat, split, verdicts = whole
    assert decide(CASCADE, digits.model, split, threat, width=width) == verdicts


@pytest.mark.usefixtures("equal_rows")
def test_orders_and_shards_change_nothing(
    whole: tuple[str, Any, list[Any]], digits: Any, decide: Callable[..., Any]
) -> None:
    """Every field is bit-equal for permuted samples, and for two shards run apart."""
    threat, split, verdicts = whole
    order = torch.randperm(90, generator=torch.Generator().manual_seed(3))
    moved = decide(CASCADE, digits.model, split.take(order), threat, width=17)
    assert (
        sorted(verdict._replace(sample=int(order[verdict.sample])) for verdict in moved) == verdicts
    )
    first, second = torch.arange(33), torch.arange(33, 90)
    shards = [
        decide(CASCADE, digits.model, split.take(part), threat, width=40)
        for part in (first, second)
    ]
    assert (
        shards[0] + [verdict._replace(sample=verdict.sample + 33) for verdict in shards[1]]
        == verdicts
    )


def test_seeds_change_random_starts(digits: Any, decide: Callable[..., Any]) -> None:
    """Another seed is another start: worst points differ, clean columns do not."""
    split = digits.split.take(torch.arange(24))
    a, b = (
        decide(["pgd:steps=2,rate=0.2"], digits.model, split, "linf:0.05", seed=seed)
        for seed in (0, 1)
    )
    assert [verdict[:4] for verdict in a] == [verdict[:4] for verdict in b]
    assert all(
        one.adv_margin != other.adv_margin
        for one, other in zip(a, b, strict=True)
        if not one.adversarial
    )


@pytest.mark.usefixtures("equal_rows")
def test_an_attack_draws_the_same_alone_and_in_a_cascade(
    whole: tuple[str, Any, list[Any]], digits: Any, decide: Callable[..., Any]
) -> None:
    """The second entry's result is that of it alone, and the first entry alone fails there."""
    threat, split, verdicts = whole
    alone = [decide([spec], digits.model, split, threat) for spec in CASCADE]
    for verdict in verdicts:
        runs = [run[verdict.sample] for run in alone]
        breaks = [k for k, run in enumerate(runs) if run.adversarial]
        if verdict.entry == CLEAN:
            continue
        assert verdict.entry == (breaks[0] if breaks else -2)
        if breaks:
            one = runs[breaks[0]]
            assert (verdict.variant, verdict.step, verdict.adv_pred) == (
                one.variant,
                one.step,
                one.adv_pred,
            )
            assert verdict.linf == one.linf
            assert verdict.n_forward == one.n_forward + sum(
                run.n_forward - 2 for run in runs[: breaks[0]]
            )
            assert verdict.n_backward == sum(run.n_backward for run in runs[: breaks[0] + 1])


def _plain_pgd(
    model: nn.Module, p: Problem, start: Tensor, steps: int, rate: float
) -> tuple[int, Tensor] | None:
    """One sample's step and point of success by a plain loop, padded to eight equal rows."""
    x = start
    for step in range(steps + 1):
        x = x.detach().requires_grad_()
        logits = model(x.expand(8, *x.shape[1:]))
        if int(logits[0].argmax()) != int(p.y):
            return step, x.detach()
        (grad,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits[:1], p.y), x)
        eps = float(p.eps)
        if p.norm.name == "linf":
            x = p.x0 + (x.detach() + rate * eps * grad.sign() - p.x0).clamp(-eps, eps)
        else:
            d = x.detach() + rate * eps * grad / grad.norm() - p.x0
            x = p.x0 + d * min(1.0, eps / float(d.norm()))
        x = x.clamp(0, 1)
    return None


@pytest.mark.parametrize("threat", THREATS.values())
def test_entry_variant_and_step_are_those_of_a_plain_loop(
    threat: str, digits: Any, decide: Callable[..., Any], entries: Callable[..., Any]
) -> None:
    """A plain loop over restarts and steps finds the same first success at the same point."""
    split, spec = digits.split.take(torch.arange(40)), "pgd:steps=6,restarts=3"
    verdicts = decide([spec], digits.model, split, threat)
    (entry,) = entries([spec])
    pool = Pool.of(split, parse_threat(threat), digits.model, seed=0, tiles=Tiles(32, 8))
    for verdict in verdicts:
        p = pool.problem(torch.tensor([verdict.sample]), stream_of(entry.spec))
        if verdict.clean_pred != int(p.y):
            assert (
                verdict.entry,
                verdict.variant,
                verdict.step,
                verdict.n_forward,
                verdict.n_backward,
            ) == (CLEAN, -1, 0, 1, 0)
            assert verdict.adversarial
            continue
        starts = [entry.attack.start(entry.attack.vary(p, torch.tensor([k]))).x for k in range(3)]
        tried = [_plain_pgd(digits.model, p, start, 6, 2.5 / 6) for start in starts]
        won = next((k for k, result in enumerate(tried) if result), None)
        if won is None:
            assert (verdict.entry, verdict.variant, verdict.step, verdict.adversarial) == (
                -2,
                -1,
                -1,
                False,
            )
        else:
            step, x = tried[won]  # type: ignore[misc]
            assert (verdict.entry, verdict.variant, verdict.step, verdict.adversarial) == (
                0,
                won,
                step,
                True,
            )
            assert verdict.linf == pytest.approx(float((x - p.x0).abs().max()), abs=1e-6)
            assert verdict.l2 == pytest.approx(float((x - p.x0).norm()), abs=1e-5)


def test_columns_mean_what_they_say(whole: tuple[str, Any, list[Any]], digits: Any) -> None:
    """Clean columns are the plain model's; adversarial is wrong in the budget; signs fit."""
    threat, split, verdicts = whole
    eps = parse_threat(threat)[0].eps
    with torch.no_grad():
        z = digits.model(split.pixels(slice(None)))
    for verdict in verdicts:
        label, row = int(split.labels[verdict.sample]), z[verdict.sample]
        others, p = torch.cat([row[:label], row[label + 1 :]]), row.softmax(0)
        assert verdict.clean_pred == int(row.argmax())
        assert verdict.clean_margin == pytest.approx(float(row[label] - others.max()), abs=1e-4)
        assert verdict.clean_pmargin == pytest.approx(
            float(p[label] - torch.cat([p[:label], p[label + 1 :]]).max()), abs=1e-5
        )
        assert verdict.adversarial == (verdict.adv_pred != label) == (verdict.adv_margin < 0)
        assert (verdict.adv_pmargin < 0) == verdict.adversarial
        assert verdict.adv_margin <= verdict.clean_margin
        assert (verdict.linf if threat.startswith("linf") else verdict.l2) <= eps * (
            1 + 1e-5
        ) + 1e-7


@pytest.mark.parametrize("specs", [["apgd:steps=3"], CASCADE])
def test_a_zero_budget_breaks_nothing(
    specs: list[str], digits: Any, decide: Callable[..., Any]
) -> None:
    """With eps 0 the verdict is the clean one, at one forward a sample."""
    split = digits.split.take(torch.arange(40))
    for verdict in decide(specs, digits.model, split, "linf:0"):
        right = verdict.clean_pred == int(split.labels[verdict.sample])
        assert verdict.adversarial != right
        assert (verdict.n_forward, verdict.n_backward, verdict.linf, verdict.l2) == (1, 0, 0, 0)
        assert (verdict.adv_pred, verdict.adv_margin) == (verdict.clean_pred, verdict.clean_margin)


def test_all_wrong_and_empty_splits(digits: Any, decide: Callable[..., Any]) -> None:
    """Misclassified samples cost one forward and count as adversarial; an empty split is fine."""
    split = digits.split.take(torch.arange(20))
    wrong = dataclasses.replace(split, labels=(split.labels + 5) % 10)
    keep = torch.tensor(
        [v.sample for v in decide(["fgsm"], digits.model, wrong, "linf:0.1") if v.entry == CLEAN]
    )
    verdicts = decide(CASCADE, digits.model, wrong.take(keep), "linf:0.1")
    assert len(verdicts) >= 15
    assert all(
        (v.adversarial, v.entry, v.step, v.n_forward, v.n_backward, v.status)
        == (True, CLEAN, 0, 1, 0, OK)
        for v in verdicts
    )
    assert decide(CASCADE, digits.model, split.take(torch.arange(0)), "linf:0.1") == []


# -- backends


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreign(Backend):
    """Another package's attack: a signed step and a look. Two forwards, one backward."""

    reach: float = 1.0

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        assert bool((p.logits0.argmax(1) == p.y).all())
        x = p.x0.clone().requires_grad_()
        (grad,) = torch.autograd.grad(
            torch.nn.functional.cross_entropy(model(x), p.y, reduction="sum"), x
        )
        x = (p.x0 + self.reach * p.eps.reshape(-1, 1, 1, 1) * grad.sign()).clamp(0, 1)
        return torch.where((model(x).argmax(1) != p.y).reshape(-1, 1, 1, 1), x, p.x0).detach()


@pytest.mark.parametrize("width", [7, 64])
def test_a_backend_in_the_middle_of_a_cascade(
    width: int, digits: Any, decide: Callable[..., Any], entries: Callable[..., Any]
) -> None:
    """It gets what earlier entries left, passes on what it leaves, and its queries count."""
    split = digits.split.take(torch.arange(80))
    first, last = entries(["pgd:steps=1,rate=0.2,init=clean", "apgd:steps=10"])
    cascade = [first, AttackEntry("foreign", Foreign()), last]
    verdicts = decide(cascade, digits.model, split, "linf:0.15", width=width)
    assert len(verdicts) == 80
    alone = [
        decide([entry], digits.model, split, "linf:0.15", width=width) for entry in (first, last)
    ]
    fgsm = decide(["fgsm"], digits.model, split, "linf:0.15")
    for v in verdicts:
        breaks = [
            alone[0][v.sample].adversarial,
            fgsm[v.sample].adversarial,
            alone[1][v.sample].adversarial,
        ]
        if v.entry != CLEAN:
            assert v.entry == (breaks.index(True) if any(breaks) else -2)
        if v.entry == 1:
            assert (v.variant, v.step) == (0, -1)
            # clean, two of PGD's, two of the backend's and the check of its point; backwards: one
            # of PGD's and the backend's
            assert (v.n_forward, v.n_backward) == (1 + 2 + 2 + 1, 1 + 1)
    assert {v.entry for v in verdicts} >= {0, 1, 2}


def test_a_margin_is_known_where_an_attack_has_shown_what_it_tried(
    digits: Any, decide: Callable[..., Any], entries: Callable[..., Any]
) -> None:
    """A backend that returns a clean input says nothing of it; our attack before it does."""
    split, foreign = digits.split.take(torch.arange(40)), AttackEntry("foreign", Foreign())
    alone = decide([foreign], digits.model, split, "linf:0.02")
    assert {v.adversarial for v in alone} == {True, False}
    assert all(v.known == v.adversarial for v in alone)
    assert all(
        v.known for v in decide([*entries(["fgsm"]), foreign], digits.model, split, "linf:0.02")
    )


def test_a_backends_points_are_checked(digits: Any, decide: Callable[..., Any]) -> None:
    """Points outside the budget break nothing, whatever the backend says of them."""
    split = digits.split.take(torch.arange(40))
    for verdict in decide(
        [AttackEntry("foreign", Foreign(reach=3))], digits.model, split, "linf:0.1"
    ):
        assert verdict.adversarial == (verdict.clean_pred != int(split.labels[verdict.sample]))
        assert verdict.status == OK


# -- progress and stopping


@pytest.mark.parametrize("width", [8, 64])
@pytest.mark.parametrize(
    "cascade",
    [
        ["pgd:steps=4,restarts=2", "apgd-t:steps=6,targets=3"],
        ["fgsm", "foreign", "apgd:steps=5"],
        ["foreign"],
    ],
)
def test_progress_is_monotone_and_ends_at_one(
    cascade: list[str], width: int, digits: Any, entries: Callable[..., Any]
) -> None:
    """The share done never falls, is in [0,1], ends at 1; every sample is reported once."""
    split = digits.split.take(torch.arange(100))
    built = [
        AttackEntry("foreign", Foreign()) if spec == "foreign" else entries([spec])[0]
        for spec in cascade
    ]
    with frozen(digits.model):
        ticks = list(
            Cascade(
                digits.model, split, parse_threat("linf:0.1")[0], built, seed=0, width=width
            ).run()
        )
    shares = [tick.progress for tick in ticks]
    assert all(0 <= share <= 1 for share in shares)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(shares)), shares
    assert shares[-1] == pytest.approx(1)
    assert len({round(share, 6) for share in shares}) > 3 or cascade == ["foreign"]
    assert sorted(verdict.sample for tick in ticks for verdict in tick.verdicts) == list(range(100))


@pytest.mark.parametrize("after", [0, 1, 5, 12])
def test_stop_yields_what_was_finished_and_nothing_else(
    after: int, digits: Any, entries: Callable[..., Any], decide: Callable[..., Any]
) -> None:
    """After stop() no new work begins; what is yielded equals an undisturbed run's verdicts."""
    split = digits.split.take(torch.arange(90))
    whole = decide(CASCADE, digits.model, split, "linf:0.12", width=16)
    model, calls, begun = digits.model, [], False
    with frozen(model):
        cascade = Cascade(
            model, split, parse_threat("linf:0.12")[0], entries(CASCADE), seed=0, width=16
        )
        run = cascade.run(stop=lambda: begun and (calls.append(None) or len(calls) > after))
        ticks = [next(run)]
        while not ticks[-1].entries:  # the pass over the clean inputs
            ticks.append(next(run))
        begun = True
        ticks += run
    told = [verdict for tick in ticks for verdict in tick.verdicts]
    assert len(calls) == after + 1
    assert len(told) < 90
    assert sorted(told) == [whole[verdict.sample] for verdict in sorted(told)]
    decided = {v.sample for v in whole if v.entry == CLEAN}
    assert decided <= {v.sample for v in told}
    assert all(v.adversarial for v in told)  # nobody has survived the whole cascade yet


# -- points that do not count


class Standing(Rows):
    """Where the rows stand."""

    x: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place(Attack[Standing]):
    """Goes to a place outside the ball or box, where any image is misclassified; or to NaN."""

    where: str
    steps = 1

    def start(self, p: Problem) -> Standing:
        return Standing(x=p.x0)

    def step(self, s: Standing, t: Tensor, p: Problem, q: Oracle) -> Standing:
        q.logits(s.x)
        if self.where == "ball":
            return Standing(x=(1 - p.x0).clamp(0, 1))
        return Standing(
            x=p.x0 - p.eps.reshape(-1, 1, 1, 1) if self.where == "box" else p.x0 * torch.nan
        )

    def point(self, s: Standing) -> Tensor:
        return s.x


class LastPixel(nn.Module):
    """Class 1 where the first pixel is below 0.05 or above 0.95, else class 0."""

    def forward(self, x: Tensor) -> Tensor:
        wrong = ((x[:, 0, 0, 0] < 0.05) | (x[:, 0, 0, 0] > 0.95)).to(x.dtype)
        return torch.stack([1 - wrong, wrong], 1) + 0 * x.flatten(1).sum(1)[:, None]


@pytest.mark.parametrize(("where", "status"), [("ball", OK), ("box", OK), ("nan", NON_FINITE)])
def test_points_outside_ball_or_box_or_not_finite_never_count(
    where: str, status: int, digits: Any, decide: Callable[..., Any]
) -> None:
    """A mistake outside the budget or [0,1], or with NaN logits, is not booked; status NaN."""
    images = torch.full((10, 1, 2, 2), 0.9 if where == "box" else 0.06)
    images[:, 0, 0, 0] = 0.06
    split = dataclasses.replace(
        digits.split.take(torch.arange(10)),
        images=images,
        labels=torch.zeros(10, dtype=torch.int64),
        classes=("a", "b"),
    )
    threat = {"ball": "linf:0.005", "box": "linf:0.1", "nan": "linf:0.1"}[where]
    for verdict in decide([AttackEntry("place", Place(where=where))], LastPixel(), split, threat):
        assert verdict.clean_pred == 0
        assert not verdict.adversarial
        assert verdict.status == status
        assert verdict.linf == 0
        assert verdict.n_forward >= 3


class Fickle(nn.Module):
    """Right when it is looked at without gradient, wrong when an attack asks for one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return -logits if x.requires_grad else logits


def test_successes_that_cannot_be_confirmed_are_not_counted(
    digits: Any, decide: Callable[..., Any]
) -> None:
    """A model that changes its mind gets status 2, and its samples are not adversarial."""
    split = digits.split.take(torch.arange(30))
    verdicts = decide(["fgsm", "pgd:steps=2"], Fickle(digits.model), split, "linf:0.001")
    for verdict in verdicts:
        if verdict.clean_pred == int(split.labels[verdict.sample]):
            assert (
                verdict.status,
                verdict.adversarial,
                verdict.entry,
                verdict.variant,
                verdict.step,
            ) == (
                UNCONFIRMED,
                False,
                -2,
                -1,
                -1,
            )
            assert verdict.adv_pred == verdict.clean_pred


class NaNAway(nn.Module):
    """NaN wherever the image is not its clean self (all pixels multiples of 1/16)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        moved = ((x * 16).round() != x * 16).flatten(1).any(1)
        return torch.where(moved[:, None], torch.nan, logits)


def test_nan_logits_are_no_proof_of_a_mistake(digits: Any, decide: Callable[..., Any]) -> None:
    """NaN everywhere but at the data does not break a model, and the status says so."""
    split = digits.split.take(torch.arange(30))
    for verdict in decide(
        ["fgsm", "apgd:steps=3", "pgd:steps=3"], NaNAway(digits.model), split, "linf:0.1"
    ):
        right = verdict.clean_pred == int(split.labels[verdict.sample])
        assert verdict.adversarial != right
        assert verdict.status == (NON_FINITE if right else OK)
