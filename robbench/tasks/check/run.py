"""Check a run or a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from robbench.analysis.claims import contradictions
from robbench.analysis.forecast import Forecast
from robbench.checks.base import run_checks
from robbench.checks.registry import CHECKS
from robbench.core.device import deterministic
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.spec import validate
from robbench.core.trust import names_from
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.check.evidence import evidence_of
from robbench.tasks.check.plan import SLICE, CheckPlan, plan_check
from robbench.tasks.check.rows import finding_rows
from robbench.tasks.forecast import forecast_queries
from robbench.tasks.listener import Listener
from robbench.tasks.small_models import transfer_source


@dataclasses.dataclass(frozen=True)
class Checked:
    """What was checked, and what was found: a row of the checks table per check."""

    plan: CheckPlan
    rows: list[dict[str, Any]]
    path: Path  # the table
    edited: Sequence[str] = ()  # one text if the run's row contradicts its samples

    @property
    def failed(self) -> bool:
        """Whether a check of severity error failed or the run's row contradicts its samples."""
        return bool(self.edited) or any(
            row["verdict"] == "fail" and row["severity"] == "error" for row in self.rows
        )


def check(
    target: str,
    settings: Mapping[str, Any],
    *,
    source: str | None = None,
    model: str | None = None,
    out: Path,
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    listener: Listener | None = None,
) -> Checked:
    """Check a run (its id, its file, or the latest of a model) or a model, and write the table.

    settings: what was given of threat, data, split, seed and limit, as `AttackConfig` has them; all
    but limit mean the model alone. source: a model to transfer from. model: that of the run, if it
    is no longer under its name in the output folder. Waits while another process
    works on the run. Raises UserError for a target that is neither, and where model or data have
    changed since the run.
    """
    listener, store = listener or Listener(), Store(out)
    config = validate(AttackConfig, settings, "check")
    if isinstance(config.limit, str):
        raise UserError(
            f"check looks at the first samples: give --limit N instead of {config.limit}"
        )
    plan = plan_check(
        target,
        config,
        source,
        model=model,
        alone=bool(settings.keys() - {"limit"}),
        store=store,
        device=device,
        data_dir=data_dir,
        download=download,
    )
    for note in plan.subject.split.notes:
        listener.say(note)
    limit = config.limit or SLICE
    store.check_writable()
    listener.forecast(f"check {target}", lambda: forecast_check(plan, limit))
    with listener.progress(f"check {target}") as bar, store.locked([plan.name], say=listener.say):
        rows = check_rows(plan, limit, data_dir, bar.update)
        path = store.write_checks(plan.name, rows)
    return Checked(plan, rows, path, contradictions(plan.run) if plan.run else [])


def forecast_check(plan: CheckPlan, limit: int) -> Forecast:
    """What the checks cost at most, without the training of a model to transfer from."""
    split = plan.subject.split
    n = min(limit, len(split))
    costs = {c.name: (n * c.cost / 2, n * c.cost / 2) for c in CHECKS if c.cost}
    return forecast_queries(plan.subject.model, split, costs)


def check_rows(
    plan: CheckPlan, limit: int, data_dir: Path | None, watch: Callable[[float, str], None]
) -> list[dict[str, Any]]:
    """All checks on the first `limit` samples, those of rows on every row: the table's rows.

    Without a source, a small one is trained where that is cheap.
    """
    costly = [c for c in CHECKS if c.cost or plan.run is None]
    if plan.source is None and 0 < plan.threat.eps < math.inf:
        watch(0.0, "training a model to transfer from")
        plan = dataclasses.replace(
            plan, source=transfer_source(plan.subject.split, plan.data, plan.threat, data_dir)
        )

    def tell(n: int, name: str) -> None:
        watch(n / len(costly), name)

    # The attacks of a run are those that its file names.
    named = names_from(plan.path) if plan.path else nullcontext()
    with named, frozen(plan.subject.model), deterministic():
        free = run_checks([c for c in CHECKS if c not in costly], evidence_of(plan))
        findings = free + run_checks(costly, evidence_of(plan, limit), watch=tell)
    return finding_rows(plan, findings, automatic=False)
