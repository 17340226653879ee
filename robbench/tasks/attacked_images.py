"""The images that a run attacked, opened again and known by their ids. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from robbench.core.trust import names_from
from robbench.data.base import Split, Table, sample_ids
from robbench.data.data_folder import data_folder
from robbench.data.load import find_source
from robbench.data.subset import Selection, limit_subset, select, split_subsets
from robbench.data.targets import aim


class AttackedImages(NamedTuple):
    """The data of a run. `places`: of the samples it attacked, among the chosen rows."""

    table: Table
    chosen: Selection
    places: NDArray[np.int64]

    def find(self, index: Mapping[int, int]) -> dict[int, NDArray[np.float32]]:
        """Images [*] in [0,1] by sample id. `index`: the sample_index of each id.

        An image counts as found only if its content has the id. Of equal images only the first has
        the id of its content alone: others are passed over.
        """
        here = {one: place for one, place in index.items() if place < len(self.places)}
        if not here:
            return {}
        at = self.places[np.fromiter(here.values(), np.int64, len(here))]
        images, labels = self.table.decode(self.chosen.rows[at]), self.chosen.labels[at]
        found = {}
        for i, one in enumerate(here):
            if sample_ids(images[i : i + 1], labels[i : i + 1])[0] == one:
                pixels = images[i].astype(np.float32)
                found[one] = pixels / self.table.scale if images.dtype == np.uint8 else pixels
        return found


def open_attacked(path: Path, info: Mapping[str, Any], data_dir: Path | None) -> AttackedImages:
    """The data of the run whose runs file is at `path` and whose row is `info`.

    Raises RobbenchError when they are not there, and what a plug-in raises.
    """
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
    return AttackedImages(table, chosen, _attacked(table, chosen, info["target"]))


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
