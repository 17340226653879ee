"""The smallest perturbations that runs found, put back on their images.

The only part of a report that needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from robbench.analysis.figure_data import sizes
from robbench.analysis.series import numbers
from robbench.core.corruptions import size_norm
from robbench.core.errors import RobbenchError, UserError
from robbench.data.base import reason
from robbench.reports.html.data import Example
from robbench.store.run import Run, read_points
from robbench.tasks.attack.points import decode
from robbench.tasks.attacked_images import open_attacked

SHOWN = 6
_TRIED = 4  # times as many, as some may not be found again


def examples(
    runs: Sequence[tuple[Path, Run]], data_dir: Path | None
) -> tuple[list[Example], list[str]]:
    """The smallest perturbations of each model, and why others have none, a line each.

    `runs` are pairs of a runs file and its run, with points. Of each model, weights and norm six
    samples: its run that found the smallest median one shows them. An image counts as found only if
    its content has the id that the run recorded.
    """
    best: dict[tuple[str, ...], tuple[float, Path, Run]] = {}
    for path, run in runs:
        nearest = _nearest(run)[:SHOWN]
        if len(nearest):
            key = (
                run.info["model"],
                run.info["model_hash"],
                run.info["data"],
                run.info["split"],
                run.info["norm"],
            )
            found = float(np.median(sizes(run)[nearest])), path, run
            best[key] = min(best.get(key, found), found, key=lambda one: one[0])
    shown, reasons = [], []
    for _, path, run in best.values():
        try:
            shown += _examples(path, run, data_dir)
        except Exception as error:  # a data set that is gone or broken must not cost the numbers
            why = str(error) if isinstance(error, RobbenchError) else reason(error)
            reasons.append(f"No pictures of {run.info['model']}, {run.info['threat']}: {why}")
    return shown, list(dict.fromkeys(reasons))


def _nearest(run: Run) -> NDArray[np.int64]:
    """Positions of the samples newly broken, smallest perturbation first."""
    size = np.where(numbers(run, "clean_correct") > 0, sizes(run), np.inf)
    order = np.argsort(size, kind="stable")
    return order[np.isfinite(size[order])]


def _class(classes: Sequence[str], predicted: int) -> str:
    """The name of a prediction, which may be none of the data's classes."""
    return classes[predicted] if predicted < len(classes) else "(outside)"


def _examples(path: Path, run: Run, data_dir: Path | None) -> list[Example]:
    """Raises RobbenchError when the data are not there, not images, or not those attacked.

    And what a plug-in raises.
    """
    info, position = run.info, _nearest(run)[: SHOWN * _TRIED]
    attacked = open_attacked(path, info, data_dir)
    rows = {row["sample_id"]: row for row in run.samples.take(position).to_pylist()}
    # Only these few images are decoded.
    images = attacked.find({one: row["sample_index"] for one, row in rows.items()})
    points = {row["sample_id"]: row for row in read_points(path) if row["sample_id"] in images}
    classes = attacked.chosen.classes
    found: list[Example] = []
    for sample in [one for one in images if one in points][:SHOWN]:
        if images[sample].ndim != 3 or len(images[sample]) not in (1, 3):
            raise UserError(f"samples of shape {images[sample].shape} are not pictures")
        clean, row = torch.from_numpy(images[sample]), rows[sample]
        found.append(
            Example(
                run_id=info["run_id"],
                sample_id=sample,
                label=classes[row["label"]],
                clean_prediction=_class(classes, row["clean_pred"]),
                worst_prediction=_class(classes, row["adv_pred"]),
                norm=info["norm"],
                size=float(row[f"dist_{size_norm(info['norm'])}"]),
                found_by=row["broken_by"] or info["attack"],
                clean=clean.numpy(),
                worst=decode(points[sample], clean).numpy(),
            )
        )
    if not found:
        raise UserError(f"the data '{info['data']}' found here are not the ones that were attacked")
    return found
