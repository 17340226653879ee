"""Bugs of other tools that no other test here would notice, numbered as in our list."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import Answer, Attack, AttackEntry, Oracle
from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.rows import Rows
from robbench.core.tiles import Tiles
from robbench.data import load as data
from robbench.data.base import Data, DataInfo, Split, Table, sample_ids
from robbench.engine.cascade import Cascade
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.engine.records import Verdict
from robbench.losses.cross_entropy import CrossEntropy
from robbench.objectives import Objective
from robbench.testing import SHAPE, judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem, size_and_fits
from robbench.training.forward import Forward
from robbench.training.inner import Inner
from robbench.training.notes import Notes
from robbench.training.recipe import Recipe
from robbench.training.step import TrainStep
from robbench.training.trainer import Trainer
from robbench.training.validation import VALIDATION_ATTACK

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = {
    "a3": "rounds=3",
    "fgsm": "",
    "fab": "iterations=3",
    "fab-t": "iterations=3,restarts=2",
    "cw": "iterations=3,search_steps=2",
    "hopskipjump": "steps=40,evals=5",
    "minimal": "attack=(pgd:steps=2),rounds=3",
    "eot": "attack=(apgd:steps=3),draws=2",
    "transfer": "source=toy,attack=(pgd:steps=3)",
    "apgd": "steps=6,large_eps=false",
    "square": "steps=6,restarts=2",
    "tsta": "iterations=3,probe=2,targets=2",
}
ELSEWHERE = {"foolbox", "torchattacks", "adv-lib", "pyautoattack"}  # other packages' code
MORE = [
    "pgd:steps=3,init=gaussian",
    "apgd:steps=5,objective=dlr-targeted,large_eps=false",
    "noise:steps=3,kind=surface",
]
ALIASES = {"fgsm-rs", "n-fgsm"}  # and apgd-*
NAMES = [
    name
    for name in sorted(ATTACKS.entries.keys() - ELSEWHERE - ALIASES)
    if not name.startswith("apgd-")
]
SPECS = [*(f"{name}:{OPTIONS.get(name, 'steps=4')}".rstrip(":") for name in NAMES), *MORE]
EVERYWHERE = [(spec, norm) for spec in SPECS for norm in sorted(ATTACKS.build(spec).norms)]
SMALL = {
    "linf": 2e-4,
    "l2": 2e-3,
    "l1": 4e-3,
    "l0": 2,
    "l0px": 2,
}  # less than the deviation of Gaussian starts
LARGE = {"linf": 0.3, "l2": 2.0, "l1": 8.0, "l0": 8, "l0px": 8}


def _build(spec: str) -> Attack[Any]:
    """An attack of ours; a transfer comes from the toy model."""
    attack = ATTACKS.build(spec).equip(lambda name: toy_model())
    assert isinstance(attack, Attack)
    return attack


def _problem(norm: str, eps: float, device: str = "cpu") -> tuple[nn.Module, Problem]:
    """Eight rows the toy model gets right, half of the pixels at the box, a budget each."""
    model, split = toy_model(), toy_split(40)
    x = split.pixels(slice(None))
    x = torch.where(torch.arange(36).reshape(SHAPE) % 2 == 0, x.round(), x)
    with torch.no_grad():
        logits = model(x)
    rows = torch.arange(8)
    p = Problem(
        x0=x[:8],
        y=logits[:8].argmax(1),
        target=torch.full_like(rows, -1),
        key=keyed.mix(rows),
        index=rows,
        eps=eps * torch.linspace(1, 2, 8),
        logits0=logits[:8],
        norm=NORMS[norm],
    )
    model.requires_grad_(False).to(device)
    return model, p.map(lambda column: column.to(device))


class Spy(Oracle):
    """Passes questions on; keeps the points asked about, and each answer with a copy."""

    def __init__(self, q: Oracle) -> None:
        self.q, self.points = q, list[Tensor]()
        self.kept: list[tuple[Tensor, Tensor]] = []

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._keep(x, self.q.logits(x))  # type: ignore[no-any-return]

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        return self._keep(x, self.q.grad(x, objective, need))  # type: ignore[no-any-return]

    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._keep(x, self.q.jacobian(x, classes, need))  # type: ignore[no-any-return]

    def _keep(self, x: Tensor, answer: Any) -> Any:
        self.points.append(x.clone())
        self.kept += [(tensor, tensor.clone()) for tensor in answer]
        return answer


def _tensors(rows: Rows) -> list[Tensor]:
    """All tensors of rows, nested ones included."""
    found: list[Tensor] = []
    rows.map(lambda column: found.append(column) or column)  # type: ignore[func-returns-value]
    return found


def _drive(attack: Attack[Any], model: nn.Module, p: Problem) -> Spy:
    """An attack's first variant to its last query; all its inputs are in `kept`, with copies."""
    p = attack.vary(p, torch.zeros_like(p.y))
    oracle = ModelOracle(model, tiles=Tiles(32, 8), draws=attack.draws)
    spy, book, t = Spy(oracle), blank_book(p), torch.zeros_like(p.y)
    spy.kept += [(tensor, tensor.clone()) for tensor in _tensors(p)]
    s = attack.start(p)
    for _ in range(attack.steps + 1):
        spy.kept += [(tensor, tensor.clone()) for tensor in (*_tensors(s), t)]
        oracle.bind(p, book, t, torch.ones_like(p.y, dtype=torch.bool), attack.steps)
        s, t, book = attack.step(s, t, p, spy), t + 1, oracle.book
        if (done := attack.done(s)) is not None and bool(done.all()):
            break
    return spy


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (a != a) & (b != b)).all())


# -- labels


class Labelled(Data):
    """Data with any labels."""

    labels: Any

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        return Table(self.labels, tuple("abcd"), lambda rows: np.zeros((len(rows), 3), np.float32))


INDICES = np.arange(8) % 4


@pytest.mark.parametrize(
    "labels",
    [np.eye(4, dtype=np.int64)[INDICES], INDICES.astype(np.float64)],
    ids=["one-hot", "float"],
)
def test_labels_that_are_no_class_indices_are_refused(
    labels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug 3: one tool takes one-hot labels, another indices; here non-indices are one error."""
    monkeypatch.setattr(Labelled, "labels", labels, raising=False)
    monkeypatch.setattr(data, "find_source", lambda base, folder: Labelled())
    with pytest.raises(UserError, match="label"):
        data.load("plug-in", "test")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_labels_may_be_any_integers(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug 3: they arrive as the int64 that indexing needs."""
    monkeypatch.setattr(Labelled, "labels", INDICES.astype(dtype), raising=False)
    monkeypatch.setattr(data, "find_source", lambda base, folder: Labelled())
    labels = data.load("plug-in", "test").labels
    assert labels.dtype == torch.int64
    assert labels.tolist() == INDICES.tolist()


# -- every attack


@pytest.mark.few(3)
@pytest.mark.parametrize(("spec", "norm"), EVERYWHERE)
def test_no_attack_asks_outside_box_or_budget(spec: str, norm: str) -> None:
    """Bug 7: also at a random start; minimum-norm may leave the budget, never the box.

    The engine does not book such points, so all that would show is a weaker attack.
    """
    attack, (model, p) = _build(spec), _problem(norm, SMALL[norm])
    points = _drive(attack, model, p).points
    assert points
    for x in points:
        assert bool(((x >= 0) & (x <= 1)).all())
        assert attack.goal == "minimum-norm" or bool(size_and_fits(x, p)[1].all())
    assert any(bool((x != p.x0).any()) for x in points)


@pytest.mark.parametrize(("spec", "norm"), EVERYWHERE)
def test_no_attack_writes_to_what_it_was_handed(spec: str, norm: str) -> None:
    """Bugs 13 and 33: a run leaves problem, state and the oracle's answers unchanged."""
    attack, (model, p) = _build(spec), _problem(norm, LARGE[norm])
    before = [weight.clone() for weight in model.parameters()]
    for handed, copy in _drive(attack, model, p).kept:
        assert _same(handed, copy)
    assert all(
        weight.grad is None and torch.equal(weight, old)
        for weight, old in zip(model.parameters(), before, strict=True)
    )


def _first_step(attack: Attack[Any], model: nn.Module, p: Problem) -> Tensor:
    """The points after a query and a move. Attacks do not branch, so this is all their code."""
    p, t = attack.vary(p, torch.zeros_like(p.y)), torch.zeros_like(p.y)
    oracle, s = ModelOracle(model, tiles=Tiles(32, 8), draws=attack.draws), attack.start(p)
    oracle.bind(p, blank_book(p), t, torch.ones_like(p.y, dtype=torch.bool), attack.steps)
    s = attack.step(s, t, p, oracle)
    attack.done(s)
    return attack.point(s)


@pytest.mark.parametrize(
    ("spec", "norm"),
    # FAB's way to a hyperplane is done after a few passes, and the host looks when.
    [(spec, norm) for spec, norm in EVERYWHERE if norm == "l1" or not spec.startswith("fab")],
)
def test_every_attack_runs_where_the_tensors_are(spec: str, norm: str) -> None:
    """Bug 32: on torch's meta device any tensor made elsewhere, or read by the host, raises."""
    model, p = _problem(norm, LARGE[norm], "meta")
    attack = ATTACKS.build(spec).equip(lambda name: model)
    assert isinstance(attack, Attack)
    assert _first_step(attack, model, p).device.type == "meta"


class OnTheHost(PGD):
    """Makes a tensor without saying where."""

    def step(self, s: Any, t: Tensor, p: Problem, q: Oracle) -> Any:
        moved = super().step(s, t, p, q)
        return moved.replace(x=moved.x + torch.zeros(moved.x.shape))


def test_a_tensor_made_elsewhere_would_be_noticed() -> None:
    """The meta device can tell: an attack that makes a CPU tensor raises there, not on the CPU."""
    assert _first_step(OnTheHost(steps=1), *_problem("linf", 0.1)).device.type == "cpu"
    model, p = _problem("linf", 0.1, "meta")
    with pytest.raises(RuntimeError, match="device"):
        _first_step(OnTheHost(steps=1), model, p)


class Anywhere(nn.Module):
    """Right at one image only: any move is a mistake, with a gradient away from the image."""

    def __init__(self, x0: Tensor) -> None:
        super().__init__()
        self.x0 = x0

    def forward(self, x: Tensor) -> Tensor:
        d = (x - self.x0).flatten(1)
        away = 1000 * (d.abs() + 0.01 * d).sum(1) - 0.01
        return torch.stack([torch.zeros_like(away), away, away - 1, away - 2], 1)


def _grey(n: int) -> Split:
    """The same grey image n times, of class 0."""
    images, labels = (
        torch.full((n, *SHAPE), 128, dtype=torch.uint8),
        torch.zeros(n, dtype=torch.int64),
    )
    ids = torch.from_numpy(sample_ids(images.numpy(), labels.numpy()))
    return Split(images, labels, ids, tuple("abcd"), "grey", "test")


BACKENDS = [
    (f"pyautoattack:version={version}", norm)
    for version in ("square", "apgd-ce")
    for norm in ("linf", "l2")
]


@pytest.mark.parametrize(("spec", "norm"), EVERYWHERE + BACKENDS)
def test_a_batch_may_be_fooled_all_at_once(spec: str, norm: str) -> None:
    """Bug 20: every row of every batch falls at once; all samples are reported, broken."""
    if spec.startswith("pyautoattack"):
        pytest.importorskip("pyautoattack")
    split = _grey(20)
    model = Anywhere(split.pixels(slice(0, 1)))
    attack = ATTACKS.build(spec).equip(lambda name: model)
    # Every entry of the image is alike: who moves one of them moves them all.
    eps = 36 if norm in ("l0", "l0px") else LARGE[norm]
    verdicts = judge(spec, model, split, parse_threat(f"{norm}:{eps}")[0], attack=attack)
    assert [v.sample for v in verdicts] == list(range(20))
    assert all(v.adversarial and v.status == 0 for v in verdicts)


@pytest.mark.parametrize("spec", SPECS)
def test_an_attack_keeps_nothing_from_one_run_to_the_next(spec: str) -> None:
    """Bug 24: an attack that has been run elsewhere gives the verdicts of a fresh one."""
    norms, split = sorted(ATTACKS.build(spec).norms), toy_split(12)
    threat = parse_threat(f"{norms[0]}:{LARGE[norms[0]] / 4}")[0]
    used = _build(spec)
    judge(
        spec,
        toy_model(seed=1),
        toy_split(9, seed=1),
        parse_threat(f"{norms[-1]}:{LARGE[norms[-1]]}")[0],
        attack=used,
    )
    assert judge(spec, toy_model(), split, threat, attack=used) == judge(
        spec, toy_model(), split, threat, attack=_build(spec)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fails(PGD):
    """PGD that raises at its third query."""

    def step(self, s: Any, t: Tensor, p: Problem, q: Oracle) -> Any:
        if int(t.max()) == 2:
            raise ZeroDivisionError("of mine")
        return super().step(s, t, p, q)


def test_an_attack_that_raises_makes_no_sample_robust() -> None:
    """Bug 25: its exception ends the run; samples it has not decided get no verdict."""
    model, split, threat = toy_model(), toy_split(40), parse_threat("linf:0.001")[0]
    run = Cascade(
        model, split, threat, [AttackEntry("fails", Fails(steps=4))], seed=0, width=16
    ).run()
    told: list[Verdict] = []
    with frozen(model), pytest.raises(ZeroDivisionError, match="of mine"):
        told.extend(verdict for tick in run for verdict in tick.verdicts)
    assert all(v.adversarial and v.step < 2 for v in told)
    assert len(told) < len(split)


# -- numbers


class Half(nn.Module):
    """Half-precision answers: three equal logits at the image, 12 apart at l2 distance 1."""

    def __init__(self, x0: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.x0, self.dtype = x0, dtype

    def forward(self, x: Tensor) -> Tensor:
        d = 2 * (x - self.x0).flatten(1).sum(1)
        return torch.stack([0 * d, d, 0 * d, 0 * d - 1], 1).to(self.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("spec", "threat"),
    [
        ("fgsm:objective=dlr", "linf:0.1"),
        ("mi-fgsm:steps=2,objective=dlr", "l2:1"),
        ("ddn:steps=5", "l2:inf"),
    ],
)
def test_a_model_may_answer_in_half_precision(spec: str, threat: str, dtype: torch.dtype) -> None:
    """Bug 17: in float16 1e-12 is zero, DLR is 0/0, and exp(12) overflows."""
    split = _grey(3)
    verdicts = judge(spec, Half(split.pixels(slice(0, 1)), dtype), split, parse_threat(threat)[0])
    assert all(v.adversarial and v.status == 0 for v in verdicts)


@pytest.mark.parametrize("keep_points", [False, True])
def test_decided_samples_leave_nothing_in_memory(keep_points: bool) -> None:
    """Bug 35: a long run does not keep an image per sample; points go once reported."""
    model, split = toy_model(), toy_split(40)
    entries = [AttackEntry(spec, ATTACKS.build(spec)) for spec in ("fgsm", "apgd:steps=4")]
    threats = parse_threat("linf:0.05,0.1")
    with frozen(model):
        cascade = Cascade(model, split, threats, entries, seed=0, width=16, keep_points=keep_points)
        told = sum(len(tick.verdicts) for tick in cascade.run())
    assert told == 80
    for record in cascade.ledger.records:
        assert not any(isinstance(value, Tensor) for value in vars(record).values())
        assert not record.outcomes


# -- training


def _step(model: Any, split: Split, threat: str, attack: Any, device: str = "cpu") -> TrainStep:
    index = torch.arange(len(split))
    inner = Inner(attack, parse_threat(threat)[0])
    columns = (
        column.to(device) for column in (split.pixels(index), split.labels, index, split.ids)
    )
    x, y, index, key = columns
    return TrainStep(
        model.to(device),
        x,
        y,
        index,
        key=key,
        inner=inner,
        epoch=0,
        progress=0.5,
        notes=Notes(len(split), torch.device(device)),
        teacher=Forward(model),
    )


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("attack", ["pgd:steps=2", "pgd:steps=2,init=gaussian", "fgsm"])
def test_an_inner_attack_without_a_budget_is_none(attack: str, norm: str) -> None:
    """Bug 31: at eps = 0 the points are the clean ones, bit for bit: clean training."""
    if norm in ATTACKS.build(attack).norms:
        step = _step(toy_model(), toy_split(16), f"{norm}:0", ATTACKS.build(attack))
        assert torch.equal(step.adversary().x, step.x)
        assert torch.equal(step.out.logits, step.clean.logits)


def test_validation_is_a_mean_over_samples() -> None:
    """Bug 28: robust accuracy and margins are per sample, whatever the batches."""
    model, split, threat = (
        toy_model(),
        toy_split(150, seed=1),
        parse_threat("linf:0.05")[0],
    )  # more than are in flight
    recipe = Recipe(
        epochs=1,
        batch_size=24,
        optimizer="sgd",
        lr=0.1,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        augment="none",
        seed=3,
    )
    found = Trainer(
        model, CrossEntropy(), toy_split(24), split, recipe, inner=None, threat=threat
    ).validate()
    verdicts = judge("validation", model, split, threat, seed=3, attack=VALIDATION_ATTACK)
    correct = [v.clean_pred == int(split.labels[v.sample]) for v in verdicts]
    robust = [not v.adversarial for v in verdicts]
    assert 0 < sum(robust) < sum(correct) < 150
    assert found.clean_accuracy == sum(correct) / 150
    assert found.robust_accuracy == sum(robust) / 150
    assert math.isclose(found.adv_margin, sum(v.adv_margin for v in verdicts) / 150, rel_tol=1e-9)


# FAB's moves, which dyart makes, ask the device for numbers.
@pytest.mark.parametrize("name", sorted(LOSSES.entries.keys() - {"dyart"}))
def test_every_loss_runs_where_the_tensors_are(name: str) -> None:
    """Bug 32: likewise for losses, with what they remember, and for the gradient of the weights."""
    loss, classes = LOSSES.build(name), 2 if name == "differential" else 4
    split = toy_split(16, classes)
    model = loss.prepare(toy_model(classes), DataInfo(SHAPE, split.classes, (0.5,), (0.25,)))
    inner: Any = ATTACKS.build(loss.inner or "pgd")
    step = _step(model, split, "linf:0.1", dataclasses.replace(inner, steps=1), "meta")
    step.notes.inspected.add(step.epoch)  # whether points are inside asks for numbers
    values = loss(step)
    values.mean().backward()  # type: ignore[no-untyped-call]
    assert (values.device.type, tuple(values.shape)) == ("meta", (16,))
