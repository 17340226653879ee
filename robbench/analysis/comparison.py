"""Compare runs: find them, read them, refuse to mix what does not belong together, pair them.

Needs no torch.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robbench.analysis.answer import Answer, Checks, answers
from robbench.analysis.certified import Proofs, add_proofs, proofs
from robbench.analysis.checked import state
from robbench.analysis.checkpoints import join_checkpoints, of_last
from robbench.analysis.choose import choose, said
from robbench.analysis.comparable import Difference, differences, same_threat
from robbench.analysis.compare import COLUMNS, NOTHING_IN_COMMON, compare, on_common_samples
from robbench.analysis.corrupted import under_corruptions
from robbench.analysis.seeds import between_seeds, over_training_seeds
from robbench.analysis.tolerances import Tolerance
from robbench.core.errors import UserError, nearest
from robbench.store.locations import Location, sibling_table
from robbench.store.row import in_threads
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.store.tables import read_sibling

KINDS = ("data", "split", "subset", "samples", "attack", "limits")
"""What runs of one comparison have in common, unless they are allowed not to.

Attack and limits only within a threat model: each has a table of its own.
"""
_OF_ALL, _OF_A_TABLE = KINDS[:4], KINDS[4:]
_CHECKED = ("check", "verdict", "severity", "text", "automatic")
_COLUMNS = {"samples": ("data_hash",), "limits": ("max_time_s", "max_queries")}
"""The columns that differ, of a kind that is not called as its column."""


@dataclass(frozen=True)
class Comparison:
    """`rows` as of `analysis/compare.py`; `notes` are for the reader.

    `failed` is what went beyond the tolerances, `unjudged` are runs that were held against none:
    {"model", "run_id", "threat", "text"}. `answers` are as of `analysis/answer.py`, `corrupted` as
    of `analysis/corrupted.py`.
    """

    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    unjudged: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    corrupted: list[dict[str, Any]] = field(default_factory=list)


def compare_runs(
    names: Sequence[str],
    out: Path,
    *,
    where: Sequence[str] = (),
    allow: Sequence[str] = (),
    over_seeds: bool = False,
    best_last: bool = False,
    fail_on: Sequence[Tolerance] = (),
) -> Comparison:
    """Compare the runs that `names` select with the first of them, the baseline.

    `names` and `where` are as for `choose`. Raises UserError as `choose` and `read_run` do;
    for runs that differ in something that is not in `allow` (of KINDS), or have no sample in
    common; and with `fail_on` for no pair, or for a model none of whose runs has one.
    """
    _require_kinds(allow)
    paths = choose(Store(out), names, where)
    read = list(in_threads(lambda path: (read_run(path, COLUMNS), _checks(path)), paths))
    checks = {run.info["run_id"]: found for run, found in read}
    return compare_read(
        [run for run, _ in read],
        allow=allow,
        over_seeds=over_seeds,
        best_last=best_last,
        fail_on=fail_on,
        checks=checks,
        certified=proofs(paths, [run for run, _ in read]),
    )


def _checks(path: Location) -> list[dict[str, Any]]:
    return list(read_sibling(sibling_table(path, "checks"), "checks", _CHECKED))


def compare_read(
    runs: Sequence[Run],
    *,
    allow: Sequence[str] = (),
    over_seeds: bool = False,
    best_last: bool = False,
    fail_on: Sequence[Tolerance] = (),
    checks: Checks | None = None,
    certified: Mapping[str, Proofs] | None = None,
) -> Comparison:
    """As `compare_runs`, of runs that have been read (or were never written).

    checks: rows of the checks table by run id. certified: as `proofs` has it.
    best_last: as `join_checkpoints`.
    """
    allow = _require_kinds(allow)
    last: dict[str, Run] = {}
    older = _older(runs)
    if best_last:
        runs, last = join_checkpoints(runs)
    marks = _refuse_mixtures(runs, allow)
    rows = compare(runs)
    add_proofs(rows, certified or {})
    for row, differing in zip(rows, marks, strict=True):
        row["differs"] = differing
        row |= of_last(last.get(row["run_id"]))
        row["checks"] = None if checks is None else state(checks.get(row["run_id"], ()))
    apart = [row for row in rows if (row["note"] or "").startswith(NOTHING_IN_COMMON)]
    if apart and "samples" not in allow:
        which = f"{apart[0]['model']} ({apart[0]['run_id']}): {apart[0]['note']}"
        raise UserError(
            f"{which}; attack both on the same samples (the same --limit), or show them with "
            "--allow samples"
        )
    notes = [] if over_seeds else between_seeds(runs, rows)
    if over_seeds:
        rows = over_training_seeds(runs, rows)
    if fail_on and not any(row["baseline"] for row in rows):
        raise UserError(
            "--fail-on needs two runs that can be paired: name the baseline first, then what to "
            "hold against it"
        )
    unjudged = _unjudged(rows) if fail_on else []
    failed = _failures_of_means(rows, fail_on) if over_seeds else _failures(runs, rows, fail_on)
    said = answers(runs, over_seeds=over_seeds, checks=checks)
    corrupted = [] if over_seeds else under_corruptions(runs)
    return Comparison(rows, [*older, *notes], failed, unjudged, said, corrupted)


def _require_kinds(allow: Sequence[str]) -> list[str]:
    """The kinds of difference that `allow` names, which may list several in one text."""
    allow = [kind for given in allow for kind in given.split(",")]
    if wrong := [kind for kind in allow if kind not in KINDS]:
        raise UserError(f"--allow {wrong[0]}: no such difference{nearest(wrong[0], KINDS)}")
    return allow


def _refuse_mixtures(runs: Sequence[Run], allow: Sequence[str]) -> list[list[str]]:
    """In what each run differs from the first, or the first of its threat model.

    Raises UserError unless all of that is allowed.
    """
    marks = []
    refused: dict[Difference, list[tuple[Run, Run]]] = {}
    heads: list[Run] = []
    for run in runs:
        head = next((one for one in heads if same_threat(one.info, run.info)), run)
        heads += [run] if head is run else []
        found = [
            (difference, other)
            for other, kinds in ((runs[0], _OF_ALL), (head, _OF_A_TABLE))
            for difference in differences(run.info, other.info)
            if difference.about in kinds
        ]
        marks.append([difference.about for difference, _ in found])
        for difference, other in found:
            if difference.about not in allow:
                refused.setdefault(difference, []).append((run, other))
    if refused:
        raise UserError(_mixture(refused, runs))
    return marks


def _mixture(found: Mapping[Difference, list[tuple[Run, Run]]], runs: Sequence[Run]) -> str:
    said = []
    for difference, those in list(found.items())[:3]:
        some = ", ".join(f"{run.info['model']} {run.info['run_id'][:4]}" for run, _ in those[:3])
        first = those[0][1].info
        said.append(
            f"{difference} ({some}{', ...' if len(those) > 3 else ''} against {first['model']} "
            f"{first['run_id'][:4]})"
        )
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    kinds = list(dict.fromkeys(difference.about for difference in found))
    columns = [name for kind in kinds for name in _COLUMNS.get(kind, (kind,))]
    choose = shlex.join(
        word for condition in _shared(runs, columns) for word in ("--where", condition)
    )
    allowed = " ".join(f"--allow {kind}" for kind in kinds)
    return (
        f"the {len(runs)} runs differ in {'; '.join(said)}{more}. Show them together with "
        f"{allowed}, or choose with {choose}"
    )


def _shared(runs: Sequence[Run], columns: Sequence[str]) -> tuple[str, ...]:
    """Conditions that hold for runs of the most models, of equally many those of the first run."""
    models: dict[tuple[str, ...], set[str]] = {}
    for run in runs:
        models.setdefault(tuple(f"{name}={said(run.info[name])}" for name in columns), set()).add(
            run.info["model"]
        )
    return max(models, key=lambda conditions: len(models[conditions]))


def _older(runs: Sequence[Run]) -> list[str]:
    kinds = Counter(run.older for run in runs if run.older)
    return [
        f"{count} of {len(runs)} runs were written by an older robbench ({kind}): read, and what "
        "they lack counts as unknown"
        for kind, count in kinds.items()
    ]


def _unjudged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without a pair, in words. Raises UserError for a model that has only such rows.

    Who names a model would take it to have passed. A model that is judged may have other runs.
    """
    bases = {row["baseline"] for row in rows}
    alone = [row for row in rows if row["baseline"] is None and row["run_id"] not in bases]
    judged = {row["model"] for row in rows if row not in alone}
    found = []
    for row in alone:
        why = "a baseline without a pair" if row["note"] == "baseline" else row["note"]
        text = f"{row['model']} ({row['run_id']}, {row['threat']}): {why}"
        if row["model"] not in judged:
            raise UserError(
                f"--fail-on cannot judge {text}; attack it as the others, or leave it out"
            )
        found.append({name: row[name] for name in ("model", "run_id", "threat")} | {"text": text})
    return found


def _failures(
    runs: Sequence[Run], rows: Sequence[dict[str, Any]], limits: Sequence[Tolerance]
) -> list[dict[str, Any]]:
    by_id = {run.info["run_id"]: run for run in runs}
    failed: list[dict[str, Any]] = []
    for row in rows if limits else []:
        if row["baseline"] is not None:
            both = on_common_samples(by_id[row["run_id"]], by_id[row["baseline"]])
            mine, theirs = (compare([run])[0] for run in both)
            failed += [found for limit in limits if (found := limit.failure(mine, theirs))]
    return failed


def _failures_of_means(
    rows: Sequence[dict[str, Any]], limits: Sequence[Tolerance]
) -> list[dict[str, Any]]:
    by_id = {row["run_id"]: row for row in rows}
    pairs = [(row, by_id[row["baseline"]]) for row in rows if row["baseline"] is not None]
    return [found for row, base in pairs for limit in limits if (found := limit.failure(row, base))]
