"""The report of some runs: everything stored beside them gathered, and one HTML file written.

Torch only for pictures.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robbench.analysis.commands import recorded_command
from robbench.analysis.series import in_order
from robbench.core.errors import UserError
from robbench.core.files import require_output, write_output
from robbench.core.model_config import Described, read_config
from robbench.reports.html.data import CHECKS, COLUMNS, MEASURES, ReportData, Training
from robbench.reports.html.render import page_sections, render
from robbench.store.epochs import read_epochs
from robbench.store.locations import model_folder, sibling_table
from robbench.store.run import Run, attacked_model, read_run
from robbench.store.store import Store
from robbench.store.tables import read_sibling


class Report(NamedTuple):
    """A written report: path, bytes, run ids, and whether each section has content.

    `missing` says of each empty section, by its title, why it is empty and what fills it.
    """

    path: Path
    size: int
    runs: list[str]
    sections: dict[str, bool]
    missing: dict[str, str]


def report(
    names: Sequence[str],
    out: Path,
    html: Path,
    *,
    title: str = "Robustness report",
    data_dir: Path | None = None,
) -> Report:
    """Write the report of the runs that `names` mean (none: all of the store) to `html`.

    Raises UserError, before anything is written, for names, results or a target that cannot be
    right; RunError when the file cannot be written.
    """
    _check_target(html)
    paths = Store(out).find_local(names)
    runs = [(path, read_run(path, COLUMNS)) for path in paths]
    material = gather(
        runs,
        data_dir,
        command=shlex.join(["robbench", "report", *names, "--out", str(out), "--html", str(html)]),
    )
    sections = page_sections(material)
    page = render(material, sections, title).encode()
    write_output(html, lambda temporary: temporary.write_bytes(page))
    return Report(
        html,
        len(page),
        [run.info["run_id"] for _, run in runs],
        {one.id: bool(one.blocks) for one in sections},
        {one.title: one.text for one in sections if not one.blocks},
    )


def gather(runs: Sequence[tuple[Path, Run]], data_dir: Path | None, *, command: str) -> ReportData:
    """What a report of runs (each with its runs file) shows.

    Raises UserError for a damaged file beside them.
    """
    trainings: dict[str, Training] = {}
    classes: dict[str, list[str]] = {}
    folders: set[Path] = set()
    for path, run in runs:
        model = run.info["model"]
        if (
            model not in classes
            and (folder := model_folder(path, attacked_model(run.info))) is not None
        ):
            config = read_config(folder / "config.json", Described)
            classes[model] = list(config.get("classes") or [])
            if folder in folders:  # another checkpoint of the same training
                continue
            folders.add(folder)
            epochs = (
                read_epochs(folder / "epochs.parquet")
                if (folder / "epochs.parquet").is_file()
                else []
            )
            trainings[model] = Training(epochs, recorded_command(config.get("provenance") or {}))
    with_points = [(path, run) for path, run in runs if sibling_table(path, "points").is_file()]
    shown, reasons = _examples(with_points, data_dir) if with_points else ([], [])
    return ReportData(
        runs=in_order([run for _, run in runs]),
        trainings=trainings,
        classes=classes,
        measures={
            run.info["run_id"]: read_sibling(sibling_table(path, "measures"), "measures", MEASURES)
            for path, run in runs
        },
        checks={
            run.info["run_id"]: read_sibling(sibling_table(path, "checks"), "checks", CHECKS)
            for path, run in runs
        },
        examples=shown,
        no_examples=reasons,
        command=command,
    )


def _examples(
    runs: Sequence[tuple[Path, Run]], data_dir: Path | None
) -> tuple[list[Any], list[str]]:
    from robbench.tasks.gallery import examples

    return examples(runs, data_dir)


def _check_target(html: Path) -> None:
    """A typing error must not cost a model or a table."""
    if html.is_dir():
        raise UserError(f"{html} is a folder; give a file name such as {html / 'report.html'}")
    if html.suffix.lower() not in (".html", ".htm"):
        raise UserError(
            f"{html} does not end in .html; give a file name such as {html.with_suffix('.html')}"
        )
    require_output(html)
