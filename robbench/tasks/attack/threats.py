"""The threat models of a command: as they are given, or the usual one of a model and its data."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robbench.core.errors import UserError
from robbench.data.load import default_threat
from robbench.tasks.subject import Subject
from robbench.threat.model import ThreatModel, parse_threat
from robbench.threat.tolerance import same_budget


def parse_threats(texts: Sequence[str], target: str | None = None) -> list[list[ThreatModel]]:
    """Threat models by norm and target, in the order of mention; the budgets of each ascend.

    target: of those that name none themselves. Raises UserError for one that is given twice, and
    for a second target.
    """
    found: dict[tuple[str, str | None, float | None], list[ThreatModel]] = {}
    for threat in (threat for text in texts for threat in parse_threat(text)):
        if target is not None and threat.target not in (None, target):
            raise UserError(f"threat {threat.text} has a target already: leave out --target")
        threat = threat.towards(target or threat.target)
        # What a corruption breaks at one severity may withstand a higher one: each is alone.
        alone = threat.eps if threat.corruption else None
        same = found.setdefault((threat.norm_name, threat.target, alone), [])
        for other in same:
            if same_budget(threat.eps, other.eps):
                also = f", once as {other.text}" * (other.text != threat.text)
                raise UserError(f"threat {threat.text} is given twice{also}: leave one out")
        same.append(threat)
    for threats in found.values():
        threats.sort(key=lambda threat: threat.eps)
        if len(threats) > 1 and math.isinf(threats[-1].eps):
            raise UserError(
                f"threat {threats[-1].text} has no budget, it gives every other one too: run it "
                "alone"
            )
    return list(found.values())


def usual_threat(data: str, subject: Subject) -> str | None:
    """The model's usual threat model, else the data's, else the one it was trained under."""
    own = subject.threat or default_threat(data)
    return own or subject.trained.get("config", {}).get("threat")
