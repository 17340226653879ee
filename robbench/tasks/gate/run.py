"""Attack a candidate as a baseline was attacked, in random order, and only until the gate has decided."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from robbench.tasks.gate_booking import Booking, GatePlan

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import ROBUST, Tolerances
from robbench.analysis.gate_runs import find_reference, remarks
from robbench.analysis.sequential_gate import SequentialGate
from robbench.core import keyed
from robbench.core.errors import Stopped, UserError
from robbench.core.limits import time_text
from robbench.core.spec import short_hash, validate
from robbench.core.trust import names_from
from robbench.data.base import Split
from robbench.store.answers import settled
from robbench.store.find import STOPPED_EARLY
from robbench.store.locations import sibling_table
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.earlier import of_split
from robbench.tasks.attack.identity import changed_answers, full_specs
from robbench.tasks.attack.plan import plan_attacks
from robbench.tasks.attack.points import points_to_replay
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.attack.shard_writer import ShardWriter
from robbench.tasks.listener import Listener
from robbench.tasks.signals import StopFlag, stop_flag

_ORDER = 0x6F72646572  # keeps the order apart from the attacks' random numbers of the same seed


def gate(
    model: str,
    baseline: str | None,
    tolerances: Tolerances,
    *,
    out: Path,
    seed: int = 0,
    batch_size: int | None = None,
    seconds: float = math.inf,
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> GateFinding:
    """Attack a model as the baseline was attacked (None: the one that is set), and decide.

    Raises UserError as `plan_gate` does, Stopped after a signal; what was decided is kept, and the
    same call goes on from there.
    """
    hears, store = listener or Listener(), Store(out)
    reference, path = find_reference(store, baseline)
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
    title = f"{gated.plan.subject.name} against {reference.info['model']}"
    hears.detail(f"run {gated.plan.run_ids[0]}: {title}, {gated.plan.threat}, {gated.plan.attack}")
    for note in gated.plan.notes:
        hears.say(note)
    if not gated.plan.replay:
        hears.say(
            "the baseline kept no points to replay, which would save time: attack it with "
            "--store-points"
        )
    with stop_flag(hears.say) as stop, hears.progress(title) as bar:

        def watch(now: GateProgress) -> None:
            drop = "" if math.isnan(now.drop) else f", drop so far {100 * now.drop:+.1f} points"
            bar.update(now.seen / now.total, f"{now.seen}/{now.total} booked{drop}")

        def resumed(known: int) -> None:
            hears.say(f"going on with {title}: {known} samples are decided already")

        return gate_model(
            gated,
            tolerances,
            store=store,
            force=force,
            seconds=seconds,
            resumed=resumed,
            watch=watch,
            stop=stop,
            say=hears.say,
        )


class GateProgress(NamedTuple):
    """Where a gate stands: samples in order that are booked, of how many, and the drop of robust accuracy among them."""

    seen: int
    total: int
    drop: float


def plan_gate(model: str, baseline: Run, path: Path, tolerances: Tolerances, *, seed: int, batch_size: int | None, out: Path,
              device: str, data_dir: Path | None, download: bool) -> GatePlan:  # fmt: skip
    """The candidate under the baseline's samples, threat model and attacks, all as its run at `path` has them.

    Raises UserError for tolerances that need all samples, where the baseline cannot be repeated (no
    budget, a time limit, attacks or data that are no longer the same), and as `plan_attacks` does,
    before anything is written.
    """
    if tolerances.margin is not None or tolerances.per_class is not None:
        raise UserError(
            "margins and classes need every sample: attack the model, then give --candidate"
        )
    info = baseline.info
    config = _config(info, path, batch_size)
    with names_from(path, model):
        (plan,) = plan_attacks(
            [model], config, out=out, device=device, data_dir=data_dir, download=download
        )
    if sorted(full_specs(plan.entries)) != sorted(json.loads(info["attack_params"])):
        raise UserError(
            f"this robbench reads the attacks of run {info['run_id']} otherwise ({info['attack']}): run it again"
        )
    split = plan.subject.split
    if sorted(split.ids.tolist()) != sorted(baseline.samples["sample_id"].to_pylist()):
        raise UserError(
            f"the samples of {info['data']} are not those of the baseline {info['run_id']} (fingerprint {split.fingerprint()}, "
            f"not {info['data_hash']}): mend the data or attack a new baseline"
        )
    identity = {"gate": plan.identities[0], "baseline": info["run_id"], "order": seed}
    run_id, other = settled(Store(out), short_hash(identity), plan.subject.answers)
    plan = dataclasses.replace(
        plan, run_ids=(run_id,), notes=() if other is None else (changed_answers(other),)
    )
    return GatePlan(plan, baseline, random_order(split, seed), seed)


def random_order(split: Split, seed: int) -> list[int]:
    """Positions of the samples, sorted by a random number each has from the seed and its own content."""
    key = keyed.fold(keyed.fold(split.ids.cpu(), seed), _ORDER)
    return torch.argsort(key, stable=True).tolist()


def _config(info: dict[str, Any], path: Path, batch_size: int | None) -> AttackConfig:
    """The attack settings of a run, with its own points to replay where it kept any."""
    what = f"the baseline {info['run_id']}"
    if math.isinf(info["eps"]):
        raise UserError(
            f"{what} has no budget, so every sample is to be searched to the end: attack, then give --candidate"
        )
    if (seconds := info["max_time_s"]) is not None:
        raise UserError(
            f"{what} had the time limit {time_text(seconds)}, which no second run repeats: attack it without one, or with "
            "--max-queries"
        )
    try:
        stored, specs = json.loads(info["config"]), json.loads(info["attack_params"])
        settings = {name: stored.get(name) for name in ("limit", "precision", "compile")}
        if not isinstance(specs, list):
            raise ValueError
    except (ValueError, AttributeError):
        raise UserError(
            f"{what} does not say how it was attacked: make one with robbench attack"
        ) from None
    given = {
        **{name: value for name, value in settings.items() if value is not None},
        "attack": specs, "threat": [info["threat"]], "data": info["data"], "split": info["split"], "seed": info["seed"],
        "max_queries": info["max_queries"], "batch_size": batch_size or stored.get("batch_size"),
        "replay": [str(path.absolute())] if sibling_table(path, "points").is_file() else [],
    }  # fmt: skip
    return validate(
        AttackConfig, {name: value for name, value in given.items() if value is not None}, what
    )


def gate_model(gated: GatePlan, tolerances: Tolerances, *, store: Store, force: bool, seconds: float,
               resumed: Callable[[int], None], watch: Callable[[GateProgress], None], stop: StopFlag,
               say: Callable[[str], None] = lambda text: None) -> GateFinding:  # fmt: skip
    """Attack the candidate until the gate has decided, or `seconds` are over; a killed one goes on where it was.

    Samples are booked in their random order, each once it is decided. What was decided is kept; a
    decision is written as a run of the samples that it rests on. `say` hears for which other
    process is waited. Raises Stopped after a signal.
    """
    (run_id,) = gated.plan.run_ids
    if not force and (before := _before(store, run_id)):
        book = Booking(gated, tolerances)
        book.enter({row["sample_index"]: row for row in before.samples.to_pylist()})
        if book.gate.decided:
            return _finding(gated, book.gate, tolerances, before.info)
    store.check_writable()
    with store.locked([run_id], say=say, asked_to_stop=stop.check):
        return _gate_model(gated, tolerances, store, force, seconds, resumed, watch, stop)


def _gate_model(gated: GatePlan, tolerances: Tolerances, store: Store, force: bool, seconds: float,
                resumed: Callable[[int], None], watch: Callable[[GateProgress], None], stop: StopFlag) -> GateFinding:  # fmt: skip
    plan, order = gated.plan, gated.order
    (run_id,), partial = plan.run_ids, store.partial(plan.run_ids[0])
    if force:
        partial.discard()
    before = None if force else _before(store, run_id)
    rows = of_split(
        [*(before.samples.to_pylist() if before else []), *partial.rows()], plan.subject.split
    )
    replay = points_to_replay(plan.replay, plan.subject.split, plan.threats[-1])
    known, book = len(rows), Booking(gated, tolerances)
    book.enter(rows)
    if known and not book.gate.decided:
        resumed(known)
    session, shards = AttackSession(plan, replay), ShardWriter([partial])

    def over() -> bool:
        return bool(stop) or session.seconds > seconds or book.gate.decided

    if not over():
        partial.keep_answers(plan.subject.answers)
        session.inspect()
    with shards.flushing_on_stop(stop):
        while not over():
            todo = [i for i in order[book.gate.seen : book.gate.seen + plan.width] if i not in rows]
            for fresh in session.decide(todo, over):
                rows |= {row["sample_index"]: row for _, row in fresh.rows}
                shards.add(fresh.rows, fresh.points, now=bool(stop))
                book.enter(rows)
                watch(GateProgress(book.gate.seen, len(order), book.gate.tests[ROBUST].drop))
        shards.flush()
    if not book.gate.decided and stop:
        raise Stopped(stop.exit_code)
    info: dict[str, Any] = before.info if before else {}
    if book.gate.decided and book.gate.seen > (before.info["n_samples"] if before else 0):
        kept = sorted(
            (rows[i] for i in order[: book.gate.seen]), key=lambda row: row["sample_index"]
        )
        row = session.run_row(0, kept, wall=session.seconds, resumed=known)
        info = read_run(
            store.write(row | truncated_run_columns(gated, book.gate.seen, row), kept)
        ).info
    return _finding(gated, book.gate, tolerances, info)


def _before(store: Store, run_id: str) -> Run | None:
    """What an earlier call has written; None where there is nothing whole, as when it was killed between its two files."""
    try:
        return read_run(store.run_path(run_id)) if store.has(run_id) else None
    except UserError:
        return None


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


def _finding(
    gated: GatePlan, gate: SequentialGate, tolerances: Tolerances, info: dict[str, Any]
) -> GateFinding:
    baseline, plan = gated.baseline.info, gated.plan
    notes = remarks(baseline, info) if info else []
    if not gate.decided:
        notes.append("time was up; what was decided is kept, and the same command goes on")
    if gate.decided and gate.seen < gate.n:
        notes.append(
            f"stopped after {gate.seen} of {gate.n} samples in random order: that was enough"
        )
    known = info or {"run_id": plan.run_ids[0], "model": plan.subject.label}
    return GateFinding(
        checks=gate.checks() if gate.seen else [], baseline=baseline, candidate=known, tolerances=tolerances, seen=gate.seen,
        total=gate.n, notes=notes,
    )  # fmt: skip
