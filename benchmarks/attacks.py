"""Our attacks against those of four other packages: time, queries, verdicts, side by side in one process, alternating.

    python benchmarks/attacks.py [--data-dir DIR] [--cache DIR] [--cases a,b,c,d] [--duels pgd,ddn] [--samples N] [--json FILE]

Cases: (a) an undefended small CNN on CIFAR-10; (b) the same, adversarially trained; (c) pyautoattack-resnet18, undefended, where
nothing holds at 8/255, so also at 0.5/255; (d) an adversarially trained binary classifier, airplane against horse.

Both sides of a duel have the same settings, samples, frozen model, threads and full float32 kernels. The peers run in batches of
250 (512 on a GPU) on samples that the model gets right: pyautoattack sorts them out by itself, the other packages are
given no others, and the forward that this takes is counted. Our side is what `robbench attack` runs. Rows that pass the model
are counted by a wrapper around it, padding included. Every point of either side is judged again in float32: inside the
box, inside the budget, misclassified. Where the smallest perturbation is sought, a sample is robust if none was found within
the budget that the table names, and medians are over all samples that the model gets right (not found = infinite).

Times depend on the machine, so only the ratios of one run mean anything: median and range of the rounds' ratios, ours / peer.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from robbench.attacks.base import Backend
from robbench.attacks.foolbox import alone
from robbench.attacks.pgd import PGD
from robbench.attacks.pyautoattack import NORM_NAMES, PyAutoAttack
from robbench.core.builtins import ATTACKS
from robbench.core.config import TrainConfig
from robbench.core.device import default_batch_size, deterministic, find_device, tile_rows
from robbench.core.errors import RobbenchError, UserError
from robbench.data.base import Split
from robbench.data.load import load
from robbench.engine.cascade import Cascade, Entry
from robbench.engine.counter import Counter
from robbench.engine.guard import frozen
from robbench.engine.search import search_model
from robbench.losses.cross_entropy import CrossEntropy
from robbench.models.create import create
from robbench.results.provenance import provenance
from robbench.results.statistics import mcnemar_exact
from robbench.threat.model import ThreatModel, parse_threat
from robbench.threat.problem import Problem, size_and_fits
from robbench.training.step import Inner
from robbench.training.trainer import Recipe, Trainer

WITHIN = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0, "l0": 24.0}  # where a smallest perturbation counts as a broken sample
PGD_20 = "pgd:steps=20,rate=0.1"
CW_9 = "cw:search_steps=9,iterations=100,rate=0.01,c=0.001"


class Duel(NamedTuple):
    """One of our specs (several joined by +) against a peer's. `smallest`: the norm to be small in, without a budget.

    {queries} and {alpha}, a tenth of eps, are filled in.
    """

    name: str
    ours: str
    peer: str
    smallest: str | None = None


AA = ["apgd-ce:steps=100", "apgd-t:steps=100,targets=9", "fab-t:iterations=100,targets=9", "square:steps={queries}"]
DUELS = [
    Duel("apgd-ce", AA[0], "pyautoattack:apgd-ce"),
    Duel("apgd-t", AA[1], "pyautoattack:apgd-t"),
    Duel("fab-t", AA[2], "pyautoattack:fab-t"),
    Duel("square", AA[3], "pyautoattack:square"),
    Duel("autoattack", " + ".join(AA), "pyautoattack:standard"),
    Duel("pgd", PGD_20, "torchattacks:PGD,options=(steps=20,alpha={alpha})"),
    Duel("pgd", PGD_20, "foolbox:LinfPGD,options=(steps=20,rel_stepsize=0.1)"),
    Duel("deepfool", "deepfool:steps=50", "torchattacks:DeepFool,options=(steps=50)", "l2"),
    Duel("deepfool", "deepfool:steps=50", "foolbox:L2DeepFoolAttack,options=(steps=50)", "l2"),
    Duel("deepfool", "deepfool:steps=50", "foolbox:LinfDeepFoolAttack,options=(steps=50)", "linf"),
    Duel("cw", "cw:search_steps=1,iterations=100,rate=0.01,c=1", "torchattacks:CW,options=(steps=100,lr=0.01,c=1)", "l2"),
    Duel("cw", CW_9, "foolbox:L2CarliniWagnerAttack,options=(steps=100)", "l2"),
    Duel("cw", CW_9, "adv-lib:carlini_wagner_l2,options=(max_iterations=100)", "l2"),
    Duel("ddn", "ddn:steps=100", "adv-lib:ddn,options=(steps=100,levels=none)", "l2"),
    *(Duel("fmn", "fmn:steps=100", "adv-lib:fmn,options=(steps=100)", norm) for norm in ("l2", "linf", "l1", "l0")),
]


class Case(NamedTuple):
    """A model and the samples it is attacked on; `queries` is what Square may spend on one."""

    name: str
    title: str
    model: Any
    split: Split
    threats: Sequence[str]
    queries: int


class Side(NamedTuple):
    """One side's run: seconds, rows through the model, and a point for each sample."""

    seconds: float
    forwards: int
    backwards: int
    points: Tensor


# -- the two sides -----------------------------------------------------------------------------------------------------------


def ours(specs: str, case: Case, threat: ThreatModel, precision: str) -> Side:
    """What `robbench attack` does: batch-norms folded, the model itself confirms."""
    device = case.split.labels.device
    entries = [Entry(ATTACKS.canonical(spec), ATTACKS.build(spec)) for spec in specs.split(" + ")]
    with clock(device) as seconds:
        width, tile = default_batch_size(device), tile_rows(device)
        search = search_model(case.model, case.split.pixels(slice(0, 8)), precision=precision, compiled=False, tile=tile)
        counters = Counter(case.model), Counter(search.model)
        cascade = Cascade(counters[0], case.split, threat, entries, seed=0, width=width, search=counters[1],
                          recheck=search.recheck, keep_points=True)  # fmt: skip
        found = {v.sample: x for tick in cascade.run() for v, x in zip(tick.verdicts, tick.points, strict=True)}
    clean = case.split.pixels(slice(None))
    points = torch.stack([clean[i] if (x := found[i]) is None else x for i in range(len(clean))])
    return Side(seconds(), sum(c.forwards for c in counters), sum(c.backwards for c in counters), points)


class Reference(Backend):
    """One attack of pyautoattack, or all; they look for misclassified samples by themselves."""

    def __init__(self, version: str, queries: int) -> None:
        self.version, self.queries = version, queries

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        from pyautoattack import AutoAttack

        classes = p.logits0.shape[1]
        with alone(model, seed, f"pyautoattack:{self.version}"):
            peer = AutoAttack(model, norm=NORM_NAMES[p.norm.name], eps=float(p.eps[0]), seed=seed, device=p.x0.device)
            peer.apgd_targeted.n_target_classes = peer.fab.n_target_classes = min(9, classes - 1)
            peer.square.n_queries, peer.fab.targeted = self.queries, True
            if self.version == "standard":
                peer.attacks_to_run = PyAutoAttack().attacks(classes)
                return peer.run_standard_evaluation(p.x0, p.y, batch_size=len(p))[0]
            one = {"apgd-ce": peer.apgd, "apgd-t": peer.apgd_targeted, "fab-t": peer.fab, "square": peer.square}
            return one[self.version].perturb(p.x0, p.y)


def theirs(peer: Any, case: Case, threat: ThreatModel) -> Side:
    device, counter = case.split.labels.device, Counter(case.model)
    batch = 250 if device.type == "cpu" else 512
    with clock(device) as seconds:
        points = case.split.pixels(slice(None)).clone()
        own = isinstance(peer, Reference)
        rows = torch.arange(len(points), device=device)
        with torch.no_grad():
            logits = torch.zeros(len(points), len(case.split.classes), device=device)
            if not own:
                logits = torch.cat([counter(x) for x in points.split(batch)])
                rows = (logits.argmax(1) == case.split.labels).nonzero()[:, 0]
        for some in rows.split(batch):
            points[some] = peer.run(counter, problem(case, threat, some, logits), seed=0).to(points)
    return Side(seconds(), counter.forwards, counter.backwards, points)


def problem(case: Case, threat: ThreatModel, rows: Tensor, logits: Tensor) -> Problem:
    x0 = case.split.pixels(rows)
    eps = torch.full((len(rows),), threat.eps, dtype=x0.dtype, device=x0.device)
    return Problem(x0=x0, y=case.split.labels[rows], target=torch.full_like(rows, -1), eps=eps, key=rows, index=rows,
                   logits0=logits[rows], norm=threat.geometry)  # fmt: skip


# -- a duel ------------------------------------------------------------------------------------------------------------------


def fight(case: Case, duel: Duel, threat: ThreatModel, rounds: int, precision: str) -> dict[str, Any]:
    """Alternate the two sides, then judge the points of the first round: a row of the table."""
    within = WITHIN[duel.smallest] if duel.smallest else threat.eps
    values = {"queries": case.queries, "alpha": threat.eps / 10}
    specs, (package, _, version) = duel.ours.format(**values), duel.peer.format(**values).partition(":")
    row = {"case": case.name, "duel": duel.name, "ours": specs, "peer": f"{package}:{version}", "threat": str(threat),
           "within": within, "samples": len(case.split)}  # fmt: skip
    runs: dict[str, list[Side]] = {"ours": [], "peer": []}
    try:
        peer = Reference(version, case.queries) if package == "pyautoattack" else ATTACKS.build(row["peer"])
        sides: dict[str, Callable[[], Side]] = {
            "ours": lambda: ours(specs, case, threat, precision),
            "peer": lambda: theirs(peer, case, threat),
        }
        for n in range(rounds):
            for name in sides if n % 2 == 0 else reversed(sides):
                runs[name].append(sides[name]())
    except RobbenchError as error:
        row["note"] = f"peer cannot: {error}" if runs["ours"] else str(error)
    broken = {}
    for name, done in runs.items():
        if done:
            broken[name], sizes = judge(case, threat, within, done[0].points)
            row[name] = {
                "seconds": [run.seconds for run in done],
                "forwards": done[0].forwards / len(case.split),
                "backwards": done[0].backwards / len(case.split),
                "robust": int((~broken[name]).sum()),
                "median_size": float(sizes.median()) if duel.smallest and len(sizes) else None,
            }
    if len(broken) == 2:
        row["only_ours"] = int((broken["ours"] & ~broken["peer"]).sum())
        row["only_peer"] = int((broken["peer"] & ~broken["ours"]).sum())
        row["p"] = mcnemar_exact(row["only_ours"], row["only_peer"])
        row["ratios"] = [a.seconds / b.seconds for a, b in zip(runs["ours"], runs["peer"], strict=False)]
    return row


@torch.no_grad()
def judge(case: Case, threat: ThreatModel, within: float, points: Tensor) -> tuple[Tensor, Tensor]:
    """Broken [N], and of the samples that the model gets right the size of the perturbation, inf where the point is none."""
    rows = torch.arange(len(points), device=points.device)
    tile = tile_rows(points.device)
    clean, moved = (forward_tiles(case.model, x, tile, TILE_STEP) for x in (case.split.pixels(rows), points))
    size, fits = size_and_fits(points, problem(case, threat, rows, clean))
    right = clean.argmax(1) == case.split.labels
    size = torch.where(fits & (moved.argmax(1) != case.split.labels) & torch.isfinite(moved).all(1), size, torch.inf)
    return ~right | (size <= within * (1 + 1e-5) + 1e-7), size[right]


@contextlib.contextmanager
def clock(device: torch.device) -> Iterator[Callable[[], float]]:
    began, ended = time.perf_counter(), math.nan
    yield lambda: ended - began
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    ended = time.perf_counter()


def show(console: Console, case: Case, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=f"({case.name}) {case.title}: {len(case.split)} samples; ours / peer", title_justify="left")
    for column in ("attack", "peer", "threat", "seconds", "time ratio (range)", "forwards", "backwards", "robust", "differ: ours+peer (p)",
                   "median size"):  # fmt: skip
        table.add_column(column)
    for row in rows:
        a, b = row.get("ours_side"), row.get("peer_side")
        ...
    console.print(table)
