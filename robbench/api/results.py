"""Finished runs as pandas DataFrames, and the report of them. Needs no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from robbench.analysis.comparison import compare_read, compare_runs
from robbench.analysis.pivot import pivot as pivoted
from robbench.api.arguments import LAST_SEED, optional_number, optional_whole, several, texts, whole
from robbench.api.wording import pythonic
from robbench.core.errors import UserError, unknown
from robbench.reports.sorting import sort_rows
from robbench.store.locations import sibling_table
from robbench.store.row import in_threads
from robbench.store.run import Run, read_run
from robbench.store.schema import CHECKS, MEASURES, RUNS, SAMPLE_MEASURES, SAMPLES
from robbench.store.store import Store
from robbench.store.tables import read_sibling

if TYPE_CHECKING:
    import pandas as pd

    from robbench.api.evaluation import Evaluation
    from robbench.reports.figures.plot import Plot
    from robbench.tasks.report import Report
    from robbench.tasks.view.run import Viewed

_TABLES = {
    "runs": RUNS,
    "samples": SAMPLES,
    "checks": CHECKS,
    "measures": MEASURES,
    "sample_measures": SAMPLE_MEASURES,
}

Names: TypeAlias = str | Iterable[str]
"""A model's name, run id, path, address, or pattern of these, or several; none means all."""


@pythonic
def compare(
    runs: Names | Sequence[Evaluation] = (),
    *,
    out: Path | str = "runs",
    where: Names = (),
    allow: Names = (),
    over_seeds: bool = False,
    best_last: bool = False,
    pivot: str | None = None,
    sort: str | None = None,
) -> pd.DataFrame:
    """One row per run, with the paired difference to the first: the table of `robbench compare`.

    runs: names of runs in the folder `out`, or Evaluations. where: conditions such as
    `threat=linf:0.3` that runs meet. allow: in what runs may differ, such as `attack`. over_seeds:
    one row for the training seeds of a recipe. best_last: one row for the best and the last
    checkpoint of a model. pivot: `threat` for one row per model, with a column
    for each threat model. sort: a column, best first.

    Columns are those of `robbench compare --json`; rates are in [0,1], None where there is none.
    Raises UserError for names that mean no run, and for runs that must not be compared.
    """
    import pandas as pd

    names = several(runs) if isinstance(runs, Iterable) else [runs]
    given = [one for one in names if not isinstance(one, str)]
    if given and len(given) < len(names):
        raise UserError("compare either names of runs or Evaluations: save the Evaluations first")
    if odd := [one for one in given if not hasattr(one, "run")]:
        raise UserError(f"compare names of runs or Evaluations, not {type(odd[0]).__name__}")
    if given and texts("where as text", where):
        raise UserError(
            "where chooses among runs of a folder: leave it out, or save the Evaluations"
        )
    if given:
        found = compare_read(
            told_apart([one.run for one in given]),
            allow=texts("allow as text", allow),
            over_seeds=over_seeds,
            best_last=best_last,
        )
    else:
        found = compare_runs(
            names,
            Path(out),
            where=texts("where as text", where),
            allow=texts("allow as text", allow),
            over_seeds=over_seeds,
            best_last=best_last,
        )
    rows = sort_rows(found.rows, sort) if sort else found.rows
    return pd.DataFrame(rows if pivot is None else pivoted(rows, pivot).flat())


@pythonic
def load_runs(
    runs: Names = (),
    *,
    out: Path | str = "runs",
    table: Literal["runs", "samples", "checks", "measures", "sample_measures"] = "runs",
) -> pd.DataFrame:
    """A results table of some runs as a DataFrame: every column of the schema, in its order.

    table: `runs` has one row per run, `samples` one row per sample and run; the others have what
    `check` and `measure` found, nothing for runs without. Raises UserError for names that mean no
    run, and for damaged files.
    """
    import pandas as pd

    if table not in _TABLES:
        raise unknown("table", table, _TABLES)
    paths, columns = Store(out).find(names_of(runs)), _TABLES[table].names
    if table == "samples":
        frames = [read_run(path).samples.to_pandas() for path in paths]
    elif table == "runs":
        rows = [run.info for run in in_threads(lambda path: read_run(path, ("sample_id",)), paths)]
        frames = [pd.DataFrame(rows, columns=columns)]
    else:
        rows = [
            row
            for path in paths
            for row in read_sibling(sibling_table(path, table), table, columns)
        ]
        frames = [pd.DataFrame(rows, columns=columns)]
    found: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return found


@pythonic
def report(
    runs: Names = (),
    *,
    html: Path | str,
    out: Path | str = "runs",
    title: str = "Robustness report",
    data_dir: Path | str | None = None,
    where: Names = (),
    over_seeds: bool = False,
    cdn: bool = False,
) -> Report:
    """Write the report of some runs as one HTML file, as `robbench report` does.

    where: conditions such as `threat=linf:8/255`; over_seeds: one row for the training seeds of a
    recipe; cdn: a small page that loads the figures' library from cdn.plot.ly. Returns its path,
    size in bytes, run ids, which sections have something to show, and its answers. Raises UserError
    for names that mean no run or a path that cannot be right.
    """
    from robbench.tasks.report import report as write_report

    folder = None if data_dir is None else Path(data_dir)
    return write_report(
        names_of(runs),
        Path(out),
        Path(html),
        title=title,
        data_dir=folder,
        where=texts("where as text", where),
        over_seeds=over_seeds,
        cdn=cdn,
    )


@pythonic
def view(
    runs: Names = (),
    *,
    html: Path | str,
    out: Path | str = "runs",
    where: Names = (),
    limit: int | None = None,
    trace: int = 0,
    seed: int = 0,
    title: str = "Samples",
    device: str = "auto",
    data_dir: Path | str | None = None,
    download: bool = False,
) -> Viewed:
    """Write a page to look at samples across runs of one data set, as `robbench view` does.

    limit: only the first so many samples; trace: of so many, drawn by seed, the margin along the
    steps of an attack, which asks the models. Returns its path, size in bytes, run ids, numbers of
    samples and of those with pictures, the ids of the traced ones, and what is left out and why.
    Raises UserError for names that mean no run, runs of several data sets, or a path that cannot
    be right.
    """
    from robbench.tasks.view.run import view as write_view

    return write_view(
        names_of(runs),
        Path(out),
        Path(html),
        where=texts("where as text", where),
        limit=optional_whole("limit", limit, 1),
        trace=whole("trace", trace),
        seed=whole("seed", seed, 0, LAST_SEED),
        title=title,
        device=device,
        data_dir=None if data_dir is None else Path(data_dir),
        download=download,
    )


@pythonic
def plot(
    kind: Literal["curves", "margins", "spectrum", "training", "cost", "history"],
    runs: Names = (),
    *,
    figure: Path | str | None = None,
    csv: Path | str | None = None,
    out: Path | str = "runs",
    where: Names = (),
    over_seeds: bool = False,
    width: float | None = None,
) -> Plot:
    """A figure as `robbench plot` draws it: `.figure` is Matplotlib's, `.data` its numbers.

    figure: a .pdf, .svg, .png or .pgf to write; csv: a file for the numbers. where: conditions that
    runs meet. over_seeds: one line for the training seeds of a recipe. width: inches, one column of
    a paper by default. Raises UserError without Matplotlib (the extra `figures`), for names that
    mean no run, and for runs that do not fit in one figure.
    """
    from robbench.tasks.plot import plot as draw

    return draw(
        kind,
        names_of(runs),
        Path(out),
        figure=None if figure is None else Path(figure),
        csv=None if csv is None else Path(csv),
        where=texts("where as text", where),
        over_seeds=over_seeds,
        width=optional_number("width", width),
    )


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, where models that share a name have the first digits of their hash behind it."""
    hashes: dict[str, set[str]] = {}
    for run in runs:
        hashes.setdefault(run.info["model"], set()).add(run.info["model_hash"])
    return [
        dataclasses.replace(
            run, info={**run.info, "model": f"{run.info['model']}-{run.info['model_hash'][:6]}"}
        )
        if len(hashes[run.info["model"]]) > 1
        else run
        for run in runs
    ]


def names_of(runs: Names) -> list[str]:
    """The names of runs. Raises UserError for what is none, such as an Evaluation."""
    return texts("names of runs", runs, ": an Evaluation has one after .save('runs')")


def models_of(models: Names) -> list[str]:
    """The names of models. Raises UserError for what is none, such as a module, and for none."""
    found = texts("names of models", models, ": evaluate takes a model that is in memory")
    if not found:
        raise UserError("no model is named: give at least one")
    return found
