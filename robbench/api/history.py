"""`robbench history` as a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robbench.analysis.history import ALPHA, LAST, histories
from robbench.api.results import Names, names_of, several
from robbench.api.wording import pythonic
from robbench.core.errors import UserError
from robbench.reports.history.json import as_json, rows
from robbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


@pythonic
def history(
    name: Names,
    *,
    where: Names = (),
    measure: Literal["robust_accuracy", "clean_accuracy", "median_distance"] | None = None,
    last: int | None = LAST,
    out: Path | str = "runs",
) -> pd.DataFrame:
    """The runs of a model's name over time, as `robbench history` has them: one row per run.

    `value` is the measure, `change` that to the run before on the samples of both; `changed` is
    true of the first run after a change point, `.attrs["histories"]` has all that `--json` has.
    where: conditions that runs meet. measure: by default robust accuracy, of runs without a budget
    the median distance. last: how many runs of each group, None for all. Raises UserError for a
    name that means no run.
    """
    import pandas as pd

    if last is not None and (not isinstance(last, int) or last < 1):
        raise UserError(f"last is a number of runs, 1 or more, or None, not {last!r}")
    found = histories(
        Store(out), names_of(name), where=several(where), measure=measure, last=last, alpha=ALPHA
    )
    table = pd.DataFrame([row for one in found for row in rows(one)])
    table.attrs["histories"] = [as_json(one) for one in found]
    return table
