"""How much of our CPU time an attack and the engine take beside the model."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sides import Case, entries_of, search
from torch import Tensor

from robbench.engine.counter import Counter
from robbench.threat.model import ThreatModel, parse_threat


class Clocked(Counter):
    """Also adds up the CPU seconds of the model's forwards and backwards."""

    seconds = 0.0

    def forward(self, x: Tensor) -> Tensor:
        began = time.process_time()
        logits = super().forward(x)
        self.seconds += time.process_time() - began
        if logits.requires_grad and x.requires_grad:
            logits.register_hook(lambda _: self._add(-time.process_time()))  # type: ignore[no-untyped-call]
            x.register_hook(lambda _: self._add(time.process_time()))  # type: ignore[no-untyped-call]
        return logits

    def _add(self, seconds: float) -> None:
        self.seconds += seconds


def shares(specs: str, case: Case, threat: ThreatModel, precision: str) -> tuple[float, float]:
    """CPU seconds of our side, and of these inside the models."""
    began = time.process_time()
    done = search(entries_of(specs), case, threat, precision, Clocked)
    inside = sum(model.seconds for model in done.asked if isinstance(model, Clocked))
    return time.process_time() - began, inside


def show_own_share(case: Case, specs: Iterable[str], rounds: int, precision: str) -> None:
    """A line per attack and threat, the least of the rounds."""
    for spec in (spec.format(queries=case.setting.queries) for spec in specs):
        for text in case.setting.threats:
            runs = [shares(spec, case, parse_threat(text)[0], precision) for _ in range(rounds)]
            seconds = min(seconds for seconds, _ in runs)
            own = min(1 - inside / seconds for seconds, inside in runs)
            print(f"({case.setting.name}) {spec}, {text}: {seconds:.2f} CPU s, own {own:.1%}")
