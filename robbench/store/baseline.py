"""The reference run of an output folder, identified by the content of its files.

ROOT/results/baseline.json names the run and has the SHA-256 of each of its files; that of a branch
is ROOT/results/baselines/<branch>.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from pydantic import BaseModel, Field

from robbench.core.documents import parse_json, read_text
from robbench.core.errors import UserError
from robbench.core.files import atomic_write, sha256
from robbench.core.spec import checked
from robbench.store.address.copies import bring_runs
from robbench.store.find import several_runs
from robbench.store.locations import sibling_table
from robbench.store.row import RUN_ID, run_row
from robbench.store.run import read_run
from robbench.store.settings import audit_asked
from robbench.store.store import Store

SCHEMA = "robbench.baseline/1"
_LONGEST_BRANCH = 200
_SAME_COMMAND = (
    "data",
    "split",
    "data_hash",
    "threat",
    "attack_params",
    "seed",
    "max_time_s",
    "max_queries",
    "precision",
)
"""Columns of the runs table in which the runs of one command agree, night after night."""
KINDS = ("runs", "samples", "points")


class _Entry(BaseModel, strict=True):
    schema_: Annotated[Literal["robbench.baseline/1"], Field(alias="schema")]
    run_id: Annotated[str, Field(pattern=f"^(?:{RUN_ID.pattern})$")]
    model: str
    results: Annotated[str, Field(pattern=r"^[^\x00]+$")]
    set_at: str
    sha256: dict[str, str]


def baseline_path(store: Store, branch: str | None = None) -> Path:
    """Where the reference of an output folder, or of a branch in it, is written.

    Raises UserError for a name that no file can have.
    """
    if branch is None:
        return store.root / "results" / "baseline.json"
    file = quote(branch, safe="")  # `feature/x` is a branch too
    if not branch or branch.startswith(".") or len(file) > _LONGEST_BRANCH:
        raise UserError(f"{branch!r} cannot be the name of a branch; give another --branch")
    return store.root / "results" / "baselines" / f"{file}.json"


def branches(store: Store) -> list[str]:
    """The branches that have a baseline of their own."""
    folder = store.root / "results" / "baselines"
    return sorted(unquote(path.stem) for path in folder.glob("*.json"))


def set_baseline(store: Store, name: str, branch: str | None = None) -> dict[str, Any]:
    """Make the run that `name` means the reference, replacing any other; returns what was written.

    Of several runs that differ in their weights only, as a nightly job leaves them, it is the
    latest. Raises UserError where the name means no run or several others, or its files are not
    sound: what was set before then stays.
    """
    target = baseline_path(store, branch)
    path = _latest(store, name)
    info = read_run(path).info
    # Stays right when the output folder moves.
    folder = os.path.relpath(path.parent.parent, store.root)
    entry = {
        "schema": SCHEMA,
        "run_id": info["run_id"],
        "model": info["model"],
        "results": Path(folder).as_posix(),
        "set_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": _hashes(path),
    }
    text = json.dumps(entry, indent=2) + "\n"
    atomic_write(target, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return entry


def _latest(store: Store, name: str) -> Path:
    found = store.find_local([name])
    runs = [run_row(path, ("model", "started_at", "config", *_SAME_COMMAND)) for path in found]
    commands = {
        (*(run[key] for key in ("model", *_SAME_COMMAND)), audit_asked(json.loads(run["config"])))
        for run in runs
    }
    if len(commands) > 1:
        raise _several(name, found)
    return max(zip(found, runs, strict=True), key=lambda pair: pair[1]["started_at"])[0]


def read_baseline(store: Store, branch: str | None = None) -> dict[str, Any] | None:
    """What `set_baseline` wrote, None if nothing was set.

    Raises UserError for a file that is not ours.
    """
    path = baseline_path(store, branch)
    if not path.exists():
        return None
    try:
        entry = parse_json(read_text(path, "the baseline", "JSON"), str(path))
        checked(_Entry, entry, str(path))
    except UserError as error:
        why = f"{path} is damaged or of another robbench ({error})"
        raise UserError(
            f"{why}: set it again with {store.command('baseline', 'set', 'RUN')}"
        ) from None
    return dict(entry)


def find_baseline(store: Store, name: str | None, branch: str | None = None) -> Path:
    """The runs file of the named run, or of the reference (of a branch) where there is no name.

    Raises UserError where no reference was set, or where the run is the reference and its files are
    not as they were then.
    """
    entry = read_baseline(store, branch)
    if name is not None:
        path = one_run(store, name)
    elif entry is None:
        raise UserError(_no_baseline(store, branch))
    else:
        path = _path(store, entry)
        bring_runs([path], points=True)
    if entry is not None and path.resolve() == _path(store, entry).resolve():
        _require_unchanged(store, path, entry, branch)
    return path


def one_run(store: Store, name: str) -> Path:
    """The runs file of the one run that a name means. Raises UserError for none or several."""
    found = store.find_local([name])
    if len(found) > 1:
        raise _several(name, found)
    return found[0]


def _several(name: str, found: Sequence[Path]) -> UserError:
    return UserError(f"{several_runs(name, found)}; name that or another")


def _no_baseline(store: Store, branch: str | None) -> str:
    if branch is None:
        how = store.command("baseline", "set", "RUN")
        return f"no baseline is set in {store.root}: {how}, or --baseline RUN"
    known = f" (there is one for {', '.join(branches(store))})" if branches(store) else ""
    how = store.command("baseline", "set", "RUN", "--branch", branch)
    return (
        f"no baseline is set for the branch {branch} in {store.root}{known}: {how}, "
        "or --baseline RUN"
    )


def _path(store: Store, entry: dict[str, Any]) -> Path:
    return store.root / str(entry["results"]) / "runs" / f"{entry['run_id']}.parquet"


def _files(path: Path) -> dict[str, Path]:
    return {kind: sibling_table(path, kind) for kind in KINDS}


def _hashes(path: Path) -> dict[str, str]:
    return {kind: sha256(file) for kind, file in _files(path).items() if file.is_file()}


def _require_unchanged(store: Store, path: Path, entry: dict[str, Any], branch: str | None) -> None:
    now = _hashes(path)
    for kind, file in _files(path).items():
        if now.get(kind) != entry["sha256"].get(kind):
            what = (
                "is gone"
                if kind not in now
                else "is new"
                if kind not in entry["sha256"]
                else "was changed"
            )
            words = ["baseline", "set", entry["run_id"], *(["--branch", branch] if branch else [])]
            raise UserError(
                f"{file} {what} since run {entry['run_id']} was set as the baseline "
                f"({entry['set_at']}): put it back, or if "
                f"that was meant, {store.command(*words)}"
            )
