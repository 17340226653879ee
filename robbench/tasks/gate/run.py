"""Judge a finished run, or attack a model for it."""

from __future__ import annotations

import math
from pathlib import Path

from robbench.analysis.drift_gate import gate_last, parse_against
from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import Tolerances
from robbench.analysis.gate_runs import gate_runs
from robbench.core.errors import UserError
from robbench.core.limits import parse_time
from robbench.store.store import Store
from robbench.tasks.listener import Listener


def gate(
    tolerances: Tolerances,
    *,
    candidate: str | None = None,
    model: str | None = None,
    baseline: str | None = None,
    branch: str | None = None,
    against: str | None = None,
    out: Path,
    seed: int = 0,
    batch_size: int | None = None,
    max_time: str | None = None,
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> GateFinding:
    """Compare a finished run, or a model attacked for at most `max_time`, with the baseline.

    baseline: None is the one that is set, for `branch` if given. against: `last:N` instead of a
    baseline, see `gate_last`; then baseline names the runs, not one. max_time: such as `2m`; it and
    batch_size are of a model. Raises UserError for another text, for what would not be read, and
    for runs that must not be compared or repeated; Stopped after a signal: what was decided of a
    model is kept, and the same call goes on from there.
    """
    seconds = _seconds(max_time)
    if baseline is not None and branch is not None:
        raise UserError("--baseline names the run, --branch another: leave out one of them")
    stored = model is None and (candidate is not None or against is not None)
    if stored and (max_time is not None or batch_size is not None):
        raise UserError(
            "--max-time and --batch-size are of an attack on --model: leave them out for a "
            "candidate, which is a finished run"
        )
    if against is not None:
        count = parse_against(against)
        if model is not None or branch is not None:
            raise UserError(
                "--against holds a finished run against earlier ones: give --candidate RUN (or "
                f"nothing: the newest), not {'--model' if model is not None else '--branch'}"
            )
        return gate_last(Store(out), count, tolerances, candidate=candidate, of=baseline)
    if candidate is not None and model is None:
        return gate_runs(Store(out), baseline, candidate, tolerances, branch=branch)
    if model is None or candidate is not None:
        raise UserError(
            "give either a candidate (--candidate RUN), which is a finished run, or a model "
            "(--model MODEL), to be attacked as it goes"
        )
    from robbench.tasks.gate.candidate import attack_and_decide  # with torch

    return attack_and_decide(
        model,
        baseline,
        tolerances,
        branch=branch,
        out=out,
        seed=seed,
        batch_size=batch_size,
        seconds=seconds,
        device=device,
        data_dir=data_dir,
        download=download,
        force=force,
        listener=listener or Listener(),
    )


def _seconds(max_time: str | None) -> float:
    try:
        seconds = parse_time(max_time)
    except ValueError as error:
        raise UserError(f"--max-time '{max_time}': {error}") from None
    return math.inf if seconds is None else seconds
