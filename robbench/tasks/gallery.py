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
from robbench.core.trust import names_from
from robbench.data.base import Split, Table, reason, sample_ids
from robbench.data.data_folder import data_folder
from robbench.data.load import find_source
from robbench.data.subset import Selection, limit_subset, select, split_subsets
from robbench.data.targets import aim
from robbench.reports.html.data import Example
from robbench.store.run import Run, read_points
from robbench.tasks.attack.points import decode

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
    base, subsets = split_subsets(info["data"])
    folder = data_folder(data_dir)
    with names_from(path):
        source = find_source(base, folder)
    table = source.open(info["split"], folder, False)
    chosen = select(
        [*subsets, *([limit_subset(info["subset"])] if info["subset"] else [])],
        table.labels,
        table.classes,
    )
    attacked = _attacked(table, chosen, info["target"])
    index = numbers(run, "sample_index").astype(np.int64)[position]
    here = index < len(attacked)
    position, index = position[here], attacked[index[here]]
    # Only these few images are decoded. Of equal images only the first has the id of its content
    # alone: others are passed over.
    images, labels = table.decode(chosen.rows[index]), chosen.labels[index]
    same = np.array(
        [sample_ids(images[i : i + 1], labels[i : i + 1])[0] for i in range(len(images))], np.int64
    )
    wanted = run.samples["sample_id"].take(position).to_pylist()
    few = set(wanted)
    points = {row["sample_id"]: row for row in read_points(path) if row["sample_id"] in few}
    found: list[Example] = []
    for i, sample in enumerate(wanted):
        if same[i] != sample or sample not in points or len(found) == SHOWN:
            continue
        if images[i].ndim != 3 or len(images[i]) not in (1, 3):
            raise UserError(f"samples of shape {images[i].shape} are not pictures")
        pixels = images[i].astype(np.float32)
        clean = torch.from_numpy(pixels / table.scale if images.dtype == np.uint8 else pixels)
        row = run.samples.slice(int(position[i]), 1).to_pylist()[0]
        found.append(
            Example(
                run_id=info["run_id"],
                sample_id=sample,
                label=chosen.classes[row["label"]],
                clean_prediction=_class(chosen.classes, row["clean_pred"]),
                worst_prediction=_class(chosen.classes, row["adv_pred"]),
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


def _attacked(table: Table, chosen: Selection, target: str | None) -> NDArray[np.int64]:
    """Which of the chosen rows a run attacked: those that are not of their target class."""
    places = np.arange(len(chosen.rows))
    if target is None:
        return places
    rows = Split(
        images=torch.from_numpy(places)[:, None],  # only their places matter here
        labels=torch.from_numpy(np.ascontiguousarray(chosen.labels)),
        ids=torch.from_numpy(places),
        classes=chosen.classes,
        name="",
        split="",
        whole=table.classes,
        columns=table.by_id(chosen.rows, places),
    )
    kept: NDArray[np.int64] = aim(rows, target, seed=0).split.ids.numpy()
    return kept
