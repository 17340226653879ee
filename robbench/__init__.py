"""Adversarial robustness of image classifiers: train, attack and compare from Python.

`import robbench` loads neither torch nor pandas: each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from robbench.api.cards import card
    from robbench.api.certificates import certify
    from robbench.api.commands import cascade_suggest, check, gate, measure, train
    from robbench.api.evaluate import evaluate
    from robbench.api.evaluation import Evaluation
    from robbench.api.exports import export
    from robbench.api.history import history
    from robbench.api.inspection import inspect
    from robbench.api.results import compare, load_runs, plot, report, view
    from robbench.api.runs import attack
    from robbench.api.sweeps import sweep
    from robbench.api.verification import bundle, verify
    from robbench.core.errors import RunError, UserError
    from robbench.models.outputs.options import OutputOptions

_HOMES = {
    "attack": "api.runs",
    "bundle": "api.verification",
    "card": "api.cards",
    "cascade_suggest": "api.commands",
    "certify": "api.certificates",
    "check": "api.commands",
    "compare": "api.results",
    "evaluate": "api.evaluate",
    "Evaluation": "api.evaluation",
    "export": "api.exports",
    "gate": "api.commands",
    "history": "api.history",
    "inspect": "api.inspection",
    "load_runs": "api.results",
    "measure": "api.commands",
    "OutputOptions": "models.outputs.options",
    "plot": "api.results",
    "report": "api.results",
    "sweep": "api.sweeps",
    "RunError": "core.errors",
    "train": "api.commands",
    "UserError": "core.errors",
    "verify": "api.verification",
    "view": "api.results",
}

__all__ = [
    "Evaluation",
    "OutputOptions",
    "RunError",
    "UserError",
    "attack",
    "bundle",
    "card",
    "cascade_suggest",
    "certify",
    "check",
    "compare",
    "evaluate",
    "export",
    "gate",
    "history",
    "inspect",
    "load_runs",
    "measure",
    "plot",
    "report",
    "sweep",
    "train",
    "verify",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'robbench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"robbench.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
