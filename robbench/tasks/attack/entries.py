"""The attacks of a cascade, from specs and names of cascades: what cannot work is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robbench.attacks.base import AttackEntry, require_whole
from robbench.catalogue.builtins import ATTACKS
from robbench.catalogue.cascades import cascades, expand
from robbench.core.errors import UserError, unknown
from robbench.tasks.attack.target import require_target
from robbench.threat.model import ThreatModel


def build_entries(specs: Sequence[str], threats: Sequence[ThreatModel]) -> tuple[AttackEntry, ...]:
    """The cascade of some attack specs and cascade names, in their order, for budgets of one norm.

    UserError for an attack that is unknown, malformed, given twice, or cannot work in this norm,
    without a budget or with a target.
    """
    norm, endless = threats[-1].norm_name, math.isinf(threats[-1].eps)
    if not specs:
        raise UserError(
            "no attack given; leave --attack out for apgd, or name one such as autoattack"
        )
    entries: dict[str, AttackEntry] = {}
    named: set[str] = set()  # by themselves, not by a cascade
    for text in specs:
        parts = expand(text, norm)
        if parts == (text,) and ":" not in text and text not in ATTACKS.entries:
            raise unknown("attack", text, [*ATTACKS.entries, *cascades()])
        for part in parts:
            spec, attack = ATTACKS.canonical(part), ATTACKS.build(part)
            if parts == (text,):
                if spec in named:
                    raise UserError(
                        f"attack {text} is given twice; use restarts=N for more random starts"
                    )
                named.add(spec)
            require_whole(attack, spec)
            if attack.leaves_ball:
                raise UserError(
                    f"attack {part}: its points leave the budget, so it is for training alone "
                    f"(--inner {part}); attack with pgd or apgd"
                )
            if norm not in attack.norms:
                raise UserError(
                    f"attack {spec} does not work in {norm}; it knows "
                    f"{', '.join(sorted(attack.norms))}"
                )
            if endless and attack.goal == "fixed-eps":
                raise UserError(
                    f"attack {spec} needs a budget such as {norm}:0.1; without one use fmn, "
                    f"or minimal:attack=({part})"
                )
            require_target(attack, spec, threats[-1])
            entries.setdefault(spec, AttackEntry(spec, attack))
    return tuple(entries.values())


def canonical_entry(text: str) -> str:
    """An attack spec in its canonical form; the name or file of a cascade as it was written."""
    name = text.partition(":")[0]
    return (
        ATTACKS.canonical(text)
        if name in ATTACKS.entries or expand(text, "linf") == (text,)
        else text
    )
