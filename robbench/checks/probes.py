"""Probes: short runs of registered attacks, what they find and the trajectories they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robbench.attacks.base import Answer, Attack, AttackEntry
from robbench.catalogue.builtins import ATTACKS
from robbench.core.device import default_batch_size
from robbench.core.errors import UserError
from robbench.core.tiles import Tiles
from robbench.data.base import Split
from robbench.engine.counter import Counter
from robbench.engine.evaluate import evaluate
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.models.base import interface_of
from robbench.objectives import Objective, margins_left
from robbench.threat.model import ThreatModel, classes_in_play
from robbench.threat.problem import Problem

PROBE = "pgd:steps=20"
PROBE_MARGIN = f"{PROBE},objective=margin"


class ProbeResult(NamedTuple):
    """What a probe found. All [N], on the CPU; samples it was not run on are not found."""

    found: Tensor  # bool, not counting samples that are wrong without any attack
    margin: Tensor  # lowest logit margin met (to the first success), NaN where it was not run
    points: dict[int, Tensor]  # worst points by position; empty unless they were asked for


class Trace(NamedTuple):
    """The trajectory of an attack on N rows, also past their first success.

    On the CPU, but for the points.
    """

    values: Tensor  # [steps+1,N] the objective it climbs
    margins: Tensor  # [steps+1,N] logit margins left
    hits: Tensor  # [steps+1,N] bool: misclassified there
    points: Tensor  # [N,*] where it ends


class Probes:
    """Attacks on a model at some samples; the same probe is run once.

    `charge(queries)` is called before so many forwards and backwards are made; it may raise.
    `transfer_source()` gives the model that transfer attacks use; it may raise.
    """

    def __init__(
        self,
        model: Counter,
        split: Split,
        *,
        seed: int,
        charge: Callable[[int], None],
        transfer_source: Callable[[], nn.Module],
    ) -> None:
        self._model = model
        self._split = split
        self._seed = seed
        self._charge = charge
        self._transfer_source = transfer_source
        self._width = len(split.classes) + interface_of(model.model).outside
        self._results: dict[tuple[Any, ...], ProbeResult] = {}

    def run(
        self,
        spec: str,
        threat: ThreatModel,
        among: Tensor,
        tiles: Tiles,
        *,
        model: nn.Module | None = None,
        points: bool = False,
    ) -> ProbeResult:
        """Run a registered attack on the samples `among` [N] bool, on another model if given.

        `points`: keep the worst points. Raises UserError where the attack does not fit the norm or
        the inputs.
        """
        name = ATTACKS.canonical(spec)
        key = (name, threat.eps, tuple(among.tolist()), model)
        if key not in self._results:
            attack = ATTACKS.build(spec).equip(lambda name: self._transfer_source())
            if not isinstance(attack, Attack) or threat.norm_name not in attack.norms:
                raise _misfit(name, threat.norm_name)
            if threat.target is not None and not attack.can_target:
                raise UserError(f"{name} cannot seek a target class")
            classes = classes_in_play(self._width, threat)
            queries = 2 * (attack.steps + 1) * attack.variants(classes)
            self._charge((queries + 3) * tiles.padded(int(among.sum())))  # clean, two re-checks
            self._results[key] = run_probe(
                AttackEntry(name, attack),
                model or self._model,
                self._split,
                threat,
                among,
                seed=self._seed,
                points=points,
            )
        return self._results[key]

    def trace(self, p: Problem, tiles: Tiles) -> Trace:
        """The trajectory of PROBE on the rows p. UserError where it does not fit the norm."""
        attack = ATTACKS.build(PROBE)
        if not isinstance(attack, Attack) or p.norm.name not in attack.norms:
            raise _misfit(PROBE, p.norm.name)
        self._charge(2 * (attack.steps + 1) * tiles.padded(len(p)))
        return follow(attack, self._model, p, tiles)


def _misfit(attack: str, norm: str) -> UserError:
    return UserError(f"{attack} does not work in {norm}")


def run_probe(
    entry: AttackEntry,
    model: nn.Module,
    split: Split,
    threat: ThreatModel,
    among: Tensor,
    *,
    seed: int,
    points: bool,
) -> ProbeResult:
    """One attack on the samples `among` [N] bool of a split; `points`: keep the worst points."""
    positions, n = among.nonzero()[:, 0], len(split)
    result = ProbeResult(torch.zeros(n, dtype=torch.bool), torch.full((n,), float("nan")), {})
    if not len(positions):
        return result
    torch.manual_seed(seed)  # for models that draw from it
    device = split.labels.device
    found = evaluate(
        model,
        split.take(positions.to(device)),
        threat,
        [entry],
        seed=seed,
        width=default_batch_size(device),
        thorough=False,
        keep_points=points,
    )
    for v in found.verdicts:
        i = int(positions[v.sample])
        result.found[i], result.margin[i] = v.adversarial, v.adv_margin
    result.points.update({int(positions[i]): x for (i, _), x in found.points.items()})
    return result


def follow(attack: Attack[Any], model: nn.Module, p: Problem, tiles: Tiles) -> Trace:
    """All steps of an attack on all rows, also past their first success."""
    oracle, t = _Recorder(model, tiles), torch.zeros_like(p.y)
    p = attack.vary(p, t)  # as the engine starts it
    state, book, everyone = attack.start(p), blank_book(p), torch.ones_like(p.y, dtype=torch.bool)
    for _ in range(attack.steps + 1):
        points = attack.point(state)
        state, book = oracle.step(attack, state, p, book, t, everyone, attack.steps)
        t = t + 1
    values, margins, hits = (
        torch.stack(seen).cpu() for seen in (oracle.values, oracle.margins_seen, oracle.hits)
    )
    return Trace(values, margins, hits, points)


class _Recorder(ModelOracle):
    """An oracle that keeps what it answers."""

    def __init__(self, model: nn.Module, tiles: Tiles) -> None:
        super().__init__(model, tiles)
        self.values: list[Tensor] = []
        self.margins_seen: list[Tensor] = []
        self.hits: list[Tensor] = []

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        answer = super().grad(x, objective, need)
        self.values.append(answer.value)
        self.margins_seen.append(margins_left(answer.logits, self.p.aim, self.p.targeted))
        self.hits.append(answer.hit)
        return answer
