"""What the measures of a run rest on: that model and data are the same, and its rows by sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robbench.core.corruptions import is_corruption
from robbench.core.errors import UserError
from robbench.core.norms import COUNTS
from robbench.data.base import Split, class_difference
from robbench.metrics.gradients import dual, flips
from robbench.metrics.observe import Observations
from robbench.store.answers import same_answers
from robbench.store.measured import Measure
from robbench.tasks.subject import Subject

_SEEN = (
    "feature_margin",
    "margin_gradient_l1",
    "margin_gradient_l2",
    "margin_gradient_linf",
    "cross_entropy_gradient_l1",
    "cross_entropy_gradient_l2",
    "cross_entropy_gradient_linf",
    "local_linearity",
    "n_features_90",
    "n_features_90_predicted",
    "confidence",
    "logit_norm",
)
"""Observations in the table of samples, there with `clean_` or `worst_` in front."""


def plain_rows(info: Mapping[str, Any], measures: Sequence[Measure]) -> list[dict[str, object]]:
    """The measures of a run (its row of the runs table), under the names of their table."""
    return [
        {
            "run_id": info["run_id"],
            "model": info["model"],
            "name": m.name,
            "points": m.points,
            "split": m.split,
            "class": m.label,
            "value": m.value,
            "detail": m.detail,
        }
        for m in measures
    ]


class ChangedError(UserError):
    """Model or data are no longer those of the run."""


def require_same(info: dict[str, Any], ids: list[int], subject: Subject) -> None:
    """Raise UserError unless model and samples are those of the run."""
    title = f"run {info['run_id']}"
    if subject.hash != info["model_hash"] or subject.arch != info["model_arch"]:
        what = "weights, settings or code"
        if subject.arch != info["model_arch"]:
            what = f"architecture, then {info['model_arch']}, now {subject.arch}"
        raise ChangedError(
            f"{title}: model {subject.name} is not what was attacked (other {what}); attack it "
            "again, or name another --model"
        )
    if not same_answers(info["answers"], subject.answers, ("made",)):
        raise ChangedError(
            f"{title}: model {subject.name} answers otherwise than it did; attack it again"
        )
    if subject.split.fingerprint() != info["data_hash"] or subject.split.ids.tolist() != ids:
        raise ChangedError(
            f"{title}: data '{info['data']}' ({info['split']}) are not what was attacked; attack "
            "the model again"
        )


def require_alike(train: Split, split: Split, data: str) -> None:
    """Raise UserError unless both splits of a data set have the same classes and shapes."""
    if train.classes != split.classes:
        names = ("the train split", f"the {split.split} split")
        apart = class_difference(train.classes, split.classes, names)
        raise UserError(f"the splits of {data} have other classes: {apart}")
    if train.images.shape[1:] != split.images.shape[1:]:
        shapes = f"{list(train.images.shape[1:])} and {list(split.images.shape[1:])}"
        raise UserError(
            f"the train and {split.split} splits of {data} have images of other shapes: {shapes}"
        )


def missing_worst(clean: Sequence[Measure], split: str) -> list[Measure]:
    """The measures of worst points of a run that kept none: null, with the reason."""
    missing = {"reason": "the run kept no points: attack with --store-points"}
    names = [
        m.name
        for m in clean
        if m.split == split
        and m.label is None
        and not m.name.startswith("svm_")
        and m.name != "flip_share"
    ]
    return [Measure(name, "worst", split, None, missing) for name in (*names, "local_linearity")]


def flip_share(info: dict[str, Any], clean: Observations) -> Measure:
    """Share of samples that a perturbation inside the budget flips to first order."""
    norm = dual(info["norm"])
    found = _flips(info, clean)
    detail: dict[str, Any] = (
        {"eps": info["eps"], "gradient": norm}
        if found is not None
        else {"reason": "no gradients, no budget, or none with a dual norm: l0, l0px, corruption"}
    )
    return Measure(
        "flip_share", "clean", info["split"], None if found is None else float(found.mean()), detail
    )


def _flips(info: dict[str, Any], clean: Observations) -> NDArray[np.bool_] | None:
    no_dual = info["norm"] in COUNTS or is_corruption(info["norm"])
    if no_dual or not math.isfinite(info["eps"]):
        return None
    margin, length = (
        clean.columns[name].astype(np.float64)
        for name in ("margin", f"margin_gradient_{dual(info['norm'])}")
    )
    if np.isnan(length).all():  # the model shows no gradients
        return None
    return flips(torch.from_numpy(margin), torch.from_numpy(length), info["eps"]).numpy()


def sample_rows(
    info: dict[str, Any],
    ids: list[int],
    clean: Observations,
    worst: Observations | None,
    distances: dict[str, list[Any]],
) -> list[dict[str, Any]]:
    """The rows of the table of samples."""
    columns = {
        "sample_id": ids,
        "label": clean.labels.tolist(),
        "sample_index": list(range(len(ids))),
        **distances,
    }
    for points, seen in (("clean", clean), ("worst", worst)):
        if seen is not None:
            columns |= {
                f"{points}_{name}": seen.columns[name].tolist()
                for name in _SEEN
                if name in seen.columns
            }
    flipped = _flips(info, clean)
    if flipped is not None:
        columns["clean_flip"] = flipped.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
