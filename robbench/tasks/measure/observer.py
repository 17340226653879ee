"""Looks at a model: at clean points, at worst points, at its training data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robbench.core.device import deterministic
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.tiles import largest_tile
from robbench.data.base import Split
from robbench.data.load import load
from robbench.metrics.observe import Observations, find_head, inspect_model
from robbench.metrics.summary import summarise, svm_measures
from robbench.store.locations import sibling_table
from robbench.store.measured import Measure
from robbench.store.run import read_points
from robbench.tasks.attack.points import decode
from robbench.tasks.measure.rows import require_alike
from robbench.tasks.subject import Subject

TRAIN_SAMPLES = 2000

Watch = Callable[[float, str], None]
"""Hears the share of the work that is done, and what is being done."""


@dataclasses.dataclass
class Observer:
    """Looks at models; what depends on clean inputs alone is computed once for a model.

    `train_samples`: of the training data at most so many are looked at, as many of each class as
    can be; 0 = none.
    """

    device: torch.device
    data_dir: Path | None = None
    download: bool = False
    train_samples: int = TRAIN_SAMPLES
    _clean: dict[tuple[Any, ...], tuple[Observations, list[Measure], list[str]]] = (
        dataclasses.field(default_factory=dict)
    )

    def clean(
        self, info: dict[str, Any], subject: Subject, watch: Watch
    ) -> tuple[Observations, list[Measure], list[str]]:
        """The samples as they are, with their measures and those of training data; notes."""
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

    def worst(self, path: Path, subject: Subject, watch: Watch) -> Observations | None:
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
            head = find_head(model, split.pixels(slice(0, 8)))
            rows = largest_tile(self.device, split.images.shape[1:]).rows
            return inspect_model(model, head, split, rows, moved, watch)
