"""The attack of one plan: what earlier processes decided is kept, the rest is attacked, written."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from robbench.analysis.forecast import Forecast
from robbench.core.part import WHOLE
from robbench.core.status import UNFINISHED
from robbench.engine.corrupted import Answer
from robbench.store.partial import Partial
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.tasks.attack.audit_pass import AuditPass
from robbench.tasks.attack.earlier import (
    audited,
    decided,
    decided_by_all,
    finished,
    mend,
    places_of,
    take_over,
    to_mend,
)
from robbench.tasks.attack.identity import code_modules
from robbench.tasks.attack.kept import Places
from robbench.tasks.attack.merge import left_by
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.attack.points import points_to_replay
from robbench.tasks.attack.progress import (
    Progress,
    audit_shown_on,
    shown_on,
    step_seconds,
)
from robbench.tasks.attack.session import AttackSession, Row
from robbench.tasks.attack.shard_writer import ShardWriter
from robbench.tasks.kept_code import keep_code
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import StopFlag


class Outcome(NamedTuple):
    """The runs of a plan, none when a signal came first or samples are left to other parts.

    `fresh` is False when they were already in the store. `kept`: the ids of those that were, where
    others were not.
    """

    runs: list[Run]
    fresh: bool
    kept: Sequence[str] = ()


class PartDone(NamedTuple):
    """What is left after a part: whether all samples are decided, and all audited that are to be.

    As far as this process has seen: others may have done more meanwhile.
    """

    whole: bool
    audited: bool


@dataclasses.dataclass(frozen=True)
class AttackJob:
    """The attack of one plan; a killed or stopped one goes on where it was.

    forecast: what it will cost, for the progress; None where nobody asked. clean: see
    `CorruptedPass`.
    """

    plan: AttackPlan
    store: Store
    listener: Listener
    bar: Bar
    stop: StopFlag
    forecast: Forecast | None
    clean: dict[int, Answer] | None = None

    def run(self, *, force: bool) -> Outcome:
        """Decide the samples that no earlier process has decided, and write the runs.

        Of a part only its samples: the runs are written once all are decided. Runs that are in the
        store already are read, unless `force`. Raises UserError for points to replay that do not
        fit and a folder that cannot be written.
        """
        plan, store = self.plan, self.store
        if not force and (runs := finished(plan, store)):
            return Outcome(runs, fresh=False)
        if plan.part.count > 1:
            if not self.run_part().whole or self.stop:
                return Outcome([], fresh=True)
            whole = dataclasses.replace(plan, part=WHOLE)
            return dataclasses.replace(self, plan=whole).run(force=False)
        # Bad points are an error before anything is written.
        replay = points_to_replay(plan.replay, plan.subject.split, plan.threats[-1])
        store.check_writable()
        with store.locked(plan.run_ids, say=self.listener.say, asked_to_stop=self.stop.check):
            if not force:
                mend(plan, store)
                if runs := finished(plan, store):  # by the process that held the lock
                    return Outcome(runs, fresh=False)
            places = places_of(plan, store, again=force)
            if not force:
                take_over(plan, store, places)
            session = AttackSession(plan, replay, step_seconds(plan, self.forecast), self.clean)
            partials = places.partials
            earlier = self._earlier(partials, force)
            self._keep(places)
            rows = self._decide(session, partials, earlier, keep=plan.config.store_points)
            if len(rows[-1]) < len(plan.subject.split):
                return Outcome([], fresh=True)
            if plan.audit is not None:
                second = self._audit(session, partials, rows)
                if not second.complete:
                    return Outcome([], fresh=True)
                rows = second.rows()
            runs = self._write(session, places, rows, len(earlier[-1]))
            return Outcome(runs, fresh=True, kept=places.kept)

    def run_part(self, *, again: bool = False, audit: bool = False) -> PartDone:
        """Decide the samples of the plan's part, as several processes may at once.

        again: the runs in the store are being replaced. audit: once all samples are decided, audit
        those of the part.
        """
        plan, store = self.plan, self.store
        say, asked = self.listener.say, self.stop.check
        replay = points_to_replay(plan.replay, plan.subject.split, plan.threats[-1])
        store.check_writable()
        if not again and to_mend(plan, store):
            with store.locked(plan.run_ids, say=say, asked_to_stop=asked):
                mend(plan, store)
        own = [f"{run_id}.part-{plan.part.number}-of-{plan.part.count}" for run_id in plan.run_ids]
        with (
            store.locked(plan.run_ids, shared=True, say=say, asked_to_stop=asked),
            store.locked(own, say=say, asked_to_stop=asked),
        ):
            if not again and finished(plan, store):
                return PartDone(whole=True, audited=True)
            begun = [f"{run_id}.begun" for run_id in plan.run_ids]
            with store.locked(begun, say=self.listener.detail, asked_to_stop=asked):
                places = places_of(plan, store, shared=True, again=again)
                if not again:
                    take_over(plan, store, places)
                self._keep(places)
            session = AttackSession(plan, replay, step_seconds(plan, self.forecast))
            partials = places.partials
            self._decide(session, partials, self._earlier(partials, force=False), keep=True)
            levels = decided(plan, partials)
            whole = len(decided_by_all(levels)) == len(plan.subject.split)
            if not audit or not whole or self.stop:
                return PartDone(whole, audited=False)
            second = self._audit(session, partials, [list(rows.values()) for rows in levels])
            return PartDone(whole, second.complete)

    def _keep(self, places: Places) -> None:
        """Keep the private code and the model's answers, before files are edited meanwhile."""
        plan = self.plan
        modules = code_modules(plan.subject, plan.all_entries)
        for run_id, partial in zip(plan.run_ids, places.partials, strict=True):
            if run_id not in places.kept:
                keep_code(self.store.code_path(run_id), modules)
                partial.keep_answers(plan.subject.answers)

    def _earlier(self, partials: Sequence[Partial], force: bool) -> list[list[Row]]:
        """For each budget the rows of the samples that are decided at all; none with `force`.

        Of a part its own alone.
        """
        if force:
            for partial in partials:
                partial.discard()
            return [[] for _ in partials]
        levels = decided(self.plan, partials)
        own = self.plan.part.of(len(self.plan.subject.split))
        known = decided_by_all(levels).intersection(own)
        if known:
            going = "joining" if len(known) == len(own) else "going on with"
            self.listener.say(
                f"{going} {self.plan.title}: {len(known)} of {len(own)} samples are decided already"
            )
        return [[row for i, row in rows.items() if i in known] for rows in levels]

    def _decide(
        self,
        session: AttackSession,
        partials: Sequence[Partial],
        earlier: Sequence[Sequence[Row]],
        *,
        keep: bool,
    ) -> list[list[Row]]:
        """For each budget the rows of all samples of the part, of fewer after a signal.

        keep: in the end all are on disk too.
        """
        plan, stop = self.plan, self.stop
        own = plan.part.of(len(plan.subject.split))
        size = len(own)
        rows = [list(found) for found in earlier]
        known = {row["sample_index"] for row in rows[-1]}
        todo = [i for i in own if i not in known]
        outcomes = Counter(map(_outcome, rows[-1]))
        watch = shown_on(self.bar, plan, self.forecast)
        shards = ShardWriter(partials)
        with shards.flushing_on_stop(stop):
            session.inspect()
            for eps_index, partial in enumerate(partials):
                partial.keep_plan(left_by(session, eps_index))
            for fresh in session.decide(todo, lambda: bool(stop)):
                for eps_index, row in fresh.rows:
                    rows[eps_index].append(row)
                    outcomes[_outcome(row)] += eps_index == len(rows) - 1
                shards.add(fresh.rows, fresh.points, now=bool(stop))
                watch(
                    Progress(
                        samples=len(rows[-1]),
                        total=size,
                        broken=outcomes["broken"],
                        robust=outcomes["robust"],
                        share=(len(known) + session.progress * len(todo)) / size,
                        entries=session.entries,
                        work=session.work,
                    )
                )
            if keep:
                shards.flush()  # what is on disk need not be in memory
        return rows

    def _audit(
        self, session: AttackSession, partials: Sequence[Partial], rows: Sequence[Sequence[Row]]
    ) -> AuditPass:
        """Audit what the run's own attacks have left, until a signal."""
        stop, shards = self.stop, ShardWriter(partials, audited=True)

        def stored(eps_index: int, ids: set[int]) -> list[Row]:
            if not self.plan.config.store_points:
                return []
            shards.flush()
            parts = (part.to_pylist() for part in partials[eps_index].points())
            return [row for part in parts for row in part if row["sample_id"] in ids]

        known = audited(self.plan, partials)
        second = AuditPass(session, rows, known, stored=stored, say=self.listener.say)
        watch = audit_shown_on(self.bar, self.plan)
        with shards.flushing_on_stop(stop):
            for fresh in second.run(lambda: bool(stop)):
                shards.add(fresh.rows, fresh.points, now=bool(stop))
                watch(second.counts, second.share, session.entries, session.work)
            shards.flush()
        return second

    def _write(
        self,
        session: AttackSession,
        places: Places,
        rows: Sequence[Sequence[Row]],
        resumed: int,
    ) -> list[Run]:
        plan, store, seconds = self.plan, self.store, session.seconds
        for eps_index, (found, partial) in enumerate(zip(rows, places.partials, strict=True)):
            if plan.run_ids[eps_index] in places.kept:
                continue
            ordered = sorted(found, key=lambda row: row["sample_index"])
            points = partial.points() if plan.config.store_points else None
            row = session.run_row(eps_index, ordered, wall=seconds, resumed=resumed)
            store.write(row, ordered, points, keep_shards=True)
        # Once all is written: a budget whose shards are gone would be attacked again.
        for partial in places.partials:
            partial.discard()
        return [read_run(store.run_path(run_id)) for run_id in plan.run_ids]


def _outcome(row: Mapping[str, Any]) -> str:
    if row["adversarial"]:
        return "broken"
    return "unfinished" if row["status"] == UNFINISHED else "robust"
