"""Publish the robustness of one model: a model card, an in-toto statement, a CycloneDX BOM."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robbench.analysis.certified import proofs
from robbench.analysis.choose import choose
from robbench.analysis.claims import contradictions
from robbench.analysis.compare import COLUMNS
from robbench.analysis.comparison import KINDS, compare_read
from robbench.core.documents import read_text
from robbench.core.errors import UserError, unknown
from robbench.core.escaping import public
from robbench.core.files import require_output, sha256, write_output
from robbench.core.spec import finite
from robbench.models.weights import model_hash
from robbench.reports.card.cyclonedx import bom
from robbench.reports.card.facts import Evaluation, Subject, Weights, evaluation
from robbench.reports.card.in_toto import statement
from robbench.reports.card.markdown import results, section
from robbench.reports.card.readme import into_readme
from robbench.store.find import STOPPED_EARLY
from robbench.store.locations import Location, sibling_table
from robbench.store.row import in_threads
from robbench.store.run import Run, attacked_model, from_memory, read_run
from robbench.store.schema import CHECKS, DISTANCES
from robbench.store.store import Store, local
from robbench.store.tables import read_sibling
from robbench.tasks.model_folder import read_model, weights_name
from robbench.tasks.model_names import find_folder
from robbench.tasks.rebuild import folder_of, rebuild

FORMATS = ("markdown", "in-toto", "cyclonedx")


class Card(NamedTuple):
    """A document about a model, and where it was written; None where it was not."""

    format: str
    text: str
    path: Path | None
    runs: list[str]
    weights: Weights | None
    notes: list[str]


class _Found(NamedTuple):
    path: Location
    run: Run


def card(
    names: Sequence[str],
    *,
    form: str = "markdown",
    file: Path | None = None,
    into: Path | None = None,
    where: Sequence[str] = (),
    model: str | None = None,
    out: Path,
    data_dir: Path | None = None,
    download: bool = False,
) -> Card:
    """Describe the runs of one model that names and conditions select, in one of FORMATS.

    file: to be written; into: a README.md whose section and metadata are replaced. model: where
    that of the runs is, if it was moved. All is known before anything is written. Raises UserError
    as `choose` and `read_run` do; for runs of several models, runs that a gate stopped early, and
    rows that were changed after the attack; for weights that are not those of the runs; for a
    statement without any; and with `model` for runs at an address.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if into is not None and form != "markdown":
        raise UserError(f"--into takes a model card, in Markdown: write {form} by --file")
    if into is not None and file is not None:
        raise UserError("give --into or --file, not both: one call writes one file")
    require_output(*[path for path in (file, into) if path is not None])
    if into is not None and into.exists() and not os.access(into, os.W_OK):
        raise UserError(f"cannot write {into}: Permission denied; change its mode, or use -o FILE")
    store = Store(out)
    paths = choose(store, names, where)
    if model is not None:
        local(paths)
    found = [_Found(path, run) for path, run in zip(paths, in_threads(_read, paths), strict=True)]
    _require_one_model(found)
    for one in found:
        _require_sound(one.run)
    weights = _weights(found, store, model, data_dir, download)
    info = max((one.run.info for one in found), key=lambda info: info["started_at"])
    subject = Subject(
        public(info["model"]),
        public(info["model_arch"]),
        info["model_hash"],
        public(info["model_outputs"]),
        weights,
        tuple(_evaluations(found)),
    )
    text = _text(form, subject, into)
    if (target := file or into) is not None:
        write_output(target, lambda temporary: _write(temporary, text, into))
    notes = [f"run {one.run.info['run_id']}: {one.run.older}" for one in found if one.run.older]
    if weights is None:
        notes.append(f"no weights of {subject.name} here: it has the hash of the model only")
    ids = [one.run.info["run_id"] for one in found]
    return Card(form, text, target, ids, weights, notes)


def _read(path: Location) -> Run:
    return read_run(path, (*COLUMNS, *DISTANCES))


def _require_one_model(found: Sequence[_Found]) -> None:
    hashes: dict[str, str] = {}
    for one in found:
        info = one.run.info
        hashes.setdefault(info["model_hash"], f"{info['model']} in {info['run_id']}")
    if len(hashes) > 1:
        which = ", ".join(f"{mine} ({where})" for mine, where in hashes.items())
        raise UserError(
            f"runs of {len(hashes)} models, by their hashes: {which}; a card is of one: name its "
            f"runs, or choose with --where model_hash={next(reversed(hashes))}"
        )


def _require_sound(run: Run) -> None:
    info = run.info
    if info["status"] == STOPPED_EARLY:
        raise UserError(
            f"run {info['run_id']} was stopped early, by a gate: its samples are those that it "
            "took to decide; attack the model"
        )
    if wrong := contradictions(run):
        raise UserError(f"run {info['run_id']}: {wrong[0]}")


def _evaluations(found: Sequence[_Found]) -> list[Evaluation]:
    runs = [one.run for one in found]
    checks = {
        one.run.info["run_id"]: list(
            read_sibling(sibling_table(one.path, "checks"), "checks", CHECKS.names)
        )
        for one in found
    }
    proven = proofs([one.path for one in found], runs)
    rows = compare_read(runs, allow=KINDS, checks=checks, certified=proven).rows
    return [
        evaluation(
            one.run,
            row,
            checks[one.run.info["run_id"]],
            points=sibling_table(one.path, "points").exists(),
        )
        for one, row in zip(found, rows, strict=True)
    ]


def _weights(
    found: Sequence[_Found],
    store: Store,
    model: str | None,
    data_dir: Path | None,
    download: bool,
) -> Weights | None:
    """The file that the model of the runs was read from, None where robbench saved none.

    Raises UserError where the file holds another model.
    """
    for path, run in found:
        if not isinstance(path, Path) or (model is None and from_memory(run.info)):
            continue
        home = store if model else folder_of(path, run, store)
        folder, which = find_folder(model or attacked_model(run.info), home)
        if folder is None:
            continue
        cpu = torch.device("cpu")
        # Without the data, which may be elsewhere, as long as the weights alone are the model.
        if model_hash(read_model(folder, which, cpu)[0]) != run.info["model_hash"]:
            given = rebuild(
                path,
                run,
                home,
                device=cpu,
                model=model,
                data_dir=data_dir,
                download=download,
            )
            if given.hash != run.info["model_hash"]:
                raise UserError(
                    f"run {run.info['run_id']}: {folder} does not hold the model that was "
                    "attacked; attack it again, or say with --model where that model is"
                )
        file = folder / weights_name(folder, which)
        return Weights(file.name, sha256(file))
    if model:
        raise UserError(f"--model {model} is no folder of a model that robbench saved")
    return None


def _text(form: str, subject: Subject, into: Path | None) -> str:
    if form == "markdown":
        there = into is not None and into.exists()
        old = read_text(into, "the model card", "Markdown") if into and there else ""
        where = str(into) if into else "the card"
        return into_readme(old, section(subject), results(subject), subject.name, where)
    if form == "cyclonedx":
        return _json(bom(subject))
    if subject.weights is None:
        raise UserError(
            f"no weights of {subject.name} here: an in-toto statement is about a file that "
            "robbench saved; give its folder with --model, or choose another --format"
        )
    return _json(statement(subject, subject.weights))


def _json(document: dict[str, Any]) -> str:
    return json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write(temporary: Path, text: str, replaced: Path | None) -> None:
    """Fill the file; one that replaces another has its mode."""
    temporary.write_bytes(text.encode())
    if replaced is not None and replaced.exists():
        with contextlib.suppress(OSError):
            shutil.copymode(replaced, temporary)
