"""`robbench certify` as a function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robbench.api.arguments import texts
from robbench.api.progress import Log, Progress, interruptible, silent
from robbench.api.results import Names, models_of
from robbench.api.runs import given
from robbench.api.wording import pythonic
from robbench.tasks.certify import METHOD
from robbench.tasks.certify import certify as certify_models

if TYPE_CHECKING:
    import pandas as pd


@pythonic
def certify(
    models: Names,
    *,
    threat: Names = (),
    method: str = METHOD,
    data: str | None = None,
    split: str | None = None,
    limit: int | str | None = None,
    seed: int | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Certify models, as `robbench certify` does: lower bounds of robust accuracy.

    Returns one row per model, threat model and sample, as the certificates table has it, and its
    `verdict`: certified, broken (by an attack of these weights, or without any) or unknown.
    `.attrs["summary"]` has a row of counts and rates per model and threat model. Under `linf:inf`
    and `l2:inf` the column `radius` is up to which size no perturbation can succeed (0.1 % apart),
    and the summary has medians. method: a spec of a certifier. Raises UserError for a threat model
    or a layer that the method has no bounds for.
    """
    import pandas as pd

    with interruptible():
        done = certify_models(
            models_of(models),
            given(
                threat=texts("threat as text", threat),
                data=data,
                split=split,
                limit=limit,
                seed=seed,
            ),
            method=method,
            out=Path(out),
            device=device,
            data_dir=None if data_dir is None else Path(data_dir),
            download=download,
            force=force,
            listener=Log(progress or silent),
        )
    rows = [
        row | {"verdict": one.bracket.verdicts[row["sample_id"]]}
        for one in done
        for row in one.rows
    ]
    found = pd.DataFrame(rows)
    found.attrs["summary"] = [
        {name: value for name, value in one.fields().items() if name not in ("verdicts", "radii")}
        for one in done
    ]
    return found
