"""Stored runs for other tools."""

from __future__ import annotations

from pathlib import Path

from robbench.api.arguments import texts
from robbench.api.results import Names, names_of
from robbench.api.wording import pythonic
from robbench.tasks.export import Exported
from robbench.tasks.export import export as export_runs


@pythonic
def export(runs: Names = (), *, to: str, out: Path | str = "runs", where: Names = ()) -> Exported:
    """Export runs to MLflow, TensorBoard or Bencher, as `robbench export` does.

    to: `mlflow` or `mlflow:URI`, `tensorboard:DIR`, `bencher:FILE`, or `bencher`, which writes
    nothing: `.content` is Bencher's object. where: conditions that runs meet. `.runs` has a row for
    each run, with its `place` in the tool. Raises UserError for names that mean no run and a tool
    that is not installed, RunError where a server does not answer.
    """
    from robbench.api.progress import log

    return export_runs(
        names_of(runs), to, Path(out), where=texts("where as text", where), say=log.info
    )
