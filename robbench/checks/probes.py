"""Registered attacks, run small: what one comes to on some samples, and the way it takes there."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from robbench.attacks.base import Answer, AnyRowAttack
from robbench.core.device import default_batch_size
from robbench.core.tiles import Tiles
from robbench.data.base import Split
from robbench.engine.cascade import Entry
from robbench.engine.evaluate import evaluate
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.objectives import Objective
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem


class ProbeResult(NamedTuple):
    """What an attack came to. All [N], on the CPU; samples that it was not run on are not found."""

    found: Tensor  # bool, not counting samples that are wrong without any attack
    margin: Tensor  # lowest logit margin met (to the first success), NaN where it was not run
    points: dict[int, Tensor]  # worst points by position; of PROBE at the budget only


class Trace(NamedTuple):
    """An attack's way, row by row, also past its first success."""

    values: Tensor  # [steps+1,N] what it climbs
    hits: Tensor  # [steps+1,N] bool: misclassified there


def run_attack(
    entry: Entry,
    model: nn.Module,
    split: Split,
    threat: ThreatModel,
    among: Tensor,
    *,
    seed: int,
    points: bool,
) -> ProbeResult:
    """One attack on the samples `among` [N] bool of a split; worst points are kept if asked for."""
    place, n = among.nonzero()[:, 0], len(split)
    tried = ProbeResult(torch.zeros(n, dtype=torch.bool), torch.full((n,), float("nan")), {})
    if not len(place):
        return tried
    torch.manual_seed(seed)  # for models that draw from it
    device = split.labels.device
    found = evaluate(
        model,
        split.take(place.to(device)),
        threat,
        [entry],
        seed=seed,
        width=default_batch_size(device),
        thorough=False,
        keep_points=points,
    )
    for v in found.verdicts:
        i = int(place[v.sample])
        tried.found[i], tried.margin[i] = v.adversarial, v.adv_margin
    tried.points.update({int(place[i]): x for (i, _), x in found.points.items()})
    return tried


def follow(attack: AnyRowAttack, model: nn.Module, p: Problem, tiles: Tiles) -> Trace:
    """All steps of an attack on all rows, also beyond their first success."""
    oracle, t = _Recorder(model, tiles), torch.zeros_like(p.y)
    p = attack.vary(p, t)  # as the engine starts it
    state, book, everyone = attack.start(p), blank_book(p), torch.ones_like(p.y, dtype=torch.bool)
    for _ in range(attack.steps + 1):
        oracle.on(p, book, t, everyone, attack.steps)
        state, t = attack.step(state, t, p, oracle), t + 1
    return Trace(torch.stack(oracle.values).cpu(), torch.stack(oracle.hits).cpu())


class _Recorder(ModelOracle):
    """Keeps what it answers."""

    def __init__(self, model: nn.Module, tiles: Tiles) -> None:
        super().__init__(model, tiles)
        self.values: list[Tensor] = []
        self.hits: list[Tensor] = []

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        answer = super().grad(x, objective, need)
        self.values.append(answer.value)
        self.hits.append(answer.hit)
        return answer
