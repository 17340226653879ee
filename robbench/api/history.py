"""`robbench history` as a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robbench.analysis.history import ALPHA, LAST, histories
from robbench.api.arguments import optional_whole, texts
from robbench.api.results import Names, names_of
from robbench.api.wording import pythonic
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

    count = optional_whole("last", last, 1)
    found = histories(
        Store(out),
        names_of(name),
        where=texts("where as text", where),
        measure=measure,
        last=count,
        alpha=ALPHA,
    )
    table = pd.DataFrame([row for one in found for row in rows(one)])
    table.attrs["histories"] = [as_json(one) for one in found]
    return table
