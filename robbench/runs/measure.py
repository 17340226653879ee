"""Measure a run: build its model and data again, look at every sample at its clean and its worst point, write what was seen."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.core.config import AttackConfig
from robbench.core.device import deterministic
from robbench.core.errors import UserError
from robbench.core.files import check_writable
from robbench.core.tiles import largest_tile
from robbench.core.trust import names_from
from robbench.data.base import Split, class_difference
from robbench.data.load import load
from robbench.engine.guard import frozen
from robbench.measures.gradients import dual, flips
from robbench.measures.look import Look, find_head, look
from robbench.measures.summary import summarise, svm_measures
from robbench.results.answers import same_answers
from robbench.results.distances import is_distance, measure_distances
from robbench.results.measured import Measure, read_measures, read_sample_measures, write_measures
from robbench.results.places import beside
from robbench.results.store import Run, Store, locked_runs, read_points, read_run
from robbench.runs.points import decode
from robbench.runs.subject import Subject, find_subject, of_run

TRAIN_SAMPLES = 2000
_SEEN = (
    "feature_margin", "margin_gradient_l1", "margin_gradient_l2", "margin_gradient_linf", "cross_entropy_gradient_l1",
    "cross_entropy_gradient_l2", "cross_entropy_gradient_linf", "local_linearity", "n_features_90", "n_features_90_predicted",
    "confidence", "logit_norm",
)  # fmt: skip
"""What of a look goes into the table of samples, there with `clean_` or `worst_` in front."""

Watch = Callable[[float, str], None]  # share of the work, what is being done


class ChangedError(UserError):
    """Model or data are no longer those of the run."""


class Measured(NamedTuple):
    """A run (its row of the runs table) and its measures. `fresh`: whether anything was computed; `notes`: what to mind."""

    info: dict[str, Any]
    measures: list[Measure]
    fresh: bool
    notes: list[str]


@dataclasses.dataclass
class Measurer:
    """Measures runs one after the other. What rests on clean inputs alone is computed once for all runs of a model.

    `train_samples`: of the training data at most so many are looked at, as many of each class as can be; 0 = none.
    """

    store: Store
    device: torch.device
    data_dir: Path | None = None
    download: bool = False
    train_samples: int = TRAIN_SAMPLES
    say: Callable[[str], None] = lambda text: None  # hears for which other process is waited
    _clean: dict[tuple[Any, ...], tuple[Look, list[Measure], list[str]]] = dataclasses.field(default_factory=dict)

    def measure(self, path: Path, *, force: bool, watch: Watch, model: str | None = None,
                subject: Subject | None = None) -> Measured:  # fmt: skip
        """Measure the run of a runs file and write it down; what is there already is left alone, unless `force`.

        The model is `subject`, or built from what the run says of it, or from `model` where it lies elsewhere now. Raises
        UserError, before anything is written, when model or data are not what they were, or a file cannot be read.
        """
        run = read_run(path, ("sample_id",))
        if not force and (found := self._known(path, run, write=False)):
            return found
        if force or not self._is_measured(read_measures(path)):  # before anything is written
            subject = subject or self._rebuild(path, run, model)
            _require_same(run.info, run.samples["sample_id"].to_pylist(), subject)
        results = path.absolute().parent.parent
        check_writable(results)
        with locked_runs(results, [path.stem], say=self.say):
            if not force and (found := self._known(path, run, write=True)):
                return found
            return self._measure(path, run, subject or self._rebuild(path, run, model), watch)

    def _is_measured(self, known: list[Measure] | None) -> bool:
        return known is not None and any(m.name == "train_samples" and m.value == self.train_samples for m in known)

    def _measure(self, path: Path, run: Run, subject: Subject, watch: Watch) -> Measured:
        info, ids = run.info, run.samples["sample_id"].to_pylist()
        watch(0.0, "clean points")
        clean, measures, notes = self._look_at_clean(info, subject, watch)
        worst = self._look_at_worst(path, subject, watch)
        measures = [*measures, _flip_share(info, clean)]
        if worst is None:
            missing = {"reason": "the run kept no points: attack with --store-points"}
            mine = [m for m in measures if m.split == info["split"] and m.label is None and not m.name.startswith("svm_")]
            measures += [Measure(m.name, "worst", m.split, None, missing) for m in mine if m.name != "flip_share"]
            measures.append(Measure("local_linearity", "worst", info["split"], None, missing))
            notes = [*notes, "it kept no points, so measures of worst points are null: attack with --store-points or --measure"]
        else:
            measures += summarise(worst, "worst", info["split"])
        distances, columns = measure_distances(path, info["split"], ids)
        measures += distances
        measures.append(Measure("train_samples", "clean", "train", float(self.train_samples)))
        write_measures(path, measures, _sample_rows(info, ids, clean, worst, columns))
        return Measured(info, read_measures(path) or [], True, notes)

    def _known(self, path: Path, run: Run, *, write: bool) -> Measured | None:
        """What is known, with input margins by all runs there are now: they need no model. None where more is to be done."""
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
            info, read_measures(path) or [], True, ["other runs of its model are new: only input margins were redone"]
        )

    def _rebuild(self, path: Path, run: Run, model: str | None) -> Subject:
        info = run.info
        limit = json.loads(info["config"]).get("limit")
        config = AttackConfig(data=info["data"], split=info["split"], limit=limit, seed=info["seed"])
        try:
            with names_from(path, model):
                found, _ = find_subject(model or info["model"], config, self.store, self.device, self.data_dir, self.download)
        except UserError as error:
            elsewhere = "" if model else "; if the model lies elsewhere, say where with --model"
            raise UserError(f"run {info['run_id']}: {error}{elsewhere}") from error
        return of_run(found, info, run.samples["sample_id"].to_pylist())

    def _look_at_clean(self, info: dict[str, Any], subject: Subject, watch: Watch) -> tuple[Look, list[Measure], list[str]]:
        key = (subject.hash, subject.arch, subject.split.fingerprint(ordered=True), info["split"], info["data"])
        if key not in self._clean:
            n = len(subject.split)
            seen = self._look(subject, subject.split, None, lambda done: watch(0.3 * done / n, "clean points"))
            measures, notes = summarise(seen, "clean", info["split"]), list[str]()
            measures += svm_measures(
                seen, "clean", info["split"], self.train_samples or n, lambda share: watch(0.3 + 0.2 * share, "svm")
            )
            if info["split"] != "train" and self.train_samples:
                try:
                    train = self._training_data(info["data"], subject)
                except UserError as error:
                    notes.append(f"nothing measured on training data: {error}")
                else:
                    seen_too = self._look(
                        subject, train, None, lambda done: watch(0.5 + 0.1 * done / len(train), "training data")
                    )
                    measures += summarise(seen_too, "clean", "train")
                    measures += svm_measures(
                        seen_too, "clean", "train", len(train), lambda share: watch(0.6 + 0.2 * share, "svm on training data")
                    )
            self._clean = {key: (seen, measures, notes)}  # of the latest model only: features are large
        return self._clean[key]

    def _training_data(self, data: str, subject: Subject) -> Split:
        limit = f"stratified={self.train_samples}"
        train = load(data, "train", data_dir=self.data_dir, limit=limit, download=self.download).to(self.device)
        split = subject.split
        if train.classes != split.classes:
            apart = class_difference(train.classes, split.classes, ("the train split", f"the {split.split} split"))
            raise UserError(f"the splits of {data} have other classes: {apart}")
        if train.images.shape[1:] != split.images.shape[1:]:
            shapes = f"{list(train.images.shape[1:])} and {list(split.images.shape[1:])}"
            raise UserError(f"the train and {split.split} splits of {data} have images of other shapes: {shapes}")
        return train

    def _look_at_worst(self, path: Path, subject: Subject, watch: Watch) -> Look | None:
        """The samples at their worst points, which are their clean ones where none is stored; None for a run without points."""
        if not beside(path, "points").exists():
            return None
        rows = {row["sample_id"]: row for row in read_points(path)}
        stored = [rows.get(sample) for sample in subject.split.ids.tolist()]

        def moved(index: Tensor, clean: Tensor) -> Tensor:
            pairs = zip(index.tolist(), clean, strict=True)
            return torch.stack([x if (row := stored[i]) is None else decode(row, x) for i, x in pairs])

        n = len(subject.split)
        return self._look(subject, subject.split, moved, lambda done: watch(0.8 + 0.2 * done / n, "worst points"))

    def _look(self, subject: Subject, split: Split, moved: Callable[[Tensor, Tensor], Tensor] | None,
              watch: Callable[[int], None]) -> Look:  # fmt: skip
        model = subject.model
        with frozen(model), deterministic():
            torch.manual_seed(0)  # for models that draw from it
            return look(model, find_head(model, split.pixels(slice(0, 8))), split, largest_tile(self.device).rows, moved, watch)


def _require_same(info: dict[str, Any], ids: list[int], subject: Subject) -> None:
    """Raise UserError unless model and samples are those of the run."""
    title = f"run {info['run_id']}"
    if subject.hash != info["model_hash"] or subject.arch != info["model_arch"]:
        what = "weights, settings or code"
        if subject.arch != info["model_arch"]:
            what = f"architecture, then {info['model_arch']}, now {subject.arch}"
        raise ChangedError(
            f"{title}: model {subject.name} is not what was attacked (other {what}); attack it again, or name another --model"
        )
    if not same_answers(info["answers"], subject.answers, ("made",)):
        raise ChangedError(f"{title}: model {subject.name} answers otherwise than it did; attack it again")
    if subject.split.fingerprint() != info["data_hash"] or subject.split.ids.tolist() != ids:
        raise ChangedError(f"{title}: data '{info['data']}' ({info['split']}) are not what was attacked; attack the model again")


def _flip_share(info: dict[str, Any], clean: Look) -> Measure:
    """Share of samples that a perturbation inside the budget flips to first order."""
    norm = dual(info["norm"])
    found = _flips(info, clean)
    detail: dict[str, Any] = (
        {"eps": info["eps"], "gradient": norm}
        if found is not None
        else {"reason": "no budget, or one in l0, where it is no matter of a norm"}
    )
    return Measure("flip_share", "clean", info["split"], None if found is None else float(found.mean()), detail)


def _flips(info: dict[str, Any], clean: Look) -> NDArray[np.bool_] | None:
    if not math.isfinite(info["eps"]) or info["norm"] == "l0":
        return None
    margin, length = (clean.columns[name].astype(np.float64) for name in ("margin", f"margin_gradient_{dual(info['norm'])}"))
    return flips(torch.from_numpy(margin), torch.from_numpy(length), info["eps"]).numpy()


def _sample_rows(
    info: dict[str, Any], ids: list[int], clean: Look, worst: Look | None, distances: dict[str, list[Any]]
) -> list[dict[str, Any]]:
    """The rows of the table of samples."""
    columns = {"sample_id": ids, "label": clean.labels.tolist(), "sample_index": list(range(len(ids))), **distances}
    for points, seen in (("clean", clean), ("worst", worst)):
        if seen is not None:
            columns |= {f"{points}_{name}": seen.columns[name].tolist() for name in _SEEN if name in seen.columns}
    flipped = _flips(info, clean)
    if flipped is not None:
        columns["clean_flip"] = flipped.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
