"""What the benchmarks of attacks share: cases, the two sides, and the judge of their points."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry
from robbench.attacks.package import alone
from robbench.attacks.pgd import PGD
from robbench.attacks.pyautoattack import NORM_NAMES, PyAutoAttack
from robbench.catalogue.builtins import ATTACKS
from robbench.core.device import default_batch_size
from robbench.core.files import atomic_write
from robbench.core.spec import finite, short_hash
from robbench.core.tiles import Tiles, largest_tile
from robbench.data.base import Split
from robbench.data.load import load
from robbench.engine.counter import Counter
from robbench.engine.evaluate import Evaluated, evaluate
from robbench.engine.fast_model import fast_model
from robbench.engine.oracle import forward_tiles
from robbench.engine.pool import Pool
from robbench.engine.shapes import tiles_of
from robbench.losses.cross_entropy import CrossEntropy
from robbench.models.create import create
from robbench.threat.model import ThreatModel, parse_threat
from robbench.threat.problem import Problem, size_and_fits
from robbench.training.inner import Inner
from robbench.training.recipe import Recipe
from robbench.training.trainer import Trainer


class Setting(NamedTuple):
    """A case; `queries` is the limit of Square. A small CNN is trained for `epochs`, if any."""

    name: str
    title: str
    data: str
    samples: int
    queries: int
    threats: tuple[str, ...] = ("linf:8/255",)
    epochs: int = 0
    robust: bool = False


SETTINGS = {
    "a": Setting("a", "undefended small-cnn", "cifar10", 1000, 1000, epochs=5),
    "b": Setting(
        "b", "adversarially trained small-cnn", "cifar10", 500, 1000, epochs=10, robust=True
    ),
    "c": Setting("c", "pyautoattack-resnet18", "cifar10", 16, 100, ("linf:8/255", "linf:0.5/255")),
    "d": Setting(
        "d",
        "adversarially trained small-cnn",
        "cifar10[airplane,horse]",
        500,
        1000,
        epochs=10,
        robust=True,
    ),
}


class Case(NamedTuple):
    """A model and the samples it is attacked on."""

    setting: Setting
    model: Any
    split: Split

    def pool(self, threat: ThreatModel) -> Pool:
        return Pool.of(self.split, [threat], self.model, seed=0, tiles=self.tiles)

    @property
    def tiles(self) -> Tiles:
        return tiles_of([self.model], self.split.pixels(slice(0, 256)))


class Side(NamedTuple):
    """One side's run: seconds, rows through the model, and a point for each sample."""

    seconds: float
    n_forward: int
    n_backward: int
    points: Tensor


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def entries_of(specs: str) -> list[AttackEntry]:
    """Of specs joined by +."""
    return [
        AttackEntry(ATTACKS.canonical(spec), ATTACKS.build(spec)) for spec in specs.split(" + ")
    ]


class Search(NamedTuple):
    """What our attacks found, and the models asked: the one that is searched, and the one meant."""

    found: Evaluated
    asked: tuple[Counter, Counter]

    @property
    def n_forward(self) -> int:
        """Rows that passed both models, padding included."""
        return sum(model.n_forward for model in self.asked)

    @property
    def n_backward(self) -> int:
        """The same backwards."""
        return sum(model.n_backward for model in self.asked)


def search(
    entries: Sequence[AttackEntry],
    case: Case,
    threat: ThreatModel,
    precision: str,
    watched: Callable[[nn.Module], Counter] = Counter,
) -> Search:
    """As `robbench attack`: a model with folded batch norms searches, the model confirms."""
    clean, device = case.split.pixels(slice(0, 8)), case.split.labels.device
    tile = largest_tile(device, clean.shape[1:]).rows
    fast = fast_model(case.model, clean, precision=precision, compiled=False, tile=tile)
    asked = watched(fast.model), watched(case.model)
    found = evaluate(
        asked[1],
        case.split,
        threat,
        entries,
        seed=0,
        width=default_batch_size(device),
        thorough=False,
        keep_points=True,
        fast=asked[0],
        recheck=fast.recheck,
        dtype=fast.dtype,
    )
    return Search(found, asked)


def ours(specs: str, case: Case, threat: ThreatModel, precision: str) -> Side:
    clean, device = case.split.pixels(slice(None)), case.split.labels.device
    entries = entries_of(specs)
    began = now(device)
    done = search(entries, case, threat, precision)
    seconds = now(device) - began
    at = done.found.points
    points = torch.stack([at.get((i, 0), clean[i]) for i in range(len(clean))])
    return Side(seconds, done.n_forward, done.n_backward, points)


class Reference(NamedTuple):
    """One attack of pyautoattack's standard version, or all of it; targets are cut to K-1."""

    version: str
    queries: int

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        classes = p.logits0.shape[1]
        with alone(model, seed, f"pyautoattack:{self.version}"):
            peer: Any = AutoAttack(
                model,
                norm=NORM_NAMES[p.norm.name],
                eps=float(p.eps[0]),
                seed=seed,
                device=p.x0.device,
            )
            peer.apgd_targeted.n_target_classes = peer.fab.n_target_classes = min(9, classes - 1)
            peer.square.n_queries, peer.fab.targeted = self.queries, True
            peer.attacks_to_run = PyAutoAttack().attacks(
                classes
            )  # no DLR where there are too few classes for it
            one = {
                "apgd-ce": peer.apgd,
                "apgd-t": peer.apgd_targeted,
                "fab-t": peer.fab,
                "square": peer.square,
            }.get(self.version)
            points: Tensor = (
                one.perturb(p.x0, p.y)
                if one
                else peer.run_standard_evaluation(p.x0, p.y, batch_size=len(p))[0]
            )
        return points


def theirs(peer: Any, case: Case, threat: ThreatModel) -> Side:
    pool, points, counter = (
        case.pool(threat),
        case.split.pixels(slice(None)).clone(),
        Counter(case.model),
    )
    began = now(points.device)
    for rows in (~pool.wrong).nonzero()[:, 0].split(512 if points.is_cuda else 250):
        points[rows] = peer.run(counter, pool.problem(rows), seed=0).to(points)
    return Side(now(points.device) - began, counter.n_forward, counter.n_backward, points)


@torch.no_grad()
def judge(case: Case, threat: ThreatModel, within: float, points: Tensor) -> tuple[Tensor, Tensor]:
    """Broken [N], and of the samples classified correctly the perturbation's size, else inf."""
    pool, y = case.pool(threat), case.split.labels
    logits = forward_tiles(case.model, points, case.tiles)
    size, fits = size_and_fits(points, pool.problem(torch.arange(len(y), device=y.device)))
    size = torch.where(
        fits & (logits.argmax(1) != y) & torch.isfinite(logits).all(1), size, torch.inf
    )
    return pool.wrong | (size <= within * (1 + 1e-5) + 1e-7), size[~pool.wrong]


def trained(s: Setting, cache: Path, data_dir: Path | None, device: torch.device) -> nn.Module:
    """A small CNN trained on up to 15,000 samples, from the cache if it is there."""
    train = load(s.data, "train", data_dir=data_dir, limit=15_000).to(device)
    torch.manual_seed(0)
    model = create("small-cnn", train.info()).to(device)
    recipe = Recipe(
        epochs=s.epochs,
        batch_size=128,
        optimizer="adam",
        lr=0.003,
        momentum=0.9,
        weight_decay=0.0,
        schedule="one-cycle",
        augment="none",
        seed=0,
    )
    threat = parse_threat("linf:8/255")[0]
    inner = Inner(PGD(steps=7), threat) if s.robust else None
    file = cache / f"small-cnn-{short_hash([train.fingerprint(), str(recipe), s.robust])}.pt"
    if not file.is_file():
        print(
            f"training: {s.title} on {s.data}, {len(train)} samples, {s.epochs} epochs",
            file=sys.stderr,
        )
        trainer = Trainer(
            model,
            CrossEntropy(),
            train,
            train.take(torch.arange(0)),
            recipe,
            inner=inner,
            threat=threat,
        )
        for _ in range(recipe.epochs):
            trainer.run_epoch(lambda progress: None)
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    return model


def keep(file: Path, row: dict[str, Any]) -> None:
    """Write a row as JSON, at once or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(finite(row), indent=1, allow_nan=False)
    atomic_write(file, lambda path: path.write_text(text, encoding="utf-8"))
