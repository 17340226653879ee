"""Attack models: forecast, attack, check and measure them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from robbench.analysis.forecast import Forecast, together
from robbench.engine.corrupted import Answer
from robbench.reports.audit import audit
from robbench.reports.texts import disagreements, loaded, warnings
from robbench.store.run import Run, tags_of
from robbench.store.store import Store
from robbench.tasks.attack.earlier import finished, left_to_others
from robbench.tasks.attack.forecast import forecast_attack
from robbench.tasks.attack.job import AttackJob
from robbench.tasks.attack.parts import Crew, Workers
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.attack.points import points_to_replay
from robbench.tasks.check.after import check_after
from robbench.tasks.listener import Listener
from robbench.tasks.measure.measurer import Measured, Measurer
from robbench.tasks.measure.observer import Observer
from robbench.tasks.measure.run import measure_run
from robbench.tasks.signals import stop_flag


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
    workers: Workers | None = None,
    listener: Listener | None = None,
    attacked: Callable[[list[Attacked]], None] = lambda found: None,
) -> list[Attacked]:
    """Run plans with their automatic checks, then measure the runs where the plan says so.

    Runs that are in the store already are read, unless `force`. Of a plan whose part is done while
    others are not there are no runs yet. `attacked` hears of all runs before the first is measured.
    Raises Stopped after a signal; what was decided is kept, and the same
    call goes on from there.
    """
    listener = listener or Listener()
    crew = require_possible(plans, store, workers or Workers(), force=force)
    if any(force or not finished(plan, store) for plan in plans):
        store.check_writable()
    forecasts = forecast_all(plans, store, listener, force=force)
    found: list[Attacked] = []
    with crew.engine if crew else contextlib.nullcontext():
        pairs = zip(plans, forecasts, strict=True)
        for _, own in itertools.groupby(pairs, lambda pair: pair[0].subject.model):
            clean: dict[int, Answer] = {}
            for plan, forecast in own:
                found += _attack_plan(plan, store, force, listener, forecast, crew, clean)
    attacked(found)
    observer = Observer(plans[0].device, data_dir, download)
    measurer = Measurer(store, observer, say=listener.say)
    return [
        one._replace(
            measured=measure_run(
                measurer,
                store.run_path(one.run.info["run_id"]),
                listener,
                force=False,
                subject=one.plan.subject,
            )
        )
        if one.plan.config.measure
        else one
        for one in found
    ]


def require_possible(
    plans: Sequence[AttackPlan], store: Store, workers: Workers, *, force: bool = False
) -> Crew | None:
    """The workers for some plans, before anything is said of cost; nothing is written.

    Raises UserError for what is wrong with them or with points to replay.
    """
    crew = workers.crew(plans, store)
    for plan in plans:
        if plan.replay and (force or not finished(plan, store)):
            points_to_replay(plan.replay, plan.subject.split, plan.threats[-1])
    return crew


def forecast_all(
    plans: Sequence[AttackPlan], store: Store, listener: Listener, *, force: bool = False
) -> list[Forecast | None]:
    """What each plan will cost, and several all together, for the listener to show."""
    found = [
        None  # many short runs, which a bar each tells enough of
        if plan.threats[0].corruption
        else listener.forecast(plan.title, partial(forecast_attack, plan, store, force=force))
        for plan in plans
    ]
    known = [forecast for forecast in found if forecast and forecast.samples]
    if len(known) > 1:
        listener.forecast("all together", lambda: together(known))
    return found


def _attack_plan(
    plan: AttackPlan,
    store: Store,
    force: bool,
    listener: Listener,
    forecast: Forecast | None,
    crew: Crew | None,
    clean: dict[int, Answer],
) -> list[Attacked]:
    for run_id, threat in zip(plan.run_ids, plan.threats, strict=True):
        listener.detail(
            f"run {run_id}: {plan.subject.name} on {len(plan.subject.split)} of {plan.data}, "
            f"{threat.text}, {plan.attack}"
        )
    for note in plan.notes:
        listener.say(note)
    with stop_flag(listener.say) as stop, listener.progress(plan.title) as bar:
        job = AttackJob(plan, store, listener, bar, stop, forecast, clean)
        if crew is not None:
            crew.decide(job, force=force)
        outcome = job.run(force=force and crew is None)
        stop.check()
        if not outcome.runs:
            listener.say(f"{plan.title}: done; {left_to_others(plan, store)}")
            return []
        checks = check_after(
            plan,
            outcome.runs,
            store,
            fresh=outcome.fresh,
            kept=outcome.kept,
            say=listener.say,
            asked_to_stop=stop.check,
        )
        stop.check()
    if not outcome.fresh:
        listener.say(
            f"run {' '.join(plan.run_ids)} ({plan.title}) is in the store already"
            f"{_called(plan, outcome.runs)}; nothing to do (--force runs it again)"
        )
    for run in outcome.runs:
        if run.info["run_id"] in outcome.kept:
            listener.say(
                f"run {run.info['run_id']} ({plan.label} {run.info['threat']}) was in the store "
                f"already{_called(plan, [run])}; it stays as it is (--force runs it again)"
            )
    found = []
    for n, (run, rows) in enumerate(zip(outcome.runs, checks, strict=True)):
        said = [audit(run.info), *loaded(run.info), disagreements(run.info)]
        said += warnings(run.info, rows)
        for text in filter(None, said):
            listener.say(f"{run.info['model']} {run.info['threat']}: {text}")
        found.append(Attacked(plan, n, run, rows))
    return found


def _called(plan: AttackPlan, runs: Sequence[Run]) -> str:
    """What finished runs are called, where that is not what the plan says."""
    said = []
    if names := {run.info["model"] for run in runs} - {plan.label}:
        said.append(f" as {', '.join(sorted(names))}")
    tags = {tag for run in runs for tag in tags_of(run.info)}
    if missing := [tag for tag in plan.config.tag if tag not in tags]:
        said.append(f" without tag {', '.join(missing)}")
    return " and".join(said)
