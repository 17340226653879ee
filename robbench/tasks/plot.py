"""Figures for papers: the runs found, their numbers gathered and drawn. Needs no torch."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robbench.analysis.comparison import _where as where_holds
from robbench.analysis.plots import cost, curves, margins, spectrum, training
from robbench.analysis.plots.lines import Plotted, mean_over_seeds, require_few
from robbench.core.errors import UserError, unknown
from robbench.core.files import require_output
from robbench.core.model_config import Trained, read_config
from robbench.store.epochs import read_epochs
from robbench.store.find import in_threads
from robbench.store.locations import sibling_table
from robbench.store.run import read_run
from robbench.store.store import Store
from robbench.store.tables import read_sibling

if TYPE_CHECKING:
    from robbench.reports.figures.plot import Plot

_OF_SAMPLES: dict[str, tuple[Sequence[str], Callable[..., Plotted]]] = {
    "curves": (curves.COLUMNS, curves.security_curves),
    "margins": (margins.COLUMNS, margins.logit_margins),
    "cost": (cost.COLUMNS, cost.robustness_by_cost),
}
KINDS = ("curves", "margins", "spectrum", "training", "cost")


def plot(
    kind: str,
    names: Sequence[str],
    out: Path,
    *,
    figure: Path | None = None,
    csv: Path | None = None,
    where: Sequence[str] = (),
    over_seeds: bool = False,
    width: float | None = None,
) -> Plot:
    """The figure of a kind (of KINDS) of the runs that `names` mean (none: all of the store).

    `training` is of models, which need not have been attacked. figure, csv: files to write it and
    its numbers to. where: conditions COLUMN=VALUE that runs meet. over_seeds: one line for the
    training seeds of a recipe, with a band. width: inches; one column of a paper by default.
    Raises UserError, before anything is written, without Matplotlib, for names that mean nothing,
    for a file that cannot be right, and for what does not fit in one figure.
    """
    if kind not in KINDS:
        raise unknown("figure", kind, KINDS)
    try:
        from robbench.reports.figures.plot import draw, require_figure
        from robbench.reports.figures.style import COLUMN
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise UserError(
            "robbench plot needs Matplotlib: install it with pip install 'robbench[figures]'"
        ) from None
    width = COLUMN if width is None else width
    if not 1 <= width <= 40:
        raise UserError(f"a figure is 1 to 40 inches wide, not {width:g}")
    if figure is not None:
        require_figure(figure)
    if csv is not None:
        require_output(csv)
    gather = _trainings if kind == "training" else _of_runs
    plotted = gather(kind, names, out, where, over_seeds)
    made = draw(require_few(mean_over_seeds(plotted) if over_seeds else plotted), width)
    if figure is not None:
        made.save(figure)
    if csv is not None:
        made.save_data(csv)
    return made


def _of_runs(
    kind: str, names: Sequence[str], out: Path, where: Sequence[str], over_seeds: bool
) -> Plotted:
    columns, numbers = _OF_SAMPLES.get(kind, (("sample_id",), None))
    paths = Store(out).find(names)
    runs = where_holds(list(in_threads(lambda path: read_run(path, columns), paths)), where)
    if numbers is not None:
        return numbers(runs, over_seeds=over_seeds)
    beside = {path.stem: path for path in paths}
    measures = {
        run.info["run_id"]: read_sibling(
            sibling_table(beside[run.info["run_id"]], "measures"), "measures", spectrum.COLUMNS
        )
        for run in runs
    }
    return spectrum.spectra(runs, measures, over_seeds=over_seeds)


def _trainings(
    kind: str, names: Sequence[str], out: Path, where: Sequence[str], over_seeds: bool
) -> Plotted:
    if where:
        raise UserError(f"--where chooses among runs, {kind} is of models: name those")
    folders = _models(names, Store(out).root / "models")
    epochs = {folder.name: read_epochs(folder / "epochs.parquet") for folder in folders}
    configs = {
        folder.name: read_config(folder / "config.json", Trained)["config"] for folder in folders
    }
    return training.trainings(epochs, configs, over_seeds=over_seeds)


def _models(names: Sequence[str], root: Path) -> list[Path]:
    """The folders of the trained models that names or patterns of them mean."""
    there = sorted(folder for folder in root.glob("*") if (folder / "epochs.parquet").is_file())
    if not there:
        raise UserError(f"no epochs in {root}: run robbench train first")
    found: list[Path] = []
    for name in names or ["*"]:
        fits = [folder for folder in there if fnmatch.fnmatchcase(folder.name, name)]
        if not fits:
            raise unknown("trained model", name, [folder.name for folder in there])
        found += fits
    return list(dict.fromkeys(found))
