"""What an audit is asked to do: how many survivors it draws, and its attacks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from robbench.attacks.base import AttackEntry
from robbench.catalogue.cascades import audited_by
from robbench.core.errors import UserError
from robbench.tasks.attack.bounds import queries_of_entries
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.entries import build_entries, canonical_entry
from robbench.threat.model import ThreatModel, classes_in_play

DEFAULT = ("autoattack",)


@dataclasses.dataclass(frozen=True)
class Audit:
    """An audit of a run's survivors.

    size: how many are drawn at each budget. attack: its attacks as they were asked for. entries:
    those of them that the run itself has not made, which could not break a survivor. adaptive:
    with signs of masked gradients all survivors are audited.
    """

    size: int
    attack: str
    entries: tuple[AttackEntry, ...]
    adaptive: bool


def plan_audit(
    config: AttackConfig,
    threats: Sequence[ThreatModel],
    entries: Sequence[AttackEntry],
    outputs: int,
) -> Audit | None:
    """The audit that settings ask for, None without one; its attacks are not equipped yet.

    threats: the run's, ascending; entries: its own attacks; outputs: of the model. Raises UserError
    for attacks that cannot work, for an audit that is not stronger than the run's own attacks, and
    without a budget.
    """
    if config.audit is None:
        if config.audit_attack or config.adaptive:
            what = "--audit-attack" if config.audit_attack else "--adaptive"
            raise UserError(f"{what} needs --audit N: the number of samples to audit, such as 300")
        return None
    if math.isinf(threats[-1].eps):
        raise UserError(
            f"--audit needs a budget such as {threats[-1].norm_name}:0.1: without one every sample "
            "is broken at some distance, and none is left to audit"
        )
    usual = dict.fromkeys(filter(None, map(audited_by, config.attack)))
    specs = config.audit_attack or tuple(usual) or DEFAULT
    try:
        full = build_entries(specs, threats)
    except UserError as error:
        more = "" if config.audit_attack else "; choose others with --audit-attack"
        raise UserError(f"the audit's attacks ({', '.join(specs)}): {error}{more}") from None
    own = {entry.spec for entry in entries}
    attack = " + ".join(dict.fromkeys(canonical_entry(spec) for spec in specs))
    fresh = tuple(entry for entry in full if entry.spec not in own)
    if not fresh:
        raise UserError(
            f"the audit ({attack}) makes no attack that the run does not make itself: leave out "
            "--audit, or name a stronger --audit-attack"
        )
    _require_stronger(attack, full, entries, classes_in_play(outputs, threats[0]))
    return Audit(config.audit, attack, fresh, config.adaptive)


def _require_stronger(
    attack: str, full: Sequence[AttackEntry], entries: Sequence[AttackEntry], classes: int
) -> None:
    """Raise UserError for an audit of no more queries; another package's are not known."""
    audit, run = (queries_of_entries(some, classes) for some in (full, entries))
    if None in audit or None in run:
        return
    asked, made = (sum(filter(None, some)) for some in (audit, run))
    if asked <= made:
        raise UserError(
            f"the audit ({attack}) makes at most {asked:,.0f} queries of a sample, the run itself "
            f"{made:,.0f}: name a stronger --audit-attack, or leave out --audit"
        )
