"""Clean inputs and worst points of runs as pictures, as many as fit. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robbench.analysis.series import numbers
from robbench.core.corruptions import size_norm
from robbench.core.errors import RobbenchError, UserError
from robbench.data.base import reason
from robbench.reports.html.page import in_words
from robbench.reports.html.sections.gallery import png, signed
from robbench.reports.html.view import Pictures, Seen
from robbench.store.locations import sibling_table
from robbench.store.run import Run, read_points
from robbench.tasks.attack.points import decode
from robbench.tasks.attacked_images import open_attacked

MOST_FEATURES = 32
_PART = 200  # samples that are decoded at a time

_SMALLEST = 100  # characters of a picture

Image = NDArray[np.float32]
Points = dict[str, dict[int, dict[str, Any]]]


def pictures_of(
    runs: Sequence[tuple[Path, Run]],
    samples: Sequence[int],
    data_dir: Path | None,
    room: int,
) -> tuple[Pictures, list[str]]:
    """Pictures of samples, and what there is none of and why, a line each.

    runs: pairs of a runs file and its run; those with points give worst points. Samples that a run
    with points broke come first, the nearest in front, then the others, until `room` characters
    are full. An image counts as found only if its content has the id of the sample.
    """
    found, notes = Pictures(), list[str]()
    wanted = _in_order(runs, samples)
    try:
        clean = _Clean(runs, data_dir)
        part = clean.find(wanted[:_PART])
        size = _require_shown(part)
        # More than these never fit, so only their points are kept.
        few = wanted[: max(1, room // max(_SMALLEST, size // 4))]
        points, left, known = _points(runs, set(few)), room, False
        for start in range(0, len(few), _PART):
            part = clean.find(few[start : start + _PART])
            known = known or bool(part)
            if (left := _add(found, part, points, left)) <= 0:
                break
        if not found.clean and not found.features:
            if known:
                raise UserError(
                    "those of one sample are more than fit on the page: view fewer runs"
                )
            raise UserError(
                f"the data '{runs[0][1].info['data']}' found here are not the ones that were "
                "attacked"
            )
    except Exception as error:  # data that are gone or broken must not cost the numbers
        why = str(error) if isinstance(error, RobbenchError) else reason(error)
        notes.append(f"No pictures: {why}.")
        return found, notes
    n = len(found.clean) + len(found.features)
    if n < len(wanted):
        notes.append(
            f"{n} of {len(wanted)} samples have pictures: those broken at the smallest distances "
            "first, as many as fit on the page; equal images count once."
        )
    if without := dict.fromkeys(_title(run) for path, run in runs if not _has_points(path)):
        some = in_words([*without])
        notes.append(f"No worst points of {some}: attack with --store-points to see them.")
    return found, notes


def _require_shown(part: Mapping[int, Image]) -> int:
    """The number of entries of a sample. Raises UserError where there is no way to show them."""
    if not part:
        return 0
    shape = next(iter(part.values())).shape
    if len(shape) == 1 and shape[0] > MOST_FEATURES:
        raise UserError(f"samples have {shape[0]} features, more than {MOST_FEATURES}")
    if len(shape) != 1 and not (len(shape) == 3 and shape[0] in (1, 3)):
        raise UserError(f"samples of shape {tuple(shape)} are not pictures")
    return math.prod(shape)


def _points(runs: Sequence[tuple[Path, Run]], samples: set[int]) -> Points:
    """The stored points of samples, by run id and sample id."""
    return {
        run.info["run_id"]: {
            row["sample_id"]: row for row in read_points(path) if row["sample_id"] in samples
        }
        for path, run in runs
        if _has_points(path)
    }


def _add(found: Pictures, part: Mapping[int, Image], points: Points, left: int) -> int:
    """Add samples of `part` with their worst points while there is room; how much is left."""
    for sample, image in part.items():
        worst = {
            run_id: decode(rows[sample], torch.from_numpy(image)).numpy()
            for run_id, rows in points.items()
            if sample in rows
        }
        if image.ndim == 1:
            found.features[sample] = image.tolist()
            for run_id, moved in worst.items():
                found.moved.setdefault(run_id, {})[sample] = moved.tolist()
            left -= 12 * len(image) * (1 + len(worst))
        else:
            clean = _file(image)
            seen = {run_id: _seen(image, moved) for run_id, moved in worst.items()}
            left -= len(clean) + sum(len(one.worst) + len(one.difference) for one in seen.values())
            if left < 0:
                return left
            found.clean[sample] = clean
            for run_id, one in seen.items():
                found.worst.setdefault(run_id, {})[sample] = one
    return left


class _Clean:
    """Finds the images of samples in the data of any run, each data opened once."""

    def __init__(self, runs: Sequence[tuple[Path, Run]], data_dir: Path | None) -> None:
        by_data: dict[tuple[Any, ...], tuple[Path, Run]] = {}
        for path, run in runs:
            by_data.setdefault((run.info["subset"], run.info["target"]), (path, run))
        self._sources = [
            (
                open_attacked(path, run.info, data_dir),
                dict(
                    zip(
                        run.samples["sample_id"].to_pylist(),
                        run.samples["sample_index"].to_pylist(),
                        strict=True,
                    )
                ),
            )
            for path, run in by_data.values()
        ]

    def find(self, samples: Sequence[int]) -> dict[int, Image]:
        """Images in [0,1] by sample id, in this order."""
        found: dict[int, Image] = {}
        for attacked, index in self._sources:
            missing = {one: index[one] for one in samples if one in index and one not in found}
            found |= attacked.find(missing)
        return {one: found[one] for one in samples if one in found}


def _in_order(runs: Sequence[tuple[Path, Run]], samples: Sequence[int]) -> list[int]:
    """The samples, those newly broken in a run with points first, smallest distance in front."""
    nearest = dict.fromkeys(samples, math.inf)
    for path, run in runs:
        if not _has_points(path):
            continue
        size = numbers(run, f"dist_{size_norm(run.info['norm'])}")
        new = (numbers(run, "adversarial") > 0) & (numbers(run, "clean_correct") > 0)
        for sample, distance, hit in zip(
            run.samples["sample_id"].to_pylist(), size.tolist(), new.tolist(), strict=True
        ):
            if hit and sample in nearest and distance < nearest[sample]:
                nearest[sample] = distance
    return sorted(samples, key=nearest.__getitem__)


def _title(run: Run) -> str:
    return f"{run.info['model']}, {run.info['threat']}"


def _has_points(path: Path) -> bool:
    return sibling_table(path, "points").is_file()


def _seen(clean: Image, worst: Image) -> Seen:
    difference = worst - clean
    largest = float(np.abs(difference).max()) or 1.0
    return Seen(_file(worst), _file(signed(difference)), largest)


def _file(image: NDArray[np.floating[Any]]) -> str:
    """PNG at its own size, in base64."""
    return png(image, largest=None).partition(",")[2]
