"""Attack models: skip what is known, decide the rest, write the runs, check and measure them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robbench.analysis.forecast import Forecast, together
from robbench.core.status import UNFINISHED
from robbench.reports.texts import disagreements, warnings
from robbench.store.run import Run, read_run, tags_of
from robbench.store.store import Store
from robbench.tasks.attack.earlier import decided, drop_leftovers, finished
from robbench.tasks.attack.forecast import forecast_attack
from robbench.tasks.attack.identity import code_modules
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.attack.points import points_to_replay
from robbench.tasks.attack.progress import Progress, shown_on, step_seconds
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.attack.shard_writer import ShardWriter
from robbench.tasks.check.after import check_after
from robbench.tasks.kept_code import keep_code
from robbench.tasks.listener import Listener
from robbench.tasks.measure.measurer import Measured, Measurer
from robbench.tasks.measure.observer import Observer
from robbench.tasks.measure.run import measure_run
from robbench.tasks.signals import StopFlag, stop_flag


class Attacked(NamedTuple):
    """A run, the automatic checks of it, and its measures where they were asked for."""

    plan: AttackPlan
    eps_index: int  # which of the plan's budgets
    run: Run
    checks: list[dict[str, Any]]  # rows of the checks table
    measured: Measured | None = None


def attack(
    plans: Sequence[AttackPlan],
    store: Store,
    *,
    force: bool = False,
    data_dir: Path | None = None,
    download: bool = False,
    listener: Listener | None = None,
    attacked: Callable[[list[Attacked]], None] = lambda found: None,
) -> list[Attacked]:
    """Run plans with their automatic checks, then measure the runs where the plan says so.

    Runs that are in the store already are read, unless `force`. `attacked` hears of all runs before
    the first is measured. Raises Stopped after a signal; what was decided is kept, and the same
    call goes on from there.
    """
    hears = listener or Listener()
    for plan in plans:
        _require_possible(plan, store, force)
    forecasts = forecast_all(plans, store, hears, force=force)
    found = [
        one
        for plan, forecast in zip(plans, forecasts, strict=True)
        for one in _attack_plan(plan, store, force, hears, forecast)
    ]
    attacked(found)
    observer = Observer(plans[0].device, data_dir, download)
    measurer = Measurer(store, observer, say=hears.say)
    return [
        one._replace(
            measured=measure_run(
                measurer,
                store.run_path(one.run.info["run_id"]),
                hears,
                force=False,
                subject=one.plan.subject,
            )
        )
        if one.plan.config.measure
        else one
        for one in found
    ]


def _require_possible(plan: AttackPlan, store: Store, force: bool) -> None:
    """Raises UserError for what is wrong with points or folder, before anything is said of cost."""
    if force or not finished(plan, store):
        if plan.replay:
            points_to_replay(plan.replay, plan.subject.split, plan.threats[-1])
        store.check_writable()


def forecast_all(
    plans: Sequence[AttackPlan], store: Store, listener: Listener, *, force: bool = False
) -> list[Forecast | None]:
    """What each plan will cost, told to the listener, and of several all together."""
    found = [
        listener.forecast(_title(plan), lambda plan=plan: forecast_attack(plan, store, force=force))  # type: ignore[misc]
        for plan in plans
    ]
    known = [forecast for forecast in found if forecast and forecast.samples]
    if len(known) > 1:
        listener.forecast("all together", lambda: together(known))
    return found


def _title(plan: AttackPlan) -> str:
    return f"{plan.config.name or plan.subject.name} {plan.threat}"


def _attack_plan(
    plan: AttackPlan, store: Store, force: bool, listener: Listener, forecast: Forecast | None
) -> list[Attacked]:
    title, size = _title(plan), len(plan.subject.split)
    for run_id, threat in zip(plan.run_ids, plan.threats, strict=True):
        listener.detail(
            f"run {run_id}: {plan.subject.name} on {size} of {plan.data}, {threat.text}, "
            f"{plan.attack}"
        )
    for note in plan.notes:
        listener.say(note)

    def resumed(known: int) -> None:
        listener.say(f"going on with {title}: {known} of {size} samples are decided already")

    with stop_flag(listener.say) as stop, listener.progress(title) as bar:
        outcome = run_plan(
            plan,
            store=store,
            force=force,
            resumed=resumed,
            watch=shown_on(bar, plan, forecast),
            weights=step_seconds(plan, forecast),
            stop=stop,
            say=listener.say,
        )
        stop.check()
        checks = check_after(
            plan,
            outcome.runs,
            store,
            fresh=outcome.fresh,
            say=listener.say,
            asked_to_stop=stop.check,
        )
        stop.check()
    if not outcome.fresh:
        listener.say(
            f"run {' '.join(plan.run_ids)} ({title}) is in the store already"
            f"{_kept(plan, outcome)}; nothing to do (--force runs it again)"
        )
    found = []
    for n, (run, rows) in enumerate(zip(outcome.runs, checks, strict=True)):
        for text in filter(None, [disagreements(run.info), *warnings(run.info, rows)]):
            listener.say(f"{run.info['model']} {run.info['threat']}: {text}")
        found.append(Attacked(plan, n, run, rows))
    return found


def _kept(plan: AttackPlan, outcome: Outcome) -> str:
    """What finished runs are called, where that is not what the plan says."""
    said = []
    if names := {run.info["model"] for run in outcome.runs} - {plan.label}:
        said.append(f" as {', '.join(sorted(names))}")
    tags = {tag for run in outcome.runs for tag in tags_of(run.info)}
    if missing := [tag for tag in plan.config.tag if tag not in tags]:
        said.append(f" without tag {', '.join(missing)}")
    return " and".join(said)


class Outcome(NamedTuple):
    """The runs of a plan, none when a signal came first.

    `fresh` is False when they were already in the store.
    """

    runs: list[Run]
    fresh: bool


def run_plan(
    plan: AttackPlan,
    *,
    store: Store,
    force: bool,
    resumed: Callable[[int], None],
    watch: Callable[[Progress], None],
    stop: StopFlag,
    say: Callable[[str], None] = lambda text: None,
    weights: Sequence[float] | None = None,
) -> Outcome:
    """Run a plan, resume it, or find it done.

    A stopped run keeps its finished samples for the next time.

    `resumed` gets the number of samples that an earlier process decided, if any; `say` the name of
    a process that holds the lock. `weights`: see `Cascade`.
    """
    if not force and (runs := finished(plan, store)):
        return Outcome(runs, fresh=False)
    # Bad points are an error before anything is written.
    stored = points_to_replay(plan.replay, plan.subject.split, plan.threats[-1])
    store.check_writable()
    with store.locked(plan.run_ids, say=say, asked_to_stop=stop.check):
        drop_leftovers(plan, store)
        if not force and (runs := finished(plan, store)):  # by the process that held the lock
            return Outcome(runs, fresh=False)
        session = AttackSession(plan, stored, weights)
        return _attack(plan, store, session, force, resumed, watch, stop)


def _attack(
    plan: AttackPlan,
    store: Store,
    session: AttackSession,
    force: bool,
    resumed: Callable[[int], None],
    watch: Callable[[Progress], None],
    stop: StopFlag,
) -> Outcome:
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    if force:
        for partial in partials:
            partial.discard()
    levels = [{}] * len(partials) if force else decided(plan, store)
    known = set.intersection(*(set(rows) for rows in levels))
    modules = code_modules(plan.subject, plan.entries)
    for run_id, partial in zip(plan.run_ids, partials, strict=True):
        keep_code(store.code_path(run_id), modules)  # before it runs: it may be edited meanwhile
        partial.keep_answers(plan.subject.answers)
    if known:
        resumed(len(known))
    rows = [[row for i, row in found.items() if i in known] for found in levels]
    size = len(plan.subject.split)
    todo = [i for i in range(size) if i not in known]
    outcomes = Counter(map(_outcome, rows[-1]))
    shards = ShardWriter(partials)
    with shards.flushing_on_stop(stop):
        session.inspect()
        for fresh in session.decide(todo, lambda: bool(stop)):
            for eps_index, row in fresh.rows:
                rows[eps_index].append(row)
                outcomes[_outcome(row)] += eps_index == len(rows) - 1
            shards.add(fresh.rows, fresh.points, now=bool(stop))
            share = (len(known) + session.progress * len(todo)) / size
            watch(
                Progress(
                    samples=len(rows[-1]),
                    total=size,
                    broken=outcomes["broken"],
                    robust=outcomes["robust"],
                    share=share,
                    entries=session.entries,
                    work=session.work,
                )
            )
    if len(rows[-1]) < size:
        return Outcome([], fresh=True)
    seconds = session.seconds
    if plan.config.store_points:
        shards.flush()  # what is on disk need not be in memory
    paths = []
    for eps_index, (found, partial) in enumerate(zip(rows, partials, strict=True)):
        found.sort(key=lambda row: row["sample_index"])
        points = partial.points() if plan.config.store_points else None
        row = session.run_row(eps_index, found, wall=seconds, resumed=len(known))
        paths.append(store.write(row, found, points, keep_shards=True))
    # Once all is written: a budget whose shards are gone would be attacked again.
    for partial in partials:
        partial.discard()
    return Outcome([read_run(path) for path in paths], fresh=True)


def _outcome(row: Mapping[str, Any]) -> str:
    if row["adversarial"]:
        return "broken"
    return "unfinished" if row["status"] == UNFINISHED else "robust"
