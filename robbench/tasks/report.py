"""The report of some runs: everything stored beside them gathered, and one HTML file written.

Torch only for pictures.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robbench.analysis.answer import answers
from robbench.analysis.certified import proofs
from robbench.analysis.choose import choose
from robbench.analysis.commands import Command, recorded_command
from robbench.analysis.series import in_order
from robbench.core.errors import UserError
from robbench.core.escaping import without_password
from robbench.core.files import require_output, sha256, write_output
from robbench.core.model_config import Described, read_config
from robbench.reports.answer import as_json
from robbench.reports.html.data import CHECKS, COLUMNS, MEASURES, ReportData, Training
from robbench.reports.html.render import page_sections, render
from robbench.store.address.copies import bring_runs, shown
from robbench.store.epochs import read_epochs
from robbench.store.locations import model_folder, sibling_table
from robbench.store.run import Run, attacked_model, read_run
from robbench.store.store import Store, local
from robbench.store.tables import read_sibling

_SIBLINGS = ("samples", "points", "checks", "measures")
"""The tables beside a run's own that a page is made from."""


class Report(NamedTuple):
    """A written report: path, bytes, run ids, and whether each section has content.

    `missing` says of each empty section, by its title, why it is empty and what fills it;
    `answers` are as `reports/answer.py` has them.
    """

    path: Path
    size: int
    runs: list[str]
    sections: dict[str, bool]
    missing: dict[str, str]
    answers: list[dict[str, Any]]


def report(
    names: Sequence[str],
    out: Path,
    html: Path,
    *,
    title: str = "Robustness report",
    data_dir: Path | None = None,
    where: Sequence[str] = (),
    over_seeds: bool = False,
    cdn: bool = False,
) -> Report:
    """Write the report of the runs that `names` mean (none: all of the store) to `html`.

    where: conditions COLUMN=VALUE that runs meet; over_seeds: one row and one line for the training
    seeds of a recipe; cdn: load the figures' library from its makers' server instead of keeping it
    inside. Raises UserError, before anything is written, for names, conditions, results or a target
    that cannot be right; RunError when the file cannot be written.
    """
    check_target(html)
    paths = local(choose(Store(out), names, where))
    runs = [(path, read_run(path, COLUMNS)) for path in paths]
    words = ["robbench", "report", *names, "--out", shown(out), "--html", str(html)]
    words += [word for condition in where for word in ("--where", condition)]
    words += [*(["--over-seeds"] if over_seeds else []), *(["--cdn"] if cdn else [])]
    material = gather(
        runs, data_dir, command=shlex.join(map(without_password, words)), over_seeds=over_seeds
    )
    said = answers(material.runs, over_seeds=over_seeds, checks=material.checks)
    sections = page_sections(material)
    page = render(material, said, sections, title, cdn=cdn).encode()
    write_output(html, lambda temporary: temporary.write_bytes(page))
    return Report(
        html,
        len(page),
        [run.info["run_id"] for _, run in runs],
        {one.id: bool(one.blocks) for one in sections},
        {one.title: one.missing(out) for one in sections if not one.blocks},
        [as_json(one, among=said, out=out) for one in said],
    )


def gather(
    runs: Sequence[tuple[Path, Run]],
    data_dir: Path | None,
    *,
    command: str,
    over_seeds: bool = False,
) -> ReportData:
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
            trainings[model] = _training(folder, config)
    for _, run in runs:
        if run.info["classes"] and not classes.get(run.info["model"]):
            classes[run.info["model"]] = json.loads(run.info["classes"])
    bring_runs([path for path, _ in runs], points=True)
    with_points = [(path, run) for path, run in runs if sibling_table(path, "points").is_file()]
    material = ReportData(
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
        digests=_digests([path for path, _ in runs]),
        certified=proofs([path for path, _ in runs], [run for _, run in runs]),
        command=command,
        over_seeds=over_seeds,
    )
    pictured = {run.info["run_id"] for run in material.single(material.shown)}
    with_points = [(path, run) for path, run in with_points if run.info["run_id"] in pictured]
    found, reasons = _examples(with_points, data_dir) if with_points else ([], [])
    return dataclasses.replace(material, examples=found, no_examples=reasons)


def _training(folder: Path, config: dict[str, Any]) -> Training:
    epochs = folder / "epochs.parquet"
    return Training(
        read_epochs(epochs) if epochs.is_file() else [],
        recorded_command(config.get("provenance") or {}),
        _before(config),
        {part: code for part, code in (config.get("code") or {}).items() if code},
    )


def _before(config: dict[str, Any], seen: frozenset[str] = frozenset()) -> list[Command]:
    """The commands of the models that this one began with or learnt from, the first one first.

    As far back as their folders are still there. `seen`: those that led here.
    """
    commands: list[Command] = []
    for role in ("start", "teacher"):
        folder = (config.get(role) or {}).get("folder")
        if not folder or folder in seen or not (path := Path(folder) / "config.json").is_file():
            continue
        found = read_config(path, Described)
        commands += _before(found, seen | {folder})
        if command := recorded_command(found.get("provenance") or {}):
            commands.append(command)
    return [command for n, command in enumerate(commands) if command not in commands[:n]]


def _digests(paths: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of every table of these runs, by its path in the output folder."""
    files = [sibling_table(path, kind) for path in paths for kind in (path.parent.name, *_SIBLINGS)]
    return {"/".join(file.parts[-3:]): sha256(file) for file in files if file.is_file()}


def _examples(
    runs: Sequence[tuple[Path, Run]], data_dir: Path | None
) -> tuple[list[Any], list[str]]:
    from robbench.tasks.gallery import examples

    return examples(runs, data_dir)


def check_target(html: Path) -> None:
    """Raise UserError for what is no HTML file: a typing error must not cost a model or a table."""
    if html.is_dir():
        raise UserError(f"{html} is a folder; give a file name such as {html / 'report.html'}")
    if html.suffix.lower() not in (".html", ".htm"):
        raise UserError(
            f"{html} does not end in .html; give a file name such as {html.with_suffix('.html')}"
        )
    require_output(html)
