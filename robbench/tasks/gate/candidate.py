"""Attack a candidate in random order until the gate has decided."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import torch

from robbench.analysis.gate import GateFinding, Note
from robbench.analysis.gate_checks import ROBUST, Tolerances
from robbench.analysis.gate_runs import edited, find_reference, remarks
from robbench.analysis.sequential_gate import SequentialGate
from robbench.core.errors import Stopped, UserError
from robbench.reports import texts
from robbench.store.find import STOPPED_EARLY
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.tasks.attack.earlier import of_split
from robbench.tasks.attack.forecast import forecast_attack
from robbench.tasks.attack.identity import code_modules
from robbench.tasks.attack.points import points_to_replay
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.attack.shard_writer import ShardWriter
from robbench.tasks.gate.booking import Booking
from robbench.tasks.gate.plan import GatePlan, plan_gate
from robbench.tasks.kept_code import keep_code
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import StopFlag, stop_flag


def attack_and_decide(
    model: str,
    baseline: str | None,
    tolerances: Tolerances,
    *,
    branch: str | None,
    out: Path,
    seed: int,
    batch_size: int | None,
    seconds: float,
    device: str,
    data_dir: Path | None,
    download: bool,
    force: bool,
    listener: Listener,
) -> GateFinding:
    """Attack a model as the baseline was attacked (None: the one that is set), and decide.

    Raises UserError as `plan_gate` does, Stopped after a signal; what was decided is kept, and the
    same call goes on from there.
    """
    store = Store(out)
    reference, path = find_reference(store, baseline, branch)
    gated = plan_gate(
        model,
        reference,
        path,
        tolerances,
        seed=seed,
        batch_size=batch_size,
        out=out,
        device=device,
        data_dir=data_dir,
        download=download,
    )
    (run_id,) = gated.plan.run_ids
    listener.detail(f"run {run_id}: {gated.title}, {gated.plan.threat}, {gated.plan.attack}")
    for note in gated.plan.notes:
        listener.say(note)
    if not gated.plan.replay and not gated.plan.threats[0].corruption:
        listener.say(
            "the baseline kept no points to replay, which would save time: attack it with "
            "--store-points"
        )
    with stop_flag(listener.say) as stop, listener.progress(gated.title) as bar:
        job = GateJob(gated, tolerances, store, listener, bar, stop)
        if not force and (finding := job.known()):
            return finding
        store.check_writable()
        with store.locked([run_id], say=listener.say, asked_to_stop=stop.check):
            return job.run(seconds, force=force)


@dataclasses.dataclass(frozen=True)
class GateJob:
    """The attack of one candidate, until it is decided; a killed one goes on where it was.

    Samples are booked in their random order, each once it is decided. What was decided is kept; a
    decision is written as a run of the samples that it rests on.
    """

    gated: GatePlan
    tolerances: Tolerances
    store: Store
    listener: Listener
    bar: Bar
    stop: StopFlag

    def known(self) -> GateFinding | None:
        """What an earlier call has decided."""
        if not (before := self._before()):
            return None
        book = Booking(self.gated, self.tolerances)
        book.enter({row["sample_index"]: row for row in before.samples.to_pylist()})
        return self._finding(book.gate, before.info) if book.gate.decided else None

    def run(self, seconds: float, *, force: bool) -> GateFinding:
        """Attack until decided, or `seconds` are over; raises Stopped after a signal."""
        gated, stop = self.gated, self.stop
        plan, order, split = gated.plan, gated.order, gated.plan.subject.split
        partial = self.store.partial(plan.run_ids[0])
        if force:
            partial.discard()
        before = None if force else self._before()
        rows = of_split([*(before.samples.to_pylist() if before else []), *partial.rows()], split)
        replay = points_to_replay(plan.replay, split, plan.threats[-1])
        known, book = len(rows), Booking(gated, self.tolerances)
        book.enter(rows)
        if known and not book.gate.decided:
            self.listener.say(f"going on with {gated.title}: {known} samples are decided already")
        if not book.gate.decided:
            self.listener.forecast(
                f"{gated.title}, if it takes all samples",
                lambda: dataclasses.replace(
                    forecast_attack(plan, self.store, force=True), samples=len(order) - known
                ),
            )
        session, shards = AttackSession(plan, replay), ShardWriter([partial])

        def over() -> bool:
            return bool(stop) or session.seconds > seconds or book.gate.decided

        if not over():
            modules = code_modules(plan.subject, plan.entries)
            keep_code(self.store.code_path(plan.run_ids[0]), modules)
            partial.keep_answers(plan.subject.answers)
            session.inspect()
        with shards.flushing_on_stop(stop):
            while not over():
                chosen = order[book.gate.seen : book.gate.seen + plan.width]
                for fresh in session.decide([i for i in chosen if i not in rows], over):
                    rows |= {row["sample_index"]: row for _, row in fresh.rows}
                    shards.add(fresh.rows, fresh.points, now=bool(stop))
                    book.enter(rows)
                    self._show(book.gate)
            shards.flush()
        if not book.gate.decided and stop:
            raise Stopped(stop.exit_code)
        info: dict[str, Any] = before.info if before else {}
        if book.gate.decided and book.gate.seen > (before.info["n_samples"] if before else 0):
            kept = sorted(
                (rows[i] for i in order[: book.gate.seen]), key=lambda row: row["sample_index"]
            )
            row = session.run_row(0, kept, wall=session.seconds, resumed=known)
            row |= truncated_run_columns(gated, book.gate.seen, row)
            info = read_run(self.store.write(row, kept)).info
        return self._finding(book.gate, info)

    def _show(self, gate: SequentialGate) -> None:
        """The samples in order that are booked, and the drop of robust accuracy among them."""
        so_far = gate.tests[ROBUST].drop
        drop = (
            ""
            if math.isnan(so_far)
            else f", drop so far {texts.points(so_far, signed=True)} points"
        )
        self.bar.update(gate.seen / gate.n, f"{gate.seen}/{gate.n} booked{drop}")

    def _before(self) -> Run | None:
        """What an earlier call has written.

        None where there is nothing whole, as when it was killed between its two files.
        """
        (run_id,) = self.gated.plan.run_ids
        try:
            return read_run(self.store.run_path(run_id)) if self.store.has(run_id) else None
        except UserError:
            return None

    def _finding(self, gate: SequentialGate, info: dict[str, Any]) -> GateFinding:
        baseline, plan = self.gated.baseline.info, self.gated.plan
        notes = remarks(baseline, info) if info else []
        notes += edited("baseline", self.gated.baseline)
        if not gate.decided:
            notes.append(Note("out-of-time"))
        if gate.decided and gate.seen < gate.n:
            notes.append(Note("stopped-early", {"seen": gate.seen, "total": gate.n}))
        return GateFinding(
            checks=gate.checks() if gate.seen else [],
            baseline=baseline,
            candidate=info or {"run_id": plan.run_ids[0], "model": plan.subject.label},
            tolerances=self.tolerances,
            seen=gate.seen,
            total=gate.n,
            notes=notes,
        )


def truncated_run_columns(gated: GatePlan, seen: int, row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a run that holds the samples it took, and says so."""
    info, total, split = gated.baseline.info, len(gated.order), gated.plan.subject.split
    about = {"baseline": info["run_id"], "order_seed": gated.seed, "samples": seen, "of": total}
    changes: dict[str, Any] = {
        "attack": info["attack"],
        "config": json.dumps({**json.loads(row["config"]), "gate": about}),
    }
    if seen < total:
        chosen = split.take(torch.tensor(gated.order[:seen], device=split.labels.device))
        within = "" if row["subset"] is None else f" of {row['subset']}"
        changes |= {"status": STOPPED_EARLY, "subset": f"random={seen},seed={gated.seed}{within}"}
        changes |= {"data_hash": chosen.fingerprint()}
    return changes
