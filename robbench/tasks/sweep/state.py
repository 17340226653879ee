"""What has become of the tasks of a sweep: a record of every outcome, on disk as it comes."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import robbench
from robbench.catalogue.builtins import DATA, MODELS
from robbench.core.config import SPECS
from robbench.core.errors import UserError
from robbench.core.files import cannot_write
from robbench.core.lock import locked
from robbench.core.model_config import Listed, read_config
from robbench.core.part import WHOLE, Part
from robbench.core.trust import own_code
from robbench.execution.task import Outcome, Status
from robbench.tasks.sweep.plan import Item, SweepPlan

Record = dict[str, Any]


@dataclass
class _Value:
    """What of a task's value is read again."""

    model: str = ""
    identity: str = ""  # of a training
    run_ids: list[str] = field(default_factory=list)


@dataclass
class _Form:
    """A line of the record: an outcome, when, and by which version."""

    task: str
    status: Status
    value: _Value | None
    error: str | None
    tries: int
    seconds: float
    worker: str | None
    ended: str
    started: str
    version: str


_FORM = TypeAdapter(_Form)
_FILE = re.compile(r"[/\\]|\.[A-Za-z]")


class SweepState:
    """The folder `results/sweeps/NAME` of an output folder."""

    def __init__(self, out: Path, name: str) -> None:
        self.out = out
        self.folder = out / "results" / "sweeps" / name
        self.table = self.folder.parent / f"{name}.parquet"
        self.logs = self.folder / "logs"

    def read(self) -> dict[str, Record]:
        """The last record of every task; lines that are torn or no record are skipped."""
        found: dict[str, Record] = {}
        for path in sorted(self.folder.glob("outcomes*.jsonl")):
            with path.open("rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError):
                        record = _read(line)
                        other = found.get(record["task"])
                        if other is None or record["ended"] >= other["ended"]:
                            found[record["task"]] = record
        return found

    @contextlib.contextmanager
    def locked(self, part: Part, say: Callable[[str], None]) -> Iterator[None]:
        """Own a part; the whole is nobody else's. Waits, and `say`s for whom."""
        what, several = f"sweep {self.folder.name}", part != WHOLE
        with locked(self.folder / ".lock", what, say=say, shared=several):
            if not several:
                yield
                return
            with locked(self.folder / f".lock-{_file_text(part)}", f"{what} {part}", say=say):
                yield

    def writing(self) -> AbstractContextManager[None]:
        """Held while the table is written, which processes of several parts do."""
        return locked(self.folder / ".lock-table", f"table of {self.folder.name}", say=_silent)

    def add(self, outcome: Outcome, part: Part = WHOLE) -> None:
        """Append an outcome to the record of a part. Raises RunError where the disk is full."""
        ended = datetime.now(UTC)
        record = {
            "task": outcome.task,
            "status": outcome.status,
            "value": outcome.value,
            "error": outcome.error or None,
            "tries": outcome.tries,
            "seconds": round(outcome.seconds, 3),
            "worker": outcome.worker or None,
            "ended": ended.isoformat(),
            "started": (ended - timedelta(seconds=outcome.seconds)).isoformat(),
            "version": robbench.__version__,
        }
        file = self.folder / f"outcomes{'' if part == WHOLE else f'-{_file_text(part)}'}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with file.open("ab") as record_file:
                # A line before it may have been torn.
                record_file.write(b"\n" + json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise cannot_write(file, error) from error

    def done(self, plan: SweepPlan, records: Mapping[str, Record]) -> set[str]:
        """The tasks that need not even be asked about: done by this version, results still there.

        What names private code or files is asked: these may have changed.
        """
        runs, samples = (_stems(self.out / "results" / kind) for kind in ("runs", "samples"))
        whole = runs & samples
        asked: set[str] = set()
        found: set[str] = set()
        for item in plan.items:
            record = records.get(item.task.id)
            if not asked.isdisjoint(item.task.after) or _may_have_changed(item):
                asked.add(item.task.id)
            elif (
                record is not None
                and record["status"] == "done"
                and record["version"] == robbench.__version__
                and self._is_there(item, record["value"], whole)
            ):
                found.add(item.task.id)
        return found

    def _is_there(self, item: Item, value: Mapping[str, Any], runs: set[str]) -> bool:
        if item.kind != "train":
            return "run_ids" in value and runs.issuperset(value["run_ids"])
        # Another training may have taken the name.
        return (
            "identity" in value and _identity(self.out / "models" / item.model) == value["identity"]
        )


def _file_text(part: Part) -> str:
    return f"{part.number}-of-{part.count}"


def _silent(text: str) -> None:
    """Nobody waits for long."""


def _read(line: bytes) -> Record:
    """Raises ValueError for what is no record."""
    record: Record = json.loads(line)
    _FORM.validate_json(line, strict=True)
    for name in ("started", "ended"):
        datetime.fromisoformat(record[name])
    if record["status"] == "done" and not {"model", "run_ids"} & {*(record["value"] or ())}:
        raise ValueError("a task that is done has a value")
    return record


def _may_have_changed(item: Item) -> bool:
    """Whether something that the settings name may be another thing now under the same name."""
    if item.kind == "attack" and not item.task.after:
        return True  # a model that this sweep did not train
    return any(
        _outside(name, text)
        for name in (*SPECS, *_TRAINED)
        for text in _listed(item.settings.get(name))
    )


_TRAINED = ("from_model", "teacher", "replay")
"""Settings that name a model or a run."""


@functools.cache
def _outside(setting: str, text: str) -> bool:
    """Whether a value names what is not robbench's: private code, a file, a model, a run."""
    if setting in _TRAINED or own_code([text]) or _FILE.search(text):
        return True
    name = re.split(r"[:\[]", text)[0]
    if setting == "data":
        return name not in DATA.entries or ":" in text
    return setting == "model" and (
        name not in MODELS.entries or ".sources." in MODELS.entries[name].target
    )


def _listed(value: Any) -> Sequence[str]:
    return [] if value is None else value if isinstance(value, list) else [str(value)]


def _stems(folder: Path) -> set[str]:
    with contextlib.suppress(OSError):
        return {path.stem for path in folder.iterdir() if path.suffix == ".parquet"}
    return set()


def _identity(folder: Path) -> str | None:
    """What the training of a model with weights was; None without one."""
    with contextlib.suppress(OSError, UserError):
        if (folder / "model.safetensors").is_file():
            return str(read_config(folder / "config.json", Listed).get("identity"))
    return None
