"""Measure a run: build its model and data again, look at each sample's clean and worst point.

What is seen goes into the tables of measures (`store/measured.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.analysis.input_margins import is_distance, measure_distances
from robbench.core.device import deterministic
from robbench.core.errors import UserError
from robbench.core.files import check_writable
from robbench.core.freeze import frozen
from robbench.core.tiles import largest_tile
from robbench.core.trust import names_from
from robbench.data.base import Split
from robbench.data.load import load
from robbench.metrics.observe import Observations, find_head, inspect_model
from robbench.metrics.summary import summarise, svm_measures
from robbench.store.locations import sibling_table
from robbench.store.locks import locked_runs
from robbench.store.measured import Measure, read_measures, read_sample_measures, write_measures
from robbench.store.run import Run, attacked_model, read_points, read_run
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.points import decode
from robbench.tasks.listener import Listener
from robbench.tasks.measured_rows import (
    ChangedError,
    flip_share,
    missing_worst,
    require_alike,
    require_same,
    sample_rows,
)
from robbench.tasks.subject import Subject, find_subject, of_run

TRAIN_SAMPLES = 2000

Watch = Callable[[float, str], None]  # share of the work, what is being done


class Measured(NamedTuple):
    """A run (its row of the runs table) and its measures.

    fresh: whether anything was computed; notes: what a reader should know.
    """

    info: dict[str, Any]
    measures: list[Measure]
    fresh: bool
    notes: list[str]


@dataclasses.dataclass
class Measurer:
    """Measures runs; what depends on clean inputs alone is computed once for a model.

    `train_samples`: of the training data at most so many are looked at, as many of each class as
    can be; 0 = none.
    """

    store: Store
    device: torch.device
    data_dir: Path | None = None
    download: bool = False
    train_samples: int = TRAIN_SAMPLES
    say: Callable[[str], None] = lambda text: None  # gets the name of a process that holds the lock
    _clean: dict[tuple[Any, ...], tuple[Observations, list[Measure], list[str]]] = (
        dataclasses.field(default_factory=dict)
    )

    def measure(
        self,
        path: Path,
        *,
        force: bool,
        watch: Watch,
        model: str | None = None,
        subject: Subject | None = None,
    ) -> Measured:
        """Measure the run of a runs file and store the measures; unless `force`, only new ones.

        The model is `subject`, or built from what the run says of it, or from `model` where that
        was moved. Raises UserError, before anything is written, when model or data are not what
        they were, or a file cannot be read.
        """
        run = read_run(path, ("sample_id",))
        if not force and (found := self._known(path, run, write=False)):
            return found
        if force or not self._is_measured(read_measures(path)):  # before anything is written
            subject = subject or self._rebuild(path, run, model)
            require_same(run.info, run.samples["sample_id"].to_pylist(), subject)
        results = path.absolute().parent.parent
        check_writable(results)
        with locked_runs(results, [path.stem], say=self.say):
            if not force and (found := self._known(path, run, write=True)):
                return found
            return self._measure(path, run, subject or self._rebuild(path, run, model), watch)

    def _is_measured(self, known: list[Measure] | None) -> bool:
        return known is not None and any(
            m.name == "train_samples" and m.value == self.train_samples for m in known
        )

    def _measure(self, path: Path, run: Run, subject: Subject, watch: Watch) -> Measured:
        info, ids = run.info, run.samples["sample_id"].to_pylist()
        watch(0.0, "clean points")
        clean, measures, notes = self._look_at_clean(info, subject, watch)
        worst = self._inspect_worst(path, subject, watch)
        measures = [*measures, flip_share(info, clean)]
        if worst is None:
            measures += missing_worst(measures, info["split"])
            notes = [
                *notes,
                "it kept no points, so measures of worst points are null: attack with "
                "--store-points or --measure",
            ]
        else:
            measures += summarise(worst, "worst", info["split"])
        distances, columns = measure_distances(path, info["split"], ids)
        measures += distances
        measures.append(Measure("train_samples", "clean", "train", float(self.train_samples)))
        write_measures(path, measures, sample_rows(info, ids, clean, worst, columns))
        return Measured(info, read_measures(path) or [], True, notes)

    def _known(self, path: Path, run: Run, *, write: bool) -> Measured | None:
        """Known measures, with input margins by all present runs; None where a model is needed."""
        known = read_measures(path)
        if known is None or not self._is_measured(known):
            return None
        info, ids = run.info, run.samples["sample_id"].to_pylist()
        distances, columns = measure_distances(path, info["split"], ids)
        before = [m.detail["runs"] for m in known if is_distance(m)]
        if before == [m.detail["runs"] for m in distances]:
            return Measured(info, known, False, [])
        if not write:
            return None
        samples = read_sample_measures(path)
        for name, values in columns.items():
            for row, value in zip(samples, values, strict=True):
                row[name] = value
        write_measures(path, [m for m in known if not is_distance(m)] + distances, samples)
        return Measured(
            info,
            read_measures(path) or [],
            True,
            ["other runs of its model are new: only input margins were redone"],
        )

    def _rebuild(self, path: Path, run: Run, model: str | None) -> Subject:
        info = run.info
        limit = json.loads(info["config"]).get("limit")
        config = AttackConfig(
            data=info["data"], split=info["split"], limit=limit, seed=info["seed"]
        )
        try:
            with names_from(path, model):
                name, places = (
                    model or attacked_model(info),
                    (self.device, self.data_dir, self.download),
                )
                found, _ = find_subject(name, config, self.store, *places)
        except UserError as error:
            elsewhere = "" if model else "; if the model was moved, give its place with --model"
            raise UserError(f"run {info['run_id']}: {error}{elsewhere}") from error
        return of_run(found, info, run.samples["sample_id"].to_pylist())

    def _look_at_clean(
        self, info: dict[str, Any], subject: Subject, watch: Watch
    ) -> tuple[Observations, list[Measure], list[str]]:
        split, name = subject.split, info["split"]
        key = (subject.hash, subject.arch, split.fingerprint(ordered=True), name, info["data"])
        if key not in self._clean:
            n = len(split)
            seen = self._look(
                subject, split, None, lambda done: watch(0.3 * done / n, "clean points")
            )
            measures, notes = summarise(seen, "clean", name), list[str]()
            points = self.train_samples or n
            measures += svm_measures(
                seen, "clean", name, points, lambda share: watch(0.3 + 0.2 * share, "svm")
            )
            if name != "train" and self.train_samples:
                try:
                    train = self._training_data(info["data"], subject)
                except UserError as error:
                    notes.append(f"nothing measured on training data: {error}")
                else:
                    measures += self._measure_training(subject, train, watch)
            # Only of the latest model: features are large.
            self._clean = {key: (seen, measures, notes)}
        return self._clean[key]

    def _measure_training(self, subject: Subject, train: Split, watch: Watch) -> list[Measure]:
        n, what = len(train), "training data"
        seen = self._look(subject, train, None, lambda done: watch(0.5 + 0.1 * done / n, what))
        svm = svm_measures(
            seen, "clean", "train", n, lambda share: watch(0.6 + 0.2 * share, f"svm on {what}")
        )
        return [*summarise(seen, "clean", "train"), *svm]

    def _training_data(self, data: str, subject: Subject) -> Split:
        limit = f"stratified={self.train_samples}"
        train = load(data, "train", data_dir=self.data_dir, limit=limit, download=self.download)
        require_alike(train, subject.split, data)
        return train.to(self.device)

    def _inspect_worst(self, path: Path, subject: Subject, watch: Watch) -> Observations | None:
        """The samples at their worst points, else clean; None for a run without points."""
        if not sibling_table(path, "points").exists():
            return None
        rows = {row["sample_id"]: row for row in read_points(path)}
        stored = [rows.get(sample) for sample in subject.split.ids.tolist()]

        def moved(index: Tensor, clean: Tensor) -> Tensor:
            pairs = zip(index.tolist(), clean, strict=True)
            return torch.stack(
                [x if (row := stored[i]) is None else decode(row, x) for i, x in pairs]
            )

        n = len(subject.split)
        return self._look(
            subject, subject.split, moved, lambda done: watch(0.8 + 0.2 * done / n, "worst points")
        )

    def _look(
        self,
        subject: Subject,
        split: Split,
        moved: Callable[[Tensor, Tensor], Tensor] | None,
        watch: Callable[[int], None],
    ) -> Observations:
        model = subject.model
        with frozen(model), deterministic():
            torch.manual_seed(0)  # for models that draw from it
            head, rows = find_head(model, split.pixels(slice(0, 8))), largest_tile(self.device).rows
            return inspect_model(model, head, split, rows, moved, watch)


def measure_run(
    measurer: Measurer,
    path: Path,
    listener: Listener,
    *,
    force: bool,
    model: str | None = None,
    subject: Subject | None = None,
) -> Measured:
    """Measure one run, with its progress and what to know about it."""
    with listener.progress(f"measuring {path.stem}") as bar:
        measured = measurer.measure(
            path, force=force, watch=bar.update, model=model, subject=subject
        )
    title = f"run {path.stem} ({measured.info['model']} {measured.info['threat']})"
    if not measured.fresh:
        listener.say(f"{title} has been measured already; nothing to do (--force does it again)")
    for note in measured.notes:
        listener.say(f"{title}: {note}")
    return measured


def measure(
    paths: Iterable[Path],
    measurer: Measurer,
    *,
    model: str | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> list[Measured]:
    """Measure runs; those whose model or data have changed are left out, with a message.

    Raises ChangedError where all are.
    """
    hears, found, changed = listener or Listener(), list[Measured](), list[ChangedError]()
    for path in paths:
        try:
            found.append(measure_run(measurer, path, hears, force=force, model=model))
        except ChangedError as error:  # an older run of a name; a newer one may be measured
            changed.append(error)
    if not found:
        raise changed[0]
    for reason in changed:
        hears.say(f"left out: {reason}")
    return found
