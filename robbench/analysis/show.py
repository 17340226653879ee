"""What is known about one run, and which runs there are. Needs no torch."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robbench.analysis.certified import Proofs, proofs
from robbench.analysis.claims import distance, with_contradictions
from robbench.analysis.commands import recorded_command
from robbench.analysis.summary import COLUMNS, column, summarise
from robbench.core.errors import UserError
from robbench.core.model_config import Described, Listed, read_config
from robbench.core.norms import NORMS
from robbench.store.address.copies import bring, shown
from robbench.store.find import parquet_files, runs_at, several_runs
from robbench.store.hints import command
from robbench.store.index import run_rows
from robbench.store.locations import Location, locate, model_folder, sibling_table, trained_name
from robbench.store.row import run_row
from robbench.store.run import attacked_model, read_run
from robbench.store.schema import DISTANCES
from robbench.store.store import Store
from robbench.store.tables import number_of_rows, read_sibling

_JSON = ("attack_params", "config", "provenance", "flags", "train_config", "tags", "classes")
_ALSO = ("broken_by", "label", "first_success_step", *DISTANCES)
_SHOWN = {
    "checks": ("check", "severity", "verdict", "text"),
    "measures": ("name", "points", "split", "class", "value"),
}


def show_run(name: str, out: Path) -> dict[str, Any]:
    """Everything known about the one run that `name` means.

    run: its row, JSON unpacked; summary: counted from its samples; fell_to: how many samples fell
    to which attack, and their median step; classes: accuracies of each label; class_names: as far
    as its model's folder knows them; distances: median size of the smallest perturbation found, by
    norm, of the samples that an attack broke; tables: how many rows it has in each other table, of
    checks and measures what they say; files; own_code: folders with copies of the private code
    behind run and training; command: the line that made it; older: see `Run`.
    Raises UserError as `Store.find` and `read_run` do, and for several runs.
    """
    paths = Store(out).find([name])
    if len(paths) > 1:
        last = run_row(paths[-1], ("run_id",))["run_id"]
        one = command("show", last, out=out)
        raise UserError(f"{several_runs(name, paths)}; name one, such as {one}")
    path = paths[0]
    bring(sibling_table(path, "points"), path.parent.parent / "code" / path.stem)
    run = read_run(path, (*COLUMNS, *_ALSO))
    row = {
        key: json.loads(value) if key in _JSON and value else value
        for key, value in run.info.items()
    }
    proof = proofs([path], [run]).get(row["run_id"], Proofs())
    row["flags"] = with_contradictions(run) + proof.flags()
    samples, endless = run.samples, math.isinf(row["eps"])
    argv = row["provenance"].get("argv") or []
    return {
        "run": row,
        "summary": summarise(samples, budget=not endless) | distance(run) | proof.columns(),
        "fell_to": _fell_to(samples),
        "classes": _classes(samples, endless),
        "class_names": row["classes"] or _class_names(path, attacked_model(row)),
        "distances": _distances(samples),
        "tables": _tables(path),
        "files": _files(path),
        "own_code": _own_code(path, attacked_model(row)),
        "command": shlex.join(["robbench", *argv[1:]]) if argv else None,
        "older": run.older,
    }


def _fell_to(samples: Any) -> list[dict[str, Any]]:
    by = np.array([text or "" for text in samples["broken_by"].to_pylist()], dtype=object)
    steps = np.array(
        [np.nan if step is None else step for step in samples["first_success_step"].to_pylist()],
        dtype=float,
    )
    found = []
    for name in sorted(set(by[by != ""]), key=lambda name: -int((by == name).sum())):
        known = steps[(by == name) & ~np.isnan(steps)]
        found.append(
            {
                "attack": name,
                "n": int((by == name).sum()),
                "step": float(np.median(known)) if len(known) else None,
            }
        )
    return found


def _classes(samples: Any, endless: bool) -> list[dict[str, Any]]:
    label, clean, robust = (column(samples, name) for name in ("label", "clean_correct", "robust"))
    return [
        {
            "label": int(each),
            "n": int(mine.sum()),
            "clean_accuracy": float(clean[mine].mean()),
            "robust_accuracy": None if endless else float(robust[mine].mean()),
        }
        for each in np.unique(label)
        if (mine := label == each).any()
    ]


def _class_names(path: Location, model: str) -> list[str]:
    folder = model_folder(path, model) if isinstance(path, Path) else None
    if folder is None:
        return []
    try:
        return list(read_config(folder / "config.json", Described).get("classes") or [])
    except UserError:
        # The run can be shown without; the command that takes the model says what is wrong with it.
        return []


def _distances(samples: Any) -> dict[str, float]:
    fell = column(samples, "adversarial") & column(samples, "clean_correct")
    found = {}
    for norm in NORMS:
        sizes = np.array(
            [np.nan if size is None else size for size in samples[f"dist_{norm}"].to_pylist()],
            dtype=float,
        )[fell]
        if np.isfinite(sizes).any():
            found[norm] = float(np.median(sizes[np.isfinite(sizes)]))
    return found


def _tables(path: Location) -> dict[str, Any]:
    """The other tables of a run: how many rows each has, of checks and measures what they say."""
    tables: dict[str, Any] = {}
    folders: list[Location] = [*path.absolute().parent.parent.glob("*")]
    for folder in sorted(folders, key=str):
        file = folder / path.name
        if folder.name not in ("runs", "samples", "partial") and file.is_file():
            tables[folder.name] = number_of_rows(file)
    for kind, names in _SHOWN.items():
        if kind in tables:
            tables[kind] = read_sibling(sibling_table(path, kind), kind, names)
    return tables


def _files(path: Location) -> list[str]:
    return [shown(sibling_table(path, kind)) for kind in ("runs", "samples")]


def _own_code(path: Location, model: str) -> list[str]:
    if not isinstance(path, Path):
        return []
    trained = model_folder(path, model)
    folders = [path.absolute().parent.parent / "code" / path.stem]
    folders += [trained / "code"] if trained else []
    return [shown(folder) for folder in folders if folder.is_dir()]


def list_runs(where: str | None, out: Path) -> dict[str, list[dict[str, Any]]]:
    """The runs of an output folder, and what in it can be continued.

    {"runs": rows of the runs table, oldest first, "unfinished", "damaged", "models"}: the models
    are those whose training is not finished, and those without any run. `where` is the folder or an
    address; None means `out`. Raises UserError when nothing at all is there.
    """
    root = locate(where) if where else Store(out).root
    bring(root / "results" / "partial")
    folder = next(
        (found for found in (root / "results", root) if (found / "runs").is_dir()), root / "results"
    )
    files = parquet_files(folder / "runs") or (
        runs_at(root) if not folder.exists() and parquet_files(root) else []
    )
    read = list(zip(files, run_rows(files), strict=True))
    runs = sorted(
        (row for _, row in read if not isinstance(row, UserError)),
        key=lambda row: (row["started_at"], row["run_id"]),
    )
    models = sorted(
        (found for found in (root / "models").glob("*") if found.is_dir()),
        key=lambda found: found.name,
    )
    attacked = {trained_name(attacked_model(row)) for row in runs}
    found = {
        "runs": runs,
        "unfinished": [
            {"run_id": found.name, "n_decided": _decided(found)} for found in _partial(folder)
        ],
        "damaged": [
            {"run_id": path.stem, "problem": str(row)}
            for path, row in read
            if isinstance(row, UserError)
        ],
        "models": [
            row
            for row in map(_model, models)
            if not row["finished"] or row["model"] not in attacked
        ],
    }
    if not any(found.values()):
        if isinstance(root, Path) and root == Store(out).root:
            Store(out).find()
        raise UserError(
            f"nothing of robbench in {root}; give the folder that --out named, or run robbench "
            "attack first"
        )
    return found


def _model(folder: Location) -> dict[str, Any]:
    """A model folder: whether its training is finished, and the command that resumes it."""
    if not isinstance(folder, Path):
        return {
            "model": folder.name,
            "finished": (folder / "model.safetensors").is_file(),
            "command": None,
        }
    try:
        config = read_config(folder / "config.json", Listed)
    except UserError:  # the command that takes the model says what is wrong with it
        return {"model": folder.name, "finished": False, "command": None}
    done, command = config["status"] == "done", recorded_command(config.get("provenance") or {})
    return {
        "model": folder.name,
        "finished": done,
        "command": None if done or command is None else command.without({}),
    }


def _partial(folder: Location) -> Sequence[Location]:
    return sorted(
        (found for found in (folder / "partial").glob("*") if parquet_files(found)),
        key=lambda found: found.name,
    )


def _decided(folder: Location) -> int:
    """How many samples the shards hold that can be read; the others are to be redone."""
    count = 0
    for shard in parquet_files(folder):
        try:
            count += number_of_rows(shard)
        except UserError:
            continue
    return count
