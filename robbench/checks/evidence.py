"""What checks look at: a model, some samples, a threat model, and a run's record of them."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.checks.answers import Answers
from robbench.checks.probes import PROBE, PROBE_MARGIN, ProbeResult, Probes, Trace
from robbench.core.access import NEEDS, Access, access_of, shows
from robbench.data.base import Split
from robbench.engine.advice import FLOAT64, HINTS, kinds
from robbench.engine.counter import Counter
from robbench.engine.pool import Pool, stream_of
from robbench.objectives import answered
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem


class Skip(Exception):  # noqa: N818  # not an error: the reason why a check has no answer
    """What a check needs is not there; the message is the reason."""


class Evidence:
    """The context of all checks.

    model: maps [0,1] inputs to logits; freeze it first (`core/freeze.py`). split: the samples to
    look at. rows: the run's rows of just these samples, in their order, with `info` its row of the
    runs table; points: its stored points by sample id. source: a model to transfer from. attack:
    the spec of the attack in question where there is no run. most: forwards and backwards in all;
    what would cost more is skipped.
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
        self.access = access_of(model)
        self.model = Counter(model)
        self.split = split
        self.threat = threat
        self.seed = seed
        self.device = split.labels.device
        self.answers = Answers(self.model, split, self.charge)
        self._probes = Probes(
            self.model,
            split,
            seed=seed,
            charge=self.charge,
            transfer_source=lambda: self.source,
        )
        self._rows = rows
        self._info = info
        self._points = points
        self._source = source
        self._attack = attack
        self._most = most

    # -- what it cost

    @property
    def n_forward(self) -> int:
        """Rows that passed the model so far, padding included."""
        return self.model.n_forward

    @property
    def n_backward(self) -> int:
        """Rows that were differentiated so far."""
        return self.model.n_backward

    def charge(self, queries: int) -> None:
        """Skip if so many more forwards and backwards exceed what may be spent."""
        if self.n_forward + self.n_backward + queries > self._most:
            raise Skip("it would cost too many queries beside so small a run")

    # -- what was given

    @property
    def has_run(self) -> bool:
        """Whether there are rows."""
        return self._rows is not None

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The run's sample rows; Skip without a run."""
        if self._rows is None:
            raise Skip("no run was given, only a model")
        return self._rows

    @property
    def info(self) -> Mapping[str, Any]:
        """The run's row of the runs table; Skip without a run."""
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
    def budget(self) -> ThreatModel:
        """The threat model; Skip where its eps is 0 or infinite."""
        if not 0 < self.threat.eps < math.inf:
            raise Skip(f"{self.threat.text} has no budget to spend")
        return self.threat

    @property
    def specs(self) -> list[str]:
        """The attacks in question, as specs; of a run those of its audit come last."""
        if self.has_run:
            audit = self.audit_specs if self.info["n_audited"] else []
            return [*json.loads(self.info["attack_params"]), *audit]
        return [self._attack] if self._attack else [PROBE, PROBE_MARGIN]

    @property
    def audit_specs(self) -> list[str]:
        """The attacks that only the run's audit made."""
        return list(json.loads(self.info["provenance"]).get("audit_params") or [])

    def hint(self, name: str) -> str:
        """Advice on a sign (`engine/advice.py`), less what the attacks in question do already."""
        given = self.has_run or self._attack
        done = kinds([ATTACKS.build(spec) for spec in self.specs]) if given else frozenset()
        exact = self.has_run and self.info["precision"] == "fp64"
        return HINTS[name].text(done | {FLOAT64} if exact else done)

    @property
    def attacked_as_random(self) -> bool:
        """Whether the run attacked a randomised model, by eot: then answers may differ."""
        return self.has_run and any(ATTACKS.build(spec).draws > 1 for spec in self.specs)

    def require(self, access: Access) -> None:
        """Skip where the model does not show what an attack of this access has to see."""
        if not shows(self.access, access):
            raise Skip(f"the model shows no {NEEDS[access]}")

    def require_deterministic(self) -> None:
        """Skip where answers may differ."""
        if self.attacked_as_random:
            raise Skip("the run attacked a random model, by eot")

    # -- columns over the samples, all [N] on the CPU

    def column(self, name: str) -> Tensor:
        """A column of the run's rows as float64; null is NaN."""
        values = [math.nan if row[name] is None else float(row[name]) for row in self.rows]
        return torch.tensor(values, dtype=torch.float64)

    def ids(self, chosen: Tensor) -> tuple[int, ...]:
        """The ids of the samples where `chosen` [N] bool is true."""
        return tuple(self.split.ids[chosen.to(self.device)].tolist())

    @functools.cached_property
    def labels(self) -> Tensor:
        """The true classes, int64."""
        return self.split.labels.cpu()

    @functools.cached_property
    def right(self) -> Tensor:
        """Bool: classified correctly without any attack; as the rows say, where there are any."""
        if self.has_run:
            return self.column("clean_correct").bool()
        logits = self.answers.logits
        return (logits.argmax(1) == self.labels) & answered(logits)

    @functools.cached_property
    def reference(self) -> Tensor:
        """Bool: right, and broken by the attack in question.

        That is the run's attack; without a run the `attack` given, or else PROBE and then
        PROBE_MARGIN.
        """
        if self.has_run:
            return self.column("adversarial").bool() & self.right
        first = self.probe(self._attack or PROBE).found
        if self._attack:
            return first
        return first | self.probe(PROBE_MARGIN, among=self.right & ~first).found

    @property
    def standing(self) -> Tensor:
        """Bool: right, and not broken by the attack in question."""
        return self.right & ~self.reference

    # -- probes

    def probe(
        self,
        spec: str,
        *,
        eps: float | None = None,
        among: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> ProbeResult:
        """Run a registered attack on the samples `among` [N] bool (all that are right).

        At another eps or on another model if given. UserError where it does not fit the norm or the
        inputs.
        """
        threat, name = self.budget, self.budget.norm_name
        if model is None:
            self.require(ATTACKS.build(spec).access)
        if eps is not None:
            threat = ThreatModel(name, eps, f"{name}:{eps:g}").towards(threat.target)
        return self._probes.run(
            spec,
            threat,
            self.right if among is None else among,
            self.answers.tiles,
            model=model,
            points=ATTACKS.canonical(spec) == PROBE and eps is None and model is None,
        )

    @functools.cached_property
    def problem(self) -> Problem:
        """All samples at the threat model's budget."""
        tiles = self.answers.tiles
        self.charge(tiles.padded(len(self.split)))
        pool = Pool.of(self.split, [self.budget], self.model, seed=self.seed, tiles=tiles)
        return pool.problem(torch.arange(len(self.split), device=self.device), stream_of(PROBE))

    @functools.cached_property
    def trace(self) -> Trace:
        """The trajectory of PROBE."""
        self.require("white-box")
        return self._probes.trace(self.problem, self.answers.tiles)
