"""Figures for papers: the runs found, their numbers gathered and drawn. Needs no torch."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robbench.analysis.choose import choose
from robbench.analysis.claims import with_contradictions
from robbench.analysis.compare import COLUMNS as COMPARED
from robbench.analysis.plots.cost import robustness_by_cost
from robbench.analysis.plots.curves import security_curves
from robbench.analysis.plots.history import over_time
from robbench.analysis.plots.lines import Plotted, mean_over_seeds, require_few
from robbench.analysis.plots.margins import logit_margins
from robbench.analysis.plots.spectrum import COLUMNS, Measures, spectra
from robbench.analysis.plots.training import trainings
from robbench.core.errors import UserError, unknown
from robbench.core.files import require_output
from robbench.core.imports import require_extra
from robbench.core.model_config import Trained, read_config
from robbench.reports import texts
from robbench.store.epochs import read_epochs
from robbench.store.locations import Location, sibling_table
from robbench.store.row import in_threads
from robbench.store.run import Run, read_run
from robbench.store.schema import DISTANCES
from robbench.store.store import Store
from robbench.store.tables import read_sibling

if TYPE_CHECKING:
    from robbench.reports.figures.plot import Plot

_COLUMNS = (*COMPARED, "broken_by", *DISTANCES)
_OF_SAMPLES: dict[str, Callable[..., Plotted]] = {
    "curves": security_curves,
    "margins": logit_margins,
    "cost": robustness_by_cost,
    "history": over_time,
}
KINDS = ("curves", "margins", "spectrum", "training", "cost", "history")


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
    require_extra("matplotlib", "figures", "robbench plot needs Matplotlib")
    from robbench.reports.figures.plot import draw, require_figure
    from robbench.reports.figures.style import COLUMN

    width = COLUMN if width is None else width
    if not 1 <= width <= 40:
        raise UserError(f"a figure is 1 to 40 inches wide, not {width:g}")
    if figure is not None:
        require_figure(figure)
    require_output(*filter(None, (figure, csv)))
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
    paths = choose(Store(out), names, where)
    runs = list(in_threads(lambda path: read_run(path, _COLUMNS), paths))
    warnings = [
        f"{run.info['model']}, {run.info['threat']}: {text}"
        for run in runs
        for text in texts.warnings(run.info | {"flags": with_contradictions(run)})
    ]
    if kind in _OF_SAMPLES:
        plotted = _OF_SAMPLES[kind](runs, over_seeds=over_seeds)
    else:
        plotted = spectra(runs, _measures(runs, paths), over_seeds=over_seeds, out=out)
    warnings += [
        f"{line.name}: nothing to draw of {line.panel or kind}, where no {plotted.x} is known"
        for line in plotted.lines
        if not len(line.x)
    ]
    return dataclasses.replace(plotted, warnings=[*warnings, *plotted.warnings])


def _measures(runs: Sequence[Run], paths: Sequence[Location]) -> Measures:
    beside = {path.stem: path for path in paths}
    return {
        run.info["run_id"]: read_sibling(
            sibling_table(beside[run.info["run_id"]], "measures"), "measures", COLUMNS
        )
        for run in runs
    }


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
    return trainings(epochs, configs, over_seeds=over_seeds)


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
