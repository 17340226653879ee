"""How much of our CPU time an attack and the engine take beside the model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import torch
from sides import Case, entries_of, search
from torch import Tensor, nn

from robbench.engine.counter import Counter
from robbench.threat.model import ThreatModel, parse_threat


class Clocked(Counter):
    """Also adds up the CPU seconds of the model's forwards."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.seconds = 0.0

    def forward(self, x: Tensor) -> Tensor:
        began = time.process_time()
        logits = super().forward(x)
        vars(self)["seconds"] += time.process_time() - began  # without a module's look at it
        return logits


@contextlib.contextmanager
def backwards_clocked() -> Iterator[list[float]]:
    """CPU seconds of each call of autograd, which goes through the model and little else."""
    plain, seconds = torch.autograd.grad, list[float]()

    def clocked(*args: Any, **options: Any) -> tuple[Tensor, ...]:
        began = time.process_time()
        found: tuple[Tensor, ...] = plain(*args, **options)
        seconds.append(time.process_time() - began)
        return found

    with mock.patch.object(torch.autograd, "grad", clocked):
        yield seconds


def shares(specs: str, case: Case, threat: ThreatModel, precision: str) -> tuple[float, float]:
    """CPU seconds of our side, and of these inside the models, of a run of its own."""
    began = time.process_time()
    search(entries_of(specs), case, threat, precision)
    seconds = time.process_time() - began
    with backwards_clocked() as backwards:
        done = search(entries_of(specs), case, threat, precision, Clocked)
    inside = sum(model.seconds for model in done.asked if isinstance(model, Clocked))
    return seconds, inside + sum(backwards)


def show_own_share(case: Case, specs: Iterable[str], rounds: int, precision: str) -> None:
    """A line per attack and threat, the least of the rounds."""
    for spec in (spec.format(queries=case.setting.queries) for spec in specs):
        for text in case.setting.threats:
            runs = [shares(spec, case, parse_threat(text)[0], precision) for _ in range(rounds)]
            seconds = min(seconds for seconds, _ in runs)
            own = 1 - min(inside for _, inside in runs) / seconds
            print(f"({case.setting.name}) {spec}, {text}: {seconds:.2f} CPU s, own {own:.1%}")
