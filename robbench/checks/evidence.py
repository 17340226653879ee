"""What checks may look at: a model, some samples, a threat model, and what a run left of them; each thing is made once."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robbench.attacks.base import Attack
from robbench.catalogue.builtins import ATTACKS
from robbench.checks.base import Skip
from robbench.checks.probes import ProbeResult, Trace, follow, run_attack
from robbench.core.tiles import Tiles, largest_tile
from robbench.data.base import Split
from robbench.engine.advice import HINTS, kinds
from robbench.engine.cascade import Entry
from robbench.engine.counter import Counter
from robbench.engine.flags import gradients
from robbench.engine.oracle import ModelOracle, blank_book, forward_tiles
from robbench.engine.pool import Pool, stream_of
from robbench.engine.shapes import tiles_of
from robbench.objectives import Objective, answered, margins
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem

PROBE = "pgd:steps=20"
PROBE_MARGIN = f"{PROBE},objective=margin"  # the other half of what challengers are held against where no run is given


class Evidence:
    """The context of all checks.

    model: maps [0,1] inputs to logits; freeze it first (`core/freeze.py`). split: the slice of
    samples to look at. rows: the run's rows of just these samples, in their order, with `info` its
    row of the runs table; points: its stored points by sample id. source: a model to transfer from.
    attack: the spec of the attack in question where there is no run. most: forwards and backwards
    in all; what would cost more is skipped.
    """

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        threat: ThreatModel,
        *,
        seed: int = 0,
        rows: Sequence[Mapping[str, Any]] | None = None,
        info: Mapping[str, Any] | None = None,
        points: Mapping[int, Tensor] | None = None,
        source: nn.Module | None = None,
        attack: str | None = None,
        most: float = math.inf,
    ) -> None:
        self.model, self.split, self.threat, self.seed, self._source = (
            Counter(model),
            split,
            threat,
            seed,
            source,
        )
        self._rows, self._info, self._points, self._attack, self._most = (
            rows,
            info,
            points,
            attack,
            most,
        )
        self.device = split.labels.device
        self._tried: dict[tuple[Any, ...], ProbeResult] = {}

    # -- what it cost, and what was given
    # --------------------------------------------------------------------------------------

    @property
    def forwards(self) -> int:
        """Rows that passed the model so far, padding included."""
        return self.model.forwards

    @property
    def backwards(self) -> int:
        """Rows that were differentiated so far."""
        return self.model.backwards

    def afford(self, queries: int) -> None:
        """Skip when so many more forwards and backwards are too many."""
        if self.forwards + self.backwards + queries > self._most:
            raise Skip("it would cost too many queries beside so small a run")

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The run's sample rows; Skip without a run."""
        if self._rows is None:
            raise Skip("no run was given, only a model")
        return self._rows

    @property
    def info(self) -> Mapping[str, Any]:
        """The run's own row; Skip without a run."""
        if self._info is None:
            raise Skip("no run was given, only a model")
        return self._info

    @property
    def points(self) -> Mapping[int, Tensor]:
        """The run's stored points [*] by sample id, as they are on disk; Skip without."""
        if self._points is None:
            raise Skip("no stored points: attack with --store-points")
        return self._points

    @property
    def source(self) -> nn.Module:
        """The model to transfer from; Skip without."""
        if self._source is None:
            raise Skip("no model to transfer from: give --source MODEL")
        return self._source

    @property
    def has_run(self) -> bool:
        """Whether there are rows."""
        return self._rows is not None

    @property
    def specs(self) -> list[str]:
        """The attacks in question, as specs."""
        if self.has_run:
            return list(json.loads(self.info["attack_params"]))
        return [self._attack] if self._attack else [PROBE, PROBE_MARGIN]

    def hint(self, name: str) -> str:
        """What to do about a sign, see `engine/advice.py`; never what the run has done already."""
        done = (
            kinds([ATTACKS.build(spec) for spec in self.specs])
            if self.has_run or self._attack
            else ()
        )
        return HINTS[name].text(done)

    @property
    def averaged(self) -> bool:
        """Whether the run has taken the model for a random one (eot): then answers may differ."""
        return self.has_run and any(
            getattr(ATTACKS.build(spec), "draws", 1) > 1 for spec in self.specs
        )

    def steady(self) -> None:
        """Skip where answers may differ."""
        if self.averaged:
            raise Skip("the run attacked a random model, by eot")

    def column(self, name: str) -> Tensor:
        """A column of the run's rows as numbers [N]; null is NaN."""
        return torch.tensor(
            [float("nan") if row[name] is None else float(row[name]) for row in self.rows],
            dtype=torch.float64,
        )

    def ids(self, rows: Tensor) -> tuple[int, ...]:
        """The ids of the samples where rows [N] is true."""
        return tuple(self.split.ids[rows.to(self.device)].tolist())

    # -- the model's own answers
    # -------------------------------------------------------------------------------------------

    @functools.cached_property
    def x(self) -> Tensor:
        """[N,*] the clean inputs."""
        return self.split.pixels(slice(None))

    @functools.cached_property
    def tiles(self) -> Tiles:
        """The shapes in which the model answers alike."""
        return tiles_of([self.model], self.x[: largest_tile(self.device).rows])

    @functools.cached_property
    def labels(self) -> Tensor:
        """[N] on the CPU."""
        return self.split.labels.cpu()

    @functools.cached_property
    def logits(self) -> Tensor:
        """[N,K] at the clean inputs, on the CPU."""
        return self.ask(self.x)

    @functools.cached_property
    def right(self) -> Tensor:
        """[N] bool: classified correctly without any attack; as the rows say, where there are any."""
        if self.has_run:
            return self.column("clean_correct").bool()
        return (self.logits.argmax(1) == self.labels) & answered(self.logits)

    @functools.cached_property
    def clean_margins(self) -> Tensor:
        """[N] logit margins at the clean inputs."""
        return margins(self.logits, self.labels)

    @functools.cached_property
    def gradients(self) -> tuple[list[Tensor], str]:
        """Gradients [N,*] of cross-entropy at the inputs and at random points near them, or none and why."""
        self.afford(4 * self.tiles.padded(len(self.x)))
        found, reason = gradients(self.model, self.x, self.split.labels, self.tiles)
        return [gradient.cpu() for gradient in found], reason

    def ask(self, x: Tensor, tiles: Tiles | None = None) -> Tensor:
        """Logits [N,K] at points, on the CPU; in other shapes if given."""
        self.afford(self.tiles.padded(len(x)))
        return forward_tiles(self.model, x, tiles or self.tiles).cpu()

    def slope(self, x: Tensor, objective: Objective) -> Tensor:
        """[N,*]: the gradient of an objective at points; zero where it is not finite or the model has none."""
        self.afford(2 * self.tiles.padded(len(x)))
        p, oracle = self.problem, ModelOracle(self.model, self.tiles)
        everyone, t = torch.ones_like(p.y, dtype=torch.bool), torch.zeros_like(p.y)
        oracle.on(p, blank_book(p), t, everyone, steps=1)
        return oracle.grad(x, objective).grad

    @functools.cached_property
    def problem(self) -> Problem:
        """All samples at the threat model's budget."""
        self.afford(self.tiles.padded(len(self.split)))
        pool = Pool(self.split, [self.budget], self.model, seed=self.seed, tiles=self.tiles)
        return pool.problem(torch.arange(len(self.split), device=self.device), stream_of(PROBE))

    @property
    def budget(self) -> ThreatModel:
        """The threat model; Skip where it has no budget."""
        if not 0 < self.threat.eps < math.inf:
            raise Skip(f"{self.threat.text} has no budget to spend")
        return self.threat

    # -- mini attacks
    # --------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def reference(self) -> Tensor:
        """[N] bool: what fell to the attack in question; not counting what is wrong by itself.

        That is the run's attack; without a run the `attack` given, or else PROBE and then
        PROBE_MARGIN.
        """
        if self.has_run:
            return self.column("adversarial").bool() & self.right
        first = self.attack(self._attack or PROBE).found
        return (
            first
            if self._attack
            else first | self.attack(PROBE_MARGIN, among=self.right & ~first).found
        )

    @property
    def standing(self) -> Tensor:
        """[N] bool: right, and not fallen to the attack in question."""
        return self.right & ~self.reference

    def challenge(self, spec: str) -> Tensor:
        """[N] bool: standing samples that another attack breaks."""
        return self.attack(spec, among=self.standing).found

    def attack(
        self,
        spec: str,
        *,
        eps: float | None = None,
        among: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> ProbeResult:
        """Run a registered attack on the samples `among` (all that are right), at another budget or on another model if given.

        Skip where it does not work in this norm or on such inputs.
        """
        budget = (
            self.budget
            if eps is None
            else ThreatModel(self.budget.norm_name, eps, f"{self.budget.norm_name}:{eps:g}")
        )
        among = self.right if among is None else among
        key = (ATTACKS.canonical(spec), budget.eps, tuple(among.tolist()), model)
        if key not in self._tried:
            attack = ATTACKS.build(spec).equip(lambda name: self.source)
            if budget.norm_name not in attack.norms or not isinstance(attack, Attack):
                raise Skip(f"{key[0]} does not work in {budget.norm_name}")
            per_sample = (
                2 * (attack.steps + 1) * attack.variants(len(self.split.classes)) + 3
            )  # and clean, and the re-checks
            self.afford(per_sample * self.tiles.padded(int(among.sum())))
            points = key[0] == PROBE and budget is self.threat and model is None
            self._tried[key] = run_attack(
                Entry(key[0], attack),
                model or self.model,
                self.split,
                budget,
                among,
                seed=self.seed,
                points=points,
            )
        return self._tried[key]

    @functools.cached_property
    def trace(self) -> Trace:
        """The way of PROBE."""
        attack, p = ATTACKS.build(PROBE), self.problem
        if p.norm.name not in attack.norms or not isinstance(attack, Attack):
            raise Skip(f"{PROBE} does not work in {p.norm.name}")
        self.afford(2 * (attack.steps + 1) * self.tiles.padded(len(p)))
        return follow(attack, self.model, p, self.tiles)
