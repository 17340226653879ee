"""What the flags of a run rest on beside its rows, in plain data: kept until the rows are there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.audited import AUDITED, MASKING, survives
from robbench.catalogue.cascades import audited_by
from robbench.core.tiles import RowEquality
from robbench.engine.advice import FLOAT64, kinds
from robbench.engine.flags import Flag, adaptations, afterwards, at_chance, make_flag, of_rows
from robbench.tasks.attack.plan import AttackPlan

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlagFacts:
    """Of one attack.

    seen: flags that no row is needed for. specs: its attacks, those of the audit last. black_box:
    those of them without gradients, of a budget. kinds: of its own attacks. less: those of the
    audit that have less access than its own. rejects: the model may. audits: it has an audit, or
    could well have one.
    """

    seen: Sequence[Flag]
    specs: Sequence[str]
    black_box: Sequence[str]
    kinds: Sequence[str]
    less: Sequence[str]
    rejects: bool
    audits: bool

    def flags(self, rows: Sequence[Row]) -> list[Flag]:
        """What was noticed before the attack, what the finished rows say, and what that advises."""
        found = self._signs(rows)
        exact = all(row.get(AUDITED) for row in rows if survives(row))
        if self.audits and not exact and (signs := self.masking(rows)):
            found.append(make_flag("audit-all", 0, 0, signs=", ".join(signs)))
        return found

    def masking(self, rows: Sequence[Row]) -> list[str]:
        """What speaks for masked gradients: names of flags, else attacks of less access that broke.

        Those of the audit, where attacks with gradients had failed.
        """
        signs = [flag.name for flag in self._signs(rows) if flag.name in MASKING]
        broke = [row["broken_by"] for row in rows if row["broken_by"] in self.less]
        return list(dict.fromkeys(signs or broke))

    def _signs(self, rows: Sequence[Row]) -> list[Flag]:
        correct, labels = ([row[name] for row in rows] for name in ("clean_correct", "label"))
        after = afterwards(
            self.specs,
            self.black_box,
            [row["broken_by"] for row in rows],
            n_nonfinite=[row["n_nonfinite"] for row in rows],
            n_zero_gradient=[row["n_zero_gradient"] for row in rows],
            rejects=self.rejects,
            done=self.kinds,
        )
        if any(flag.name == "no-gradient" for flag in self.seen):  # says why they are zero
            after = [flag for flag in after if flag.name != "zero-gradient"]
        return [*self.seen, *at_chance(correct, labels), *after]


def flag_facts(plan: AttackPlan, inspected: Sequence[Flag], equality: RowEquality) -> FlagFacts:
    """Of a plan, with what was seen of its model."""
    subject, entries = plan.subject, plan.all_entries
    seen = [*subject.remarks, *adaptations(subject.width, entries), *inspected]
    # Without a budget the nearest point wins, of whichever attack.
    fixed = math.isfinite(plan.threats[-1].eps)
    white = any(entry.attack.access == "white-box" for entry in plan.entries)
    audit = plan.audit.entries if plan.audit and white else ()
    exact = {FLOAT64} if plan.config.precision == "fp64" else set()
    return FlagFacts(
        seen=seen + of_rows(equality, seen),
        specs=[entry.spec for entry in entries],
        black_box=[e.spec for e in entries if fixed and e.attack.access != "white-box"],
        kinds=sorted(kinds([entry.attack for entry in plan.entries]) | exact),
        less=[entry.spec for entry in audit if entry.attack.access != "white-box"],
        rejects=subject.rejects,
        audits=plan.audit is not None
        or (bool(plan.config.attack) and all(map(audited_by, plan.config.attack))),
    )


def read_flag_facts(found: Mapping[str, Any]) -> FlagFacts:
    """From `dataclasses.asdict`, by way of JSON. Raises TypeError for anything else."""
    return FlagFacts(**{**found, "seen": [Flag(*flag) for flag in found["seen"]]})
