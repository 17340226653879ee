"""Measure a run: build its model and data again, look at each sample's clean and worst point.

What is seen goes into the tables of measures (`store/measured.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from robbench.analysis.distance_measures import is_distance, measure_distances
from robbench.analysis.forecast import Forecast
from robbench.core.files import check_writable
from robbench.metrics.summary import summarise
from robbench.store.locations import sibling_table
from robbench.store.locks import locked_runs
from robbench.store.measured import Measure, read_measures, read_sample_measures, write_measures
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.tasks.forecast import forecast_measures
from robbench.tasks.measure.observer import Observer, Watch
from robbench.tasks.measure.rows import (
    flip_share,
    missing_worst,
    require_same,
    sample_rows,
)
from robbench.tasks.rebuild import rebuild
from robbench.tasks.subject import Subject, of_run


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
    """Measures runs, and keeps what it found beside them.

    `say` gets the name of a process that holds the lock.
    """

    store: Store
    observer: Observer
    say: Callable[[str], None] = lambda text: None

    def measure(
        self,
        path: Path,
        *,
        force: bool,
        watch: Watch,
        model: str | None = None,
        subject: Subject | None = None,
        expect: Callable[[Callable[[], Forecast]], object] = lambda make: None,
    ) -> Measured:
        """Measure the run of a runs file and store the measures; unless `force`, only new ones.

        The model is `subject`, or built from what the run says of it, or from `model` where that
        was moved. Raises UserError, before anything is written, when model or data are not what
        they were, or a file cannot be read. `expect` may ask what it will cost.
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
            about = subject or self._rebuild(path, run, model)
            points, train = sibling_table(path, "points").exists(), self.observer.train_samples
            expect(lambda: forecast_measures(about, train, points=points))
            return self._measure(path, run, about, watch)

    def _is_measured(self, known: list[Measure] | None) -> bool:
        return known is not None and any(
            m.name == "train_samples" and m.value == self.observer.train_samples for m in known
        )

    def _measure(self, path: Path, run: Run, subject: Subject, watch: Watch) -> Measured:
        info, ids = run.info, run.samples["sample_id"].to_pylist()
        watch(0.0, "clean points")
        clean, measures, notes = self.observer.clean(info, subject, watch)
        worst = self.observer.worst(path, subject, watch)
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
        measures.append(
            Measure("train_samples", "clean", "train", float(self.observer.train_samples))
        )
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
        by = self.observer
        found = rebuild(
            path,
            run,
            self.store,
            device=by.device,
            model=model,
            data_dir=by.data_dir,
            download=by.download,
        )
        return of_run(found, run.info, run.samples["sample_id"].to_pylist())
