"""Attacks that need more of a model than it shows are refused before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from robbench.attacks.base import AttackEntry, Backend
from robbench.catalogue.builtins import ATTACKS
from robbench.core.access import NEEDS, Access, shows
from robbench.core.errors import UserError
from robbench.threat.model import ThreatModel

_GIVES = {
    "score-based": "gives scores without gradients",
    "decision-based": "gives predicted classes only",
}

WITHOUT_GRADIENTS: dict[Access, str] = {"score-based": "square", "decision-based": "hopskipjump"}
"""The first attack to try on a model without gradients."""


def require_access(
    model: str, access: Access, entries: Sequence[AttackEntry], threats: Sequence[ThreatModel]
) -> None:
    """Raise UserError, with the attacks that work, where one needs more than a model shows.

    model: its name or spec. threats: of one norm, ascending.
    """
    refused = [entry for entry in entries if not shows(access, entry.attack.access)]
    if not refused:
        return
    specs, needs = ", ".join(entry.spec for entry in refused), NEEDS[refused[0].attack.access]
    verb = "needs" if len(refused) == 1 else "need"
    norm, endless = threats[-1].norm_name, math.isinf(threats[-1].eps)
    works = ", ".join(_working(access, norm, endless))
    convert = model.startswith("onnx:") and "gradients=" not in model
    more = f"; or convert the model: {model},gradients=true" if convert else ""
    raise UserError(
        f"model {model} {_GIVES[access]}, {specs} {verb} {needs}: attacks that work on it "
        f"{'without a budget' if endless else f'in {norm}'} are {works}{more}"
    )


def _working(access: Access, norm: str, endless: bool) -> Iterator[str]:
    """Attacks of ours, by name, that need no more than a model shows."""
    for name in ATTACKS.entries:
        try:
            attack = ATTACKS.build(name)
        except UserError:  # it needs options
            continue
        fits = norm in attack.norms and shows(access, attack.access)
        if not fits or isinstance(attack, Backend):
            continue
        if not endless or attack.goal == "minimum-norm":
            yield name
        elif attack.access == "score-based":
            yield f"minimal:attack={name}"
