"""How much of our CPU time an attack and the engine take beside the model."""

from __future__ import annotations

import time
from collections.abc import Iterable
from unittest import mock

import torch
from sides import Case, entries_of, search
from torch import nn
from train_share import Clock

from robbench.engine.counter import Counter
from robbench.threat.model import ThreatModel, parse_threat


def shares(specs: str, case: Case, threat: ThreatModel, precision: str) -> tuple[float, float]:
    """CPU seconds of our side, and of these inside the models, of a run of its own."""
    began = time.process_time()
    search(entries_of(specs), case, threat, precision)
    seconds, passes = time.process_time() - began, Clock()

    def watched(model: nn.Module) -> Counter:
        counter = Counter(model)
        counter.forward = passes.around(counter.forward)  # type: ignore[method-assign]
        return counter

    # A call of autograd goes through the model and little else.
    with mock.patch.object(torch.autograd, "grad", passes.around(torch.autograd.grad)):
        search(entries_of(specs), case, threat, precision, watched)
    return seconds, passes.seconds


def show_own_share(case: Case, specs: Iterable[str], rounds: int, precision: str) -> None:
    """A line per attack and threat, the least of the rounds."""
    for spec in (spec.format(queries=case.setting.queries) for spec in specs):
        for text in case.setting.threats:
            runs = [shares(spec, case, parse_threat(text)[0], precision) for _ in range(rounds)]
            seconds = min(seconds for seconds, _ in runs)
            own = 1 - min(inside for _, inside in runs) / seconds
            print(f"({case.setting.name}) {spec}, {text}: {seconds:.2f} CPU s, own {own:.1%}")
