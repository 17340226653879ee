"""Verify published numbers, and pack runs for others to verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robbench.api.commands import folder
from robbench.api.progress import Log, Progress, silent
from robbench.api.results import Names, names_of
from robbench.api.wording import pythonic
from robbench.tasks.bundle import Bundled
from robbench.tasks.bundle import bundle as pack
from robbench.tasks.verify.run import plain_rows
from robbench.tasks.verify.run import verify as verify_runs

if TYPE_CHECKING:
    import pandas as pd


@pythonic
def verify(
    runs: Names | Path,
    *,
    model: str | None = None,
    data: str | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Confirm published numbers of runs or bundles, as `robbench verify` does: one row per claim.

    `verdict` is confirmed, refuted, rounding or unconfirmed; `.attrs["exit_code"]` is 0 where all
    are confirmed, 1 where one is refuted, else 4. runs: names, or the path of a bundle. model,
    data: where those of the runs are by now, if not where the runs say. Raises UserError for names
    that mean nothing, and for files that are no bundle.
    """
    import pandas as pd

    found, code = verify_runs(
        names_of(str(runs) if isinstance(runs, Path) else runs),
        model=model,
        data=data,
        out=Path(out),
        device=device,
        data_dir=folder(data_dir),
        download=download,
        listener=Log(progress or silent),
    )
    table = pd.DataFrame([row for one in found for row in plain_rows(one)])
    table.attrs["exit_code"] = code
    return table


@pythonic
def bundle(
    runs: Names,
    file: Path | str,
    *,
    with_model: bool = True,
    model: str | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
) -> Bundled:
    """Pack runs, their points and models into one file, as `robbench bundle` does.

    Returns its path, its SHA-256, the names of its parts, and what else it takes to verify it.
    with_model: else only the model's hash is packed. model: where that of the runs is, if it was
    moved. Raises UserError where a model is no longer that of its run.
    """
    return pack(
        names_of(runs),
        Path(file),
        with_model=with_model,
        model=model,
        out=Path(out),
        device=device,
        data_dir=folder(data_dir),
        download=download,
    )
