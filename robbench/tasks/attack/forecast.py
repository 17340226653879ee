"""What a plan will cost: bounds of its attacks, the model's pace here, and similar runs."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from robbench.analysis.budgets import smaller_budgets
from robbench.analysis.forecast import AUDIT, LOOKS, Forecast, Part, by_attack
from robbench.core.device import deterministic
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.tiles import largest_tile, rows_measured
from robbench.engine.fast_model import fast_model
from robbench.engine.inspection import SAMPLES
from robbench.engine.stopwatch import Pace, measure_pace
from robbench.store.find import parquet_files
from robbench.store.locations import Location
from robbench.store.row import in_threads, run_row
from robbench.store.run import read_run
from robbench.store.settings import audit_asked
from robbench.store.store import Store
from robbench.tasks.attack.bounds import looks_of_entries, queries_of_entries
from robbench.tasks.attack.earlier import decided_by_all, of_split, places_of
from robbench.tasks.attack.identity import attack_codes, full_specs
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.forecast import device_text

NEWEST = 200  # runs files that are looked at for similar ones
LEARNED = 8  # similar runs that are read
_COST = ("n_forward", "n_backward", "broken_by", "audited")
_LIKE = (
    *("run_id", "data", "threat", "norm", "eps", "attack_params", "max_queries", "max_time_s"),
    *("status", "config", "provenance"),
)


def forecast_attack(
    plan: AttackPlan, store: Store | None, *, force: bool = False, pace: Pace | None = None
) -> Forecast:
    """The cost of what is left of a plan; the model is asked a few times, and left as it was.

    pace: as of `pace_of`, where it was measured before. Raises as the attack itself would where the
    model cannot be asked.
    """
    todo, left = _undecided(plan, store, force)
    samples = todo or left
    share = left / samples if samples else 0.0  # of these samples so many are audited
    most, specs = bounds(plan), part_names(plan)
    own = 1 + len(plan.entries)
    like = _similar(plan, store) if store is not None and todo and len(plan.threats) == 1 else []
    usual = [by_attack(rows, specs[1:], most) for _, rows in like]
    if pace is None:
        pace = pace_of(plan) if samples else Pace(0.0, 0.0, (0.0,) * len(plan.all_entries))
    seconds = [pace.forward]
    for n, entry in enumerate(plan.all_entries):
        gradients = entry.attack.gradients(plan.classes_in_play)
        draws = entry.attack.draws
        seconds.append(pace.step(n, gradients, draws) / (draws * (1 + gradients)))
    shares = [float(todo > 0)] * own + [share] * (len(specs) - own)
    parts = tuple(
        Part(name, None if bound is None else bound * part, cost, tuple(run[n] for run in usual))
        for n, (name, bound, part, cost) in enumerate(
            zip(specs, most, shares, seconds, strict=True)
        )
    )
    runs = tuple(run_id for run_id, _ in like)
    return Forecast(
        samples,
        parts,
        runs,
        device_text(plan.device),
        plan.config.max_time,
        start=_start(plan, pace),
    )


def part_names(plan: AttackPlan) -> list[str]:
    """What the parts of a plan's forecast are called, looks first."""
    audit = [f"{AUDIT}{entry.spec}" for entry in plan.all_entries[len(plan.entries) :]]
    return [LOOKS, *(entry.spec for entry in plan.entries), *audit]


def bounds(plan: AttackPlan) -> list[float | None]:
    """Queries per sample at most: of looks, then of each attack; None for another package's.

    Those of the audit are of an audited sample. A point that the model refuses after all costs one
    look more, which is not in it.
    """
    classes, budgets, queries = plan.classes_in_play, len(plan.threats), plan.config.max_queries
    endless = math.isinf(plan.threats[-1].eps)
    looks = looks_of_entries(
        plan.entries, classes, budgets, replay=bool(plan.replay), endless=endless
    )
    found = [looks, *queries_of_entries(plan.entries, classes, budgets, queries)]
    audit = plan.all_entries[len(plan.entries) :]
    return found + queries_of_entries(audit, classes, budgets, queries)


def _start(plan: AttackPlan, pace: Pace) -> float:
    """Seconds of measuring in which numbers of rows answers are equal, and of the inspection."""
    split = plan.subject.split
    inspected = min(SAMPLES, len(split))
    # Two forwards and a backward of each.
    rows = rows_measured(plan.device, split.images.shape[1:], inspected) + 2 * inspected
    return rows * (2 * pace.forward + pace.backward)


def _undecided(plan: AttackPlan, store: Store | None, force: bool) -> tuple[int, int]:
    """How many samples are to be attacked, and how many to be audited at most."""
    own = plan.part.of(len(plan.subject.split))
    size = len(own)
    drawn = 0 if plan.audit is None else size if plan.audit.adaptive else plan.audit.size
    drawn = min(drawn, size)
    if store is None or force:
        return size, drawn
    partials = places_of(plan, store).partials
    shards = [of_split(partial.rows(), plan.subject.split) for partial in partials]
    if not any(shards) and all(store.has(run_id) for run_id in plan.run_ids):
        return 0, 0
    audited = of_split(partials[-1].audited_rows(), plan.subject.split) if drawn else {}
    return len(set(own) - decided_by_all(shards)), max(drawn - len(audited), 0)


def pace_of(plan: AttackPlan) -> Pace:
    """How long the model and the steps of a plan's attacks take here; the model is as it was."""
    model, split = plan.subject.model, plan.subject.split
    with frozen(model), deterministic():
        tile = largest_tile(plan.device, split.images.shape[1:]).rows
        x = split.pixels(slice(0, 8))
        # Compiling takes minutes: the model itself is measured in its place.
        fast = fast_model(model, x, precision=plan.config.precision, compiled=False, tile=tile)
        return measure_pace(
            fast.model,
            split,
            plan.threats,
            plan.all_entries,
            seed=plan.config.seed,
            width=plan.width,
        )


def _similar(plan: AttackPlan, store: Store) -> list[tuple[str, list[dict[str, object]]]]:
    """Finished runs of the same attacks on the same data under the same threat model alone.

    The code of the attacks is the same too: one version, or private code of equal text. Their ids
    and costs, newest first. Files that cannot be read are left out.
    """
    files = parquet_files(store.run_path("none").parent)
    newest = sorted(files, key=lambda path: -Path(str(path)).stat().st_mtime)[:NEWEST]
    wanted = {
        "data": plan.data,
        "threat": plan.threats[0].text,
        "attack_params": json.dumps(full_specs(plan.entries)),
        "max_queries": plan.config.max_queries,
        "max_time_s": None,
        "status": "done",
    }
    codes, audit = attack_codes(plan.all_entries), audit_asked(dataclasses.asdict(plan.config))
    found: list[tuple[str, list[dict[str, object]]]] = []
    for path, row in zip(newest, in_threads(_row, newest), strict=True):
        alike = row and all(row[name] == value for name, value in wanted.items())
        same = alike and _codes(row) == codes and audit_asked(json.loads(row["config"])) == audit
        if same and not smaller_budgets(row):
            if len(found) == LEARNED:
                break
            try:
                found.append((str(row["run_id"]), read_run(path, _COST).samples.to_pylist()))
            except UserError:
                continue
    return found


def _codes(row: dict[str, Any]) -> Any:
    return json.loads(row["provenance"]).get("attack_code")


def _row(path: Location) -> dict[str, Any]:
    try:
        return run_row(path, _LIKE)
    except UserError:
        return {}
