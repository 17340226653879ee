"""Hold a run against each of the last N, so that many small drops add up.

The question is whether it is worse than any of them by more than is tolerated. A regression is
shown at alpha / N against one of them, so that with all N it is shown wrongly with at most alpha;
for a pass such a drop is ruled out at alpha against each of them, which together errs with at most
alpha however many they are (R. L. Berger, "Multiparameter hypothesis testing and acceptance
sampling", Technometrics 24, 1982).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.analysis.comparable import differences
from robbench.analysis.gate import COLUMNS, GateFinding, Note, judge
from robbench.analysis.gate_checks import CLEAN, ROBUST, GateCheck, Tolerances, needed_for_rate
from robbench.analysis.gate_runs import edited, remarks
from robbench.analysis.summary import COLUMNS as SUMMARY_COLUMNS
from robbench.core.errors import UserError
from robbench.statistics.paired import RULED_OUT, drop_interval
from robbench.store.baseline import one_run
from robbench.store.find import run_refs
from robbench.store.index import require_rows
from robbench.store.locations import Location
from robbench.store.row import in_threads
from robbench.store.run import Run, read_run
from robbench.store.store import Store

_COLUMNS = tuple(dict.fromkeys((*COLUMNS, *SUMMARY_COLUMNS)))
_FEWEST = 2


def parse_against(text: str) -> int:
    """N of `last:N`. Raises UserError for another text, and for N below 2."""
    found = re.fullmatch(r"last:([0-9]{1,6})", text)
    if found is None or int(found[1]) < _FEWEST:
        raise UserError(
            f"--against {text}: write last:N, N from {_FEWEST} on, such as last:10; one run is "
            "given as --baseline"
        )
    return int(found[1])


def gate_last(
    store: Store, count: int, tolerances: Tolerances, *, candidate: str | None, of: str | None
) -> GateFinding:
    """Judge a run against the last `count` comparable ones that were begun before it.

    candidate: None is the newest of the runs that `of` means, or of all. of: the runs to hold it
    against, such as the name of a nightly model; None means those of the candidate's name. Earlier
    runs that cannot be read are left out, with a note, and so are runs files that do not say of
    what they are, where the candidate is a path or a whole run id: otherwise such a file may be the
    candidate's. Raises UserError for that, for names that mean nothing, for fewer than two runs to
    hold it against, and for what is judged against one only.
    """
    _require_rates(count, tolerances)
    found = [one_run(store, candidate)] if candidate else store.find_local([of] if of else [])
    run = read_run(run_refs(found)[-1].path, _COLUMNS)
    if math.isinf(run.info["eps"]):
        raise UserError(
            f"run {run.info['run_id']} has no budget, and so no robust accuracy to hold against "
            "others: give --baseline and --max-margin-drop, without --against"
        )
    name = of or str(run.info["model"])
    unknown: list[UserError] = []
    paths = _last(store, run.info, name, count, unknown, newest=candidate is None)
    references, problems = _readable(paths)
    checks = drift_checks(references, run, tolerances)
    return GateFinding(
        checks=checks,
        baseline=references[0].info,
        candidate=run.info,
        tolerances=tolerances,
        seen=min(check.n for check in checks),
        total=references[0].info["n_samples"],
        notes=[*_notes(references, run), *_left_out(len(paths), count, problems, unknown)],
        against=[reference.info for reference in references],
    )


def drift_checks(
    references: Sequence[Run], candidate: Run, tolerances: Tolerances
) -> list[GateCheck]:
    """A check of robust accuracy against each of the comparable runs, then of what else is judged.

    Raises UserError as `judge` does.
    """
    judged = [(one.info, judge(one, candidate, tolerances)) for one in references]
    return [
        dataclasses.replace(
            check if tolerances.these_samples else _among(len(references), check, tolerances.alpha),
            back=len(judged) - place,
            since=_when(info),
        )
        for metric in (ROBUST, *([CLEAN] if tolerances.clean is not None else []))
        for place, (info, checks) in enumerate(judged)
        for check in checks
        if check.metric == metric
    ]


def _among(n: int, check: GateCheck, alpha: float) -> GateCheck:
    """A check against one of n runs: it takes more to show a regression, and as much to pass.

    p_regression is corrected for n, as `decision` and `low` are.
    """
    assert check.lost is not None
    assert check.won is not None
    assert check.tolerance is not None
    assert check.p_regression is not None
    low, _ = drop_interval(check.lost, check.won, check.n, alpha / n)
    shown = check.p_regression <= alpha / n
    found = dataclasses.replace(check, low=low, p_regression=min(1.0, n * check.p_regression))
    if shown or check.decision == "pass":
        return found
    worse = check.drop > check.tolerance
    needed = needed_for_rate(
        check.lost, check.won, check.n, check.tolerance, alpha / n if worse else alpha
    )
    return dataclasses.replace(found, decision="undecided", needed=needed)


def _require_rates(count: int, tolerances: Tolerances) -> None:
    if tolerances.margin is not None or tolerances.per_class is not None:
        raise UserError(
            "margins and classes are judged against one run: leave out --against, or "
            "--max-margin-drop and --max-class-drop"
        )
    if not tolerances.these_samples and tolerances.alpha / count <= RULED_OUT:
        most = math.ceil(tolerances.alpha / RULED_OUT) - 1
        raise UserError(
            f"--against last:{count}: of so many runs none can show a regression with alpha "
            f"{tolerances.alpha:g}: give last:{most} at most"
        )


def _last(
    store: Store,
    info: Mapping[str, Any],
    name: str,
    count: int,
    unknown: list[UserError],
    *,
    newest: bool,
) -> list[Path]:
    """The last comparable runs before one, oldest first. newest: nobody named that one.

    What is wrong with files that may be of any run is added to `unknown`, and raised where too few
    runs are left.
    """
    try:
        named = store.find_local([name], unknown)
    except UserError as error:
        raise (unknown or [error])[0] from None
    earlier = [ref.path for ref in run_refs(named) if isinstance(ref.path, Path)]
    rows = zip(earlier, require_rows(earlier), strict=True)
    before = [
        (path, row)
        for path, row in rows
        if (row["started_at"], row["run_id"]) < (info["started_at"], info["run_id"])
    ]
    apart = [differences(row, info) for _, row in before]
    found = [path for (path, _), how in zip(before, apart, strict=True) if not how]
    if len(found) < _FEWEST and unknown:
        raise unknown[0]
    if len(found) < _FEWEST:
        others = list(dict.fromkeys(str(how[0]) for how in apart if how))
        said = f" (others differ in {'; '.join(others[:3])})" if others else ""
        raise UserError(
            f"--against takes {_FEWEST} or more runs of '{name}' that are comparable with run "
            f"{info['run_id']} and were begun before it; there {'is' if len(found) == 1 else 'are'}"
            f" {len(found)}{said}"
            + (
                "; it was taken as the newest run: name another by --candidate RUN"
                if newest
                else ""
            )
        )
    return found[-count:]


def _readable(paths: Sequence[Path]) -> tuple[list[Run], list[UserError]]:
    """The runs of these files, and of the others what is wrong. Raises that with fewer than two."""

    def attempt(path: Location) -> Run | UserError:
        try:
            return read_run(path, _COLUMNS)
        except UserError as error:
            return error

    read = list(in_threads(attempt, paths))
    runs = [one for one in read if isinstance(one, Run)]
    problems = [one for one in read if isinstance(one, UserError)]
    if problems and len(runs) < _FEWEST:
        raise problems[0]
    return runs, problems


def _left_out(
    comparable: int, asked: int, problems: Sequence[UserError], unknown: Sequence[UserError]
) -> list[Note]:
    """Warnings about runs that it was not held against."""
    fewer = Note("fewer-runs", {"found": comparable, "asked": asked})
    unreadable = [
        *(Note("unreadable", {"text": str(problem)}) for problem in problems),
        *(Note("unknown-run", {"text": str(problem)}) for problem in unknown),
    ]
    return [*([fewer] if comparable < asked else []), *unreadable]


def _notes(references: Sequence[Run], run: Run) -> list[Note]:
    """Warnings about the candidate and the runs it is held against, each once."""
    found: list[Note] = []
    same = 0
    for reference in references:
        named = f"run {reference.info['run_id']}"
        for note in (*remarks(reference.info, run.info), *edited(named, reference)):
            if note.name == "same-weights":
                same += 1
            elif note not in found:
                found.append(note)
    if same:
        found.append(Note("own-weights", {"n": same, "of": len(references)}))
    return [*found, *edited("candidate", run)]


def _when(info: Mapping[str, Any]) -> str:
    return f"{info['started_at']:%Y-%m-%d} ({info['run_id'][:6]})"
