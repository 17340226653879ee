"""The settings of an attack that a corruption takes the place of."""

from __future__ import annotations

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.tasks.attack.config import AttackConfig
from robbench.threat.model import ThreatModel

_OF_ATTACKS = {
    "attack": "--attack",
    "audit": "--audit",
    "audit_attack": "--audit-attack",
    "adaptive": "--adaptive",
    "replay": "--replay",
    "max_queries": "--max-queries",
    "max_time": "--max-time",
    "precision": "--precision",
    "compile": "--compile",
    "measure": "--measure",
}


def require_no_fixed(threat: ThreatModel, split: Split) -> None:
    """Raise UserError for a corruption of inputs with fixed entries, which it would change."""
    if split.free is not None:
        raise UserError(
            f"threat {threat.text} changes all entries of an input, and some are fixed here: leave "
            "out what fixes them, or choose an l0, l1, l2 or linf threat model"
        )


def without_attacks(config: AttackConfig, threat: ThreatModel) -> AttackConfig:
    """The settings of a run under a corruption, without attacks.

    Raises UserError for a setting that an attack would need.
    """
    usual = AttackConfig()
    for name, flag in _OF_ATTACKS.items():
        if getattr(config, name) != getattr(usual, name):
            raise UserError(
                f"threat {threat.text} is one fixed point for each input, which no attack seeks: "
                f"leave out {flag}, or attack under other threat models in a run of their own"
            )
    return config
