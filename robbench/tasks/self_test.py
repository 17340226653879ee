"""The self-test: checks must flag broken defences and weak attacks, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from robbench.checks.base import Check, Finding, run_checks
from robbench.checks.broken_defences import defended
from robbench.checks.evidence import Evidence
from robbench.checks.registry import CHECKS
from robbench.core.device import deterministic
from robbench.core.freeze import frozen
from robbench.data.base import Split
from robbench.data.load import load
from robbench.tasks.small_models import train_small
from robbench.tasks.train.config import TrainConfig
from robbench.threat.model import single_threat

THREAT = "linf:0.15"
SAMPLES = 64
WEAK = {"weak attack": "pgd:steps=4,rate=0.02", "random search": "noise:steps=5"}
"""Attacks that must be flagged, on a model that is robust."""


class Case(NamedTuple):
    """A model, whether the checks must flag it, and the attack in question if not the usual one."""

    name: str
    model: nn.Module
    bad: bool
    attack: str | None = None


class CaseResult(NamedTuple):
    """The findings of all checks about a case."""

    name: str
    bad: bool
    findings: list[Finding]

    @property
    def flagged_by(self) -> list[str]:
        """The checks that failed, without those of severity info."""
        return [f.check for f in self.findings if f.verdict == "fail" and f.severity != "info"]

    @property
    def as_expected(self) -> bool:
        """Flagged if and only if there is something to flag."""
        return self.bad == bool(self.flagged_by)


def cases(train: Split, only: Callable[[str], bool] = lambda name: True) -> list[Case]:
    """Good models, broken defences made from the first, and weak attacks on a robust one."""
    threat = single_threat(THREAT)
    plain = train_small(train, threat, TrainConfig(model="small-cnn:width=16", epochs=5))
    robust = train_small(
        train, threat, TrainConfig(model="small-cnn:width=16", epochs=8, inner="pgd:steps=5")
    )
    trades = train_small(
        train,
        threat,
        TrainConfig(model="small-cnn:width=16", epochs=8, loss="trades", inner="pgd:steps=5"),
    )
    linear = train_small(train, threat, TrainConfig(model="mlp:depth=0", epochs=5))
    fully = train_small(train, threat, TrainConfig(model="mlp:width=64", epochs=5, seed=2))
    good = {
        "undefended": plain,
        "adversarially trained": robust,
        "TRADES": trades,
        "linear": linear,
        "fully connected": fully,
    }
    found = [Case(name, model, False) for name, model in good.items()]
    found += [Case(name, model, True) for name, model in defended(plain).items()]
    found += [Case(name, robust, True, spec) for name, spec in WEAK.items()]
    return [case for case in found if only(case.name)]


def self_test(
    watch: Callable[[float, str], None] = lambda share, name: None,
    *,
    samples: int = SAMPLES,
    checks: tuple[Check, ...] = CHECKS,
    only: Callable[[str], bool] = lambda name: True,
) -> list[CaseResult]:
    """Run checks on all cases, or on those whose name passes `only`.

    `watch(share, name)` is called with the share done, and the case that comes next.
    """
    train, split = load("digits", "train"), load("digits", "test", limit=samples)
    watch(0.0, "training")
    with torch.random.fork_rng():
        source = train_small(
            train,
            single_threat(THREAT),
            TrainConfig(model="mlp:width=64,depth=1", epochs=5, seed=1),
        )
        chosen = cases(train, only)
    results = []
    for n, case in enumerate(chosen):
        watch((n + 1) / (len(chosen) + 1), case.name)
        with frozen(case.model), deterministic():
            evidence = Evidence(
                case.model, split, single_threat(THREAT), source=source, attack=case.attack
            )
            results.append(CaseResult(case.name, case.bad, run_checks(checks, evidence)))
    return results
