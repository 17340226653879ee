"""Write runs whose samples are all decided by parts: without the model, from what these left."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from robbench.analysis.commands import attack_command
from robbench.core.documents import parse_json
from robbench.core.errors import UserError
from robbench.core.spec import short_hash
from robbench.data.base import Split
from robbench.store.hints import place
from robbench.store.row import RUN_ID
from robbench.store.store import Store
from robbench.tasks.attack.earlier import Rows, decided_by_all, with_points
from robbench.tasks.attack.facts import read_flag_facts
from robbench.tasks.attack.kept import kept
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.attack.rows import finished_row
from robbench.tasks.attack.session import AttackSession

Row = dict[str, Any]


class Merged(NamedTuple):
    """An attack that was not finished: its runs, one for each budget, and what came of it.

    missing: samples that no part has decided. audit: it has one, which takes the model. command:
    what does the rest; None where nothing says so.
    """

    run_ids: list[str]
    model: str
    threat: str
    attack: str
    samples: int
    missing: int
    audit: bool
    merged: bool
    command: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Left:
    """What a part leaves beside its rows: all that the run of one budget takes but the model.

    threat: all budgets. samples, digest: how many there are, and a hash of their places, ids and
    labels.
    """

    run_ids: list[str]
    threat: str
    samples: int
    digest: str
    points: bool
    audit: bool
    row: Row
    flags: Row


def left_by(session: AttackSession, eps_index: int) -> str:
    """As JSON, for the partial run of one budget."""
    plan: AttackPlan = session.plan
    split: Split = plan.subject.split
    facts = zip(range(len(split)), split.ids.tolist(), split.labels.tolist(), strict=True)
    left = Left(
        run_ids=list(plan.run_ids),
        threat=plan.threat,
        samples=len(split),
        digest=_digest(facts),
        points=plan.config.store_points,
        audit=plan.audit is not None,
        **session.kept(eps_index),
    )
    return json.dumps(dataclasses.asdict(left), default=str)


def merge(
    store: Store,
    names: Sequence[str] = (),
    *,
    say: Callable[[str], None],
    asked_to_stop: Callable[[], None] = lambda: None,
) -> list[Merged]:
    """Write what is complete of the unfinished attacks that `names` mean, all without names.

    A name is a run id, at least its first 4 characters, or a model's name. Raises UserError for a
    name that means none of them.
    """
    found = _unfinished(store)
    chosen = [left for left in found if not names or any(_means(name, left) for name in names)]
    for name in names:
        if not any(_means(name, left) for left in found):
            known = ", ".join(left.run_ids[0] for left in found) or "there is none"
            raise UserError(f"no unfinished run is called '{name}': {known}")
    return [_merge(store, left, say, asked_to_stop) for left in chosen]


def _means(name: str, left: Left) -> bool:
    ids = left.run_ids
    return name == left.row["model"] or (
        len(name) >= 4 and any(run_id.startswith(name) for run_id in ids)
    )


def _unfinished(store: Store) -> list[Left]:
    """One for each attack with shards, by its first budget; others have another process to end."""
    found: dict[str, Left] = {}
    for folder in sorted((store.root / "results" / "partial").glob("*")):
        if RUN_ID.fullmatch(folder.name) and (left := _read(store, folder.name)):
            found.setdefault(left.run_ids[0], left)
    return list(found.values())


def _read(store: Store, run_id: str) -> Left | None:
    """What parts have left of a run; None for a run without parts, or of another robbench."""
    text = store.partial(run_id).plan()
    try:
        content = None if text is None else parse_json(text, f"the plan of run {run_id}")
        left = None if content is None else Left(**content)
        return left if left and run_id in left.run_ids and left.row["run_id"] == run_id else None
    except (UserError, TypeError, KeyError):
        return None


def _merge(
    store: Store,
    left: Left,
    say: Callable[[str], None],
    asked_to_stop: Callable[[], None],
) -> Merged:
    if not (missing := _missing(store, left)) and not left.audit:
        with store.locked(left.run_ids, say=say, asked_to_stop=asked_to_stop):
            missing = _missing(store, left)  # another process may have been faster
            done = not missing and _write(store, left)
    else:
        done = False
    row, command = left.row, attack_command(left.row)
    words = "" if command is None else command.line
    return Merged(
        left.run_ids,
        row["model"],
        left.threat,
        row["attack"],
        left.samples,
        missing,
        left.audit,
        done or all(map(store.has, left.run_ids)),
        None if done or not words else words + ("" if " --out" in words else place(store.root)),
    )


def _to_write(store: Store, left: Left) -> list[str]:
    """The runs that are not finished; all where they are being made again."""
    done = kept(store, left.run_ids, points=left.points)
    return [run_id for run_id in left.run_ids if run_id not in done]


def _levels(store: Store, left: Left, run_ids: Sequence[str]) -> Iterator[Rows]:
    for run_id in run_ids:
        partial = store.partial(run_id)
        found = partial.rows()
        rows = {row["sample_index"]: row for row in found if row["sample_index"] < left.samples}
        yield with_points(rows, partial.samples_with_points()) if left.points else rows


def _missing(store: Store, left: Left) -> int:
    """How many samples are not decided at every budget; all where they are of other data."""
    levels = list(_levels(store, left, _to_write(store, left)))
    known = decided_by_all(levels)
    if len(known) == left.samples and any(_digest(_facts(rows)) != left.digest for rows in levels):
        return left.samples
    return left.samples - len(known)


def _facts(rows: Rows) -> Iterator[tuple[int, int, int]]:
    return ((i, row["sample_id"], row["label"]) for i, row in sorted(rows.items()))


def _digest(facts: Iterable[tuple[int, int, int]]) -> str:
    """Of the place, id and label of each sample."""
    return short_hash([list(one) for one in facts])


def _write(store: Store, left: Left) -> bool:
    run_ids = _to_write(store, left)
    for run_id, rows in zip(run_ids, _levels(store, left, run_ids), strict=True):
        own = _read(store, run_id)
        if own is None:
            return False
        ordered = [rows[i] for i in range(left.samples)]
        facts = {**own.row, "started_at": datetime.fromisoformat(own.row["started_at"])}
        row = finished_row(
            facts,
            ordered,
            disagreements=None,
            flags=read_flag_facts(own.flags).flags(ordered),
            wall=math.nan,
            resumed=left.samples,
        )
        points = store.partial(run_id).points() if left.points else None
        store.write(row, ordered, points, keep_shards=True)
    for run_id in run_ids:
        store.partial(run_id).discard()
    return True
