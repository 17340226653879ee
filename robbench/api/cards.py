"""`robbench card` as a function."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from robbench.api.arguments import texts
from robbench.api.commands import folder
from robbench.api.results import Names, names_of
from robbench.api.wording import pythonic
from robbench.tasks.card import Card
from robbench.tasks.card import card as make_card


@pythonic
def card(
    runs: Names,
    *,
    format: Literal["markdown", "in-toto", "cyclonedx"] = "markdown",
    file: Path | str | None = None,
    into: Path | str | None = None,
    where: Names = (),
    model: str | None = None,
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
) -> Card:
    """Publish what runs of one model found, as `robbench card` does.

    markdown: a section of a model card with metadata for the Hugging Face Hub; in-toto: an unsigned
    statement about the file of weights; cyclonedx: an ML-BOM. Returns the text, where it was
    written, the run ids, and name and SHA-256 of the weights. into: a README.md of which only our
    section and results are replaced. model: where that of the runs is, if it was moved. Raises
    UserError for runs of several models, and where the weights are no longer those of the runs.
    """
    return make_card(
        names_of(runs),
        form=format,
        file=None if file is None else Path(file),
        into=None if into is None else Path(into),
        where=texts("where as text", where),
        model=model,
        out=Path(out),
        data_dir=folder(data_dir),
        download=download,
    )
