"""The audit of a run's survivors, budget by budget, after its own attacks have decided them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from robbench.analysis.audited import survives
from robbench.engine.audit import draw
from robbench.tasks.attack.earlier import Rows
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.attack.rows import audited_row, is_lower, of_audit_alone
from robbench.tasks.attack.session import AttackSession, Decided, Row

Stored = Callable[[int, set[int]], list[Row]]


class AuditPass:
    """The audit of one plan.

    before: of each budget the rows of all samples, as the run's own attacks left them. done: those
    that an earlier process has audited. stored: the rows of the points table that some samples, by
    id, have at a budget. say: hears what the draw comes to.

    What the audit finds at one budget counts at every larger one. Of a part only its own samples
    are audited: it ends at the first budget where others are left.
    """

    def __init__(
        self,
        session: AttackSession,
        before: Sequence[Sequence[Row]],
        done: Sequence[Rows] = (),
        *,
        stored: Stored = lambda eps_index, ids: [],
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        assert session.plan.audit is not None
        self.session = session
        self.asked = session.plan.audit
        self.before: list[Rows] = [{row["sample_index"]: row for row in rows} for rows in before]
        self.done: list[Rows] = [dict(rows) for rows in done] or [{} for _ in before]
        self.stored = stored
        self.say = say
        self.eps_index = 0  # the budget that is audited
        self.drawn: list[int] = []  # positions, at that budget
        self.own = session.plan.part.of(len(session.plan.subject.split))
        self.share = 0.0  # of the work, about
        self.complete = False

    @property
    def plan(self) -> AttackPlan:
        """What is attacked."""
        return self.session.plan

    def run(self, stop: Callable[[], bool]) -> Iterator[Decided]:
        """Audit every budget, until `stop()`; `complete` says whether it came to the end."""
        everything = False
        for eps_index, before in enumerate(self.before):
            survivors = [i for i, row in before.items() if survives(row)]
            size = len(survivors) if everything else self.asked.size
            yield from self._audit(eps_index, self._draw(eps_index, survivors, size), stop)
            if self._stopped():
                return
            more = len(self.drawn) < len(survivors)
            if self.asked.adaptive and more and (signs := self._signs(eps_index)):
                everything = True
                self._say(
                    eps_index, f"{', '.join(signs)}: all {len(survivors)} samples are audited"
                )
                yield from self._audit(eps_index, sorted(survivors), stop)
                if self._stopped():
                    return
        self.share, self.complete = 1.0, True
        yield Decided([], [])

    def rows(self) -> list[list[Row]]:
        """Of each budget the rows of all samples after the audit."""
        return [
            [done.get(i) or {**row, "audited": False} for i, row in before.items()]
            for before, done in zip(self.before, self.done, strict=True)
        ]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Samples drawn at the present budget, of these audited, and of these broken."""
        done = self.done[self.eps_index]
        audited = [done[i] for i in self.drawn if i in done]
        return len(self.drawn), len(audited), sum(row["adversarial"] for row in audited)

    def _stopped(self) -> bool:
        """Whether the audit of the present budget ended before its last sample."""
        return any(i not in self.done[self.eps_index] for i in self.drawn)

    def _draw(self, eps_index: int, survivors: Sequence[int], size: int) -> list[int]:
        if not survivors:
            self._say(eps_index, "no sample is left to audit")
        elif len(survivors) < size:
            self._say(
                eps_index,
                f"{len(survivors)} samples are left, fewer than --audit {size}: all are audited",
            )
        return draw(survivors, size, self.plan.subject.split, self.plan.config.seed)

    def _say(self, eps_index: int, text: str) -> None:
        self.say(f"{self.plan.label} {self.plan.threats[eps_index].text}: {text}")

    def _audit(
        self, eps_index: int, drawn: list[int], stop: Callable[[], bool]
    ) -> Iterator[Decided]:
        """Attack what is not decided yet of the samples drawn at one budget."""
        self.eps_index, self.drawn = eps_index, drawn
        start, done = dict(self.before[eps_index]), self.done[eps_index]
        if eps_index:
            yield self._inherit(eps_index, start)
        todo = [i for i in drawn if i not in done and i in self.own]
        adaptive = self.asked.adaptive
        most = sum(map(survives, self.before[eps_index].values())) if adaptive else len(drawn)
        for found in self.session.audit(eps_index, todo, stop):
            worse: set[int] = set()
            fresh: list[tuple[int, Row]] = []
            for _, row in found.rows:
                i = row["sample_index"]
                if row["adversarial"] or is_lower(row["adv_margin"], start[i]["adv_margin"]):
                    worse.add(row["sample_id"])
                done[i] = audited_row(start[i], row)
                fresh.append((eps_index, done[i]))
            part = (len(drawn) - len(todo) + self.session.progress * len(todo)) / most
            self.share = (eps_index + part) / len(self.before)
            yield Decided(fresh, [one for one in found.points if one[1]["sample_id"] in worse])

    def _inherit(self, eps_index: int, start: Rows) -> Decided:
        """Take over into `start` what the audit at the next smaller budget has come to.

        Samples that it broke are decided.
        """
        done, fresh, ids = self.done[eps_index], list[tuple[int, Row]](), set[int]()
        for i, found in self.done[eps_index - 1].items():
            before = start[i]
            if not before["robust"]:
                continue
            start[i] = audited_row(before, of_audit_alone(self.before[eps_index - 1][i], found))
            if i in done or i not in self.own:
                continue
            if found["adversarial"]:
                done[i] = {**start[i], "audited": i in self.drawn}
                fresh.append((eps_index, done[i]))
            if found["adversarial"] or is_lower(found["adv_margin"], before["adv_margin"]):
                ids.add(found["sample_id"])
        run_id = self.plan.run_ids[eps_index]
        points = self.stored(eps_index - 1, ids) if ids else []
        return Decided(fresh, [(eps_index, {**point, "run_id": run_id}) for point in points])

    def _signs(self, eps_index: int) -> list[str]:
        """What speaks for masked gradients at a budget."""
        before, done = self.before[eps_index], self.done[eps_index]
        rows = [done[i] if i in self.drawn else row for i, row in before.items()]
        return self.session.masking(rows)
