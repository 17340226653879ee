"""Export stored runs to MLflow, TensorBoard or Bencher. Needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from robbench.analysis.certified import Proofs, proofs
from robbench.analysis.choose import choose
from robbench.analysis.claims import with_contradictions
from robbench.analysis.corrupted import under_corruptions
from robbench.analysis.exported import COLUMNS, Record, record
from robbench.core.errors import UserError, unknown
from robbench.core.files import require_output, write_output
from robbench.core.imports import require_extra
from robbench.core.lock import locked
from robbench.core.model_config import Described, read_config
from robbench.reports import texts
from robbench.store.address.copies import bring
from robbench.store.epochs import read_epochs
from robbench.store.locations import Location, model_folder
from robbench.store.row import in_threads
from robbench.store.run import Run, attacked_model, read_run
from robbench.store.store import Store

FORMS = {
    "mlflow": "mlflow or mlflow:URI",
    "tensorboard": "tensorboard:DIR",
    "bencher": "bencher or bencher:FILE",
}
"""What `to` may be, by tool."""


class Exported(NamedTuple):
    """What was exported: the tool, a row per run with its `place` there, and warnings.

    `fresh` of a row: it was not there before; None where the tool's file is made anew. content:
    Bencher's object; None of the other tools.
    """

    tool: str
    runs: list[dict[str, Any]]
    warnings: list[str]
    content: dict[str, Any] | None = None


def export(
    names: Sequence[str],
    to: str,
    out: Path,
    *,
    where: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Export the runs that `names` mean (none: all of the store).

    to: `mlflow` or `mlflow:URI`, `tensorboard:DIR`, `bencher` (nothing is written) or
    `bencher:FILE`. where: conditions COLUMN=VALUE that runs meet. say: hears of another export to
    MLflow from this folder, which is waited for. Raises UserError, before anything is written, for
    names that mean nothing, another tool, or one that is not installed; RunError where a server
    does not answer.
    """
    tool, colon, place = to.partition(":")
    if tool not in FORMS:
        raise unknown("tool for --to", tool, FORMS)
    if not place and (colon or tool == "tensorboard"):
        raise UserError(f"--to {to}: write {FORMS[tool]}")
    if tool == "bencher" and place:
        require_output(Path(place))
    elif tool != "bencher":
        require_extra(tool, tool, f"--to {tool} needs it")
    paths = choose(Store(out), names, where)
    runs = list(in_threads(lambda path: read_run(path, COLUMNS), paths))
    certified = proofs(paths, runs)
    records = [
        record(run, _epochs(path, run.info), certified.get(run.info["run_id"]))
        for path, run in zip(paths, runs, strict=True)
    ]
    with _alone(Store(out).root / "results", say) if tool == "mlflow" else nullcontext():
        rows, content = _written(tool, place, records, runs)
    return Exported(tool, rows, _warnings(runs, certified), content)


def _alone(results: Path, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Keep another export from making the same runs meanwhile; not in a folder to be read only."""
    if not os.access(results, os.W_OK):
        return nullcontext()
    return locked(results / "locks" / "mlflow.lock", "export to MLflow", say=say)


def _written(
    tool: str, place: str, records: Sequence[Record], runs: Sequence[Run]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    if tool == "bencher":
        from robbench.reports.exports.bencher import metric_format

        content = metric_format(records, under_corruptions(runs))
        if place:
            text = json.dumps(content, indent=2, allow_nan=False) + "\n"
            write_output(Path(place), lambda temporary: temporary.write_text(text))
        return [_row(one, place or None, None) for one in records], content
    if tool == "tensorboard":
        from robbench.reports.exports.tensorboard import write_events

        paths = write_events(records, Path(place))
        return [_row(one, str(path), None) for one, path in zip(records, paths, strict=True)], None
    from robbench.reports.exports.mlflow import log_runs

    logged = log_runs(records, place or None)
    return [_row(one, run.id, run.fresh) for one, run in zip(records, logged, strict=True)], None


def _row(one: Record, place: str | None, fresh: bool | None) -> dict[str, Any]:
    return {"run_id": one.run_id, "title": one.title, "place": place, "fresh": fresh}


def _epochs(path: Location, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The epochs of the training that made a run's model; none where another has its name now."""
    folder = model_folder(path, attacked_model(info)) if isinstance(path, Path) else None
    if folder is None or not info["train_config"]:
        return []
    bring(folder / "epochs.parquet")
    trained = read_config(folder / "config.json", Described).get("config")
    if trained != json.loads(info["train_config"]) or not (folder / "epochs.parquet").is_file():
        return []
    return read_epochs(folder / "epochs.parquet")


def _warnings(runs: Sequence[Run], certified: Mapping[str, Proofs]) -> list[str]:
    found = []
    for run in runs:
        info, proof = run.info, certified.get(run.info["run_id"], Proofs())
        flags = with_contradictions(run) + proof.flags()
        about = f"{info['model']}, {info['threat']}"
        found += [f"{about}: {text}" for text in texts.warnings(info | {"flags": flags})]
    return found
