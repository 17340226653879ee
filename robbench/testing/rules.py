"""How the conformance suite says which rule was broken."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from robbench.core.registry import Registry

Require = Callable[[bool, str], None]


def rules_of(subject: str) -> Require:
    """`require(holds, rule)`: AssertionError naming subject and rule where it does not hold."""

    def require(holds: bool, rule: str) -> None:
        if not holds:
            raise AssertionError(f"{subject}: {rule}")

    return require


def check_spec(spec: str, registry: Registry[Any], kind: str) -> None:
    """An object's canonical spec builds an equal one, and it can be pickled."""
    require = rules_of(spec)
    built = registry.build(spec)
    same = registry.build(registry.canonical(spec)) == built
    require(same, f"its canonical spec must build the same {kind}")
    require(pickle.loads(pickle.dumps(built)) == built, "it must survive pickling")
