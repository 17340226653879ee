"""Runs as event files of TensorBoard: a folder for each, and in it one file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from robbench.analysis.exported import Record
from robbench.core.files import atomic_write

_FILE = "events.out.tfevents.robbench"
_MOST_BYTES = 100  # of a model's name in that of a folder


def write_events(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write the file of each run, in place of an earlier one; returns their paths.

    Curves are `training/NAME` by epoch. Measures are `attack/NAME` at the epoch of the weights,
    the bounds of their intervals beside them; settings are the run's hyperparameters.
    Raises UserError or RunError where nothing can be written.
    """
    paths = []
    for one in records:
        model = re.sub(r"[^\w.,=@+-]+", "-", str(one.settings["model"]))
        model = model.encode()[:_MOST_BYTES].decode(errors="ignore")
        path = folder / f"{model}-{one.run_id}" / _FILE
        atomic_write(path, partial(_write, _events(one)))
        paths.append(path)
    return paths


def _write(events: Iterable[Any], path: Path) -> None:
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())


def _events(one: Record) -> Iterator[Any]:
    yield Event(wall_time=one.started, file_version="brain.Event:2")
    settings = {name: _hyperparameter(value) for name, value in one.settings.items()}
    summary = hparams_pb(settings, trial_id=one.run_id, start_time_secs=one.started)
    yield Event(wall_time=one.started, summary=Summary.FromString(summary.SerializeToString()))
    for name, points in one.curves.items():
        for epoch, value in points:
            yield _scalars(one.started, epoch, {f"training/{name}": value})
    numbers = {f"attack/{name}": value for name, value in one.numbers.items()}
    yield _scalars(one.finished, one.epoch, numbers)


def _scalars(time: float, step: int, numbers: Mapping[str, float]) -> Any:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in numbers.items()]
    return Event(wall_time=time, step=step, summary=Summary(value=values))


def _hyperparameter(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
