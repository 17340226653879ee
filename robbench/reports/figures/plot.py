"""A finished figure: to look at, to save, and the numbers behind it."""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from robbench.analysis.plots.lines import Plotted
from robbench.core.errors import UserError
from robbench.core.files import require_output, write_output
from robbench.reports.figures.cost import cost
from robbench.reports.figures.curves import curves
from robbench.reports.figures.history import history
from robbench.reports.figures.margins import margins
from robbench.reports.figures.spectrum import spectrum
from robbench.reports.figures.style import COLUMN, RC
from robbench.reports.figures.training import training
from robbench.reports.formats import to_csv

if TYPE_CHECKING:
    import pandas as pd

DRAW: dict[str, Callable[[Plotted, float], Figure]] = {
    "curves": curves,
    "margins": margins,
    "spectrum": spectrum,
    "training": training,
    "cost": cost,
    "history": history,
}
UNDATED: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None},
    "svg": {"Date": None},
    "png": {},
    "pgf": {},
}
"""The formats, and what keeps the day out of their files: the same data give the same bytes."""
TEX = ("xelatex", "lualatex", "pdflatex")


@dataclass(frozen=True)
class Plot:
    """A figure, and `plotted`: its lines as numbers, with a caption."""

    figure: Figure
    plotted: Plotted

    @property
    def caption(self) -> str:
        """What a reader has to know: what is drawn, on which samples, what the bands are."""
        return self.plotted.caption

    @property
    def warnings(self) -> Sequence[str]:
        """What to know before believing the numbers."""
        return self.plotted.warnings

    @property
    def data(self) -> pd.DataFrame:
        """Every number that is drawn, a row for each point of each line; rates are in [0,1]."""
        import pandas as pd

        return pd.DataFrame(list(self.plotted.rows()))

    def save(self, path: Path | str) -> None:
        """Write a .pdf, .svg, .png or .pgf. Raises UserError for another path or without TeX."""
        target = Path(path)
        kind = require_figure(target)

        def write(temporary: Path) -> None:
            with _styled():
                self.figure.savefig(temporary, format=kind, metadata=UNDATED[kind] or None)

        write_output(target, write)

    def save_data(self, path: Path | str) -> None:
        """Write `data` as CSV."""
        text = to_csv(list(self.plotted.rows()))
        write_output(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def __repr__(self) -> str:
        return f"Plot: {self.caption}"

    def _repr_png_(self) -> bytes:
        with _styled(), io.BytesIO() as file:
            self.figure.savefig(file, format="png", dpi=150)
            return file.getvalue()


def draw(plotted: Plotted, width: float = COLUMN) -> Plot:
    """The figure of these numbers, `width` inches wide. Global settings of Matplotlib stay."""
    with _styled():
        return Plot(DRAW[plotted.kind](plotted, width), plotted)


def require_figure(path: Path) -> str:
    """The format of a file that `Plot.save` can write. UserError, before the work, for others."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in UNDATED:
        raise UserError(
            f"{path} is no name of a figure: give one that ends in .pdf, .svg, .png or .pgf; the "
            "folder of the runs is given by --out"
        )
    if kind == "pgf" and not any(map(shutil.which, TEX)):
        raise UserError(
            f"{path}: Matplotlib asks TeX how wide texts are, and none of {', '.join(TEX)} is "
            "installed; write a .pdf"
        )
    require_output(path)
    return kind


@contextlib.contextmanager
def _styled() -> Iterator[None]:
    """This style inside, and no warning of a sign that no font has."""
    tex = next(filter(shutil.which, TEX), TEX[0])
    settings: Any = {**RC, "pgf.texsystem": tex}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield
