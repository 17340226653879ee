"""Worst points of a run: stored compactly, read back exactly, replayed by later runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robbench.core.errors import UserError
from robbench.core.tiles import Model, Tiles
from robbench.data.base import Split
from robbench.engine.records import JudgedRow, Verdict
from robbench.engine.verify import verify
from robbench.store.run import read_points
from robbench.threat.model import ThreatModel
from robbench.threat.problem import BOX, Problem
from robbench.threat.tolerance import fits

SLACK = 0.01
"""How far the margin at a point in float16 may be from that at the point: a share of |clean margin|
+ |worst margin|, of which the storing takes half and leaves half to another machine.
"""
DTYPES: dict[str, np.dtype[Any]] = {"f2": np.dtype("<f2"), "f4": np.dtype("<f4")}


def decode(row: Mapping[str, Any], clean: Tensor) -> Tensor:
    """The stored point of a clean input [*], in the box.

    Raises UserError when it is of another shape.
    """
    return decode_raw(row, clean).clamp(*BOX)


def n_pixels(row: Mapping[str, Any]) -> float:
    """How many pixels a stored point has; no whole number of one that was cut."""
    return float(len(row["delta"]) / DTYPES[row["encoding"]].itemsize)


def decode_raw(row: Mapping[str, Any], clean: Tensor) -> Tensor:
    """As `decode`, but just as it is stored: rounding may put it a little outside of the box."""
    dtype = DTYPES[row["encoding"]]
    if (size := n_pixels(row)) != clean.numel():
        raise UserError(
            f"run {row['run_id']} holds points of {size:.12g} pixels, the data have "
            f"{clean.numel()}: replay a run on this data"
        )
    delta = np.frombuffer(row["delta"], dtype).astype(np.float32)
    return clean + torch.from_numpy(delta).reshape(clean.shape).to(clean.device)


def encode(
    points: Sequence[Tensor],
    verdicts: Sequence[Verdict],
    split: Split,
    threat: ThreatModel,
    model: Model,
    tiles: Tiles,
) -> list[dict[str, Any]]:
    """Rows of the points table, for the worst points of verdicts.

    A point goes in float16 if the model judges it there as its verdict says: the success, the
    class, and the margin within SLACK / 2. Else it goes in float32.
    """
    if not points:
        return []
    index = torch.tensor([v.sample for v in verdicts], device=split.labels.device)
    targets = torch.tensor([v.target for v in verdicts], device=split.labels.device)
    clean = split.pixels(index)
    rows = []
    ids = split.ids[index].tolist()
    small = [
        _row(i, x, x0, "f2", v.adversarial)
        for i, x, x0, v in zip(ids, points, clean, verdicts, strict=True)
    ]
    back = torch.stack([decode(row, x0) for row, x0 in zip(small, clean, strict=True)])
    p = problem_at(clean, index, split, threat, None if threat.target is None else targets)
    judged = verify(model, back, p, tiles).rows()
    for row, x, x0, j, v in zip(small, points, clean, judged, verdicts, strict=True):
        kept = row if _as_said(j, v) else _row(row["sample_id"], x, x0, "f4", v.adversarial)
        rows.append(kept)
    return rows


def problem_at(
    clean: Tensor, index: Tensor, split: Split, threat: ThreatModel, targets: Tensor | None
) -> Problem:
    """The problem of clean inputs [B,*] at index [B] of a split; targets [B]: that alone count."""
    return Problem.of(
        clean,
        split.labels[index],
        threat.eps,
        threat.norm,
        free=None if split.free is None else split.free.expand_as(clean),
        target=targets,
    )


def _as_said(j: JudgedRow, v: Verdict) -> bool:
    slack = SLACK / 2 * (abs(v.clean_margin) + abs(v.adv_margin))
    close = math.isclose(j.margin, v.adv_margin, rel_tol=0, abs_tol=slack)
    return j.fits and j.adversarial == v.adversarial and j.pred == v.adv_pred and close


def _row(sample_id: int, x: Tensor, x0: Tensor, encoding: str, adversarial: bool) -> dict[str, Any]:
    exact = (x - x0).detach().cpu().numpy()
    delta = exact.astype(DTYPES[encoding])
    # Rounded towards the clean input: no larger than it was.
    delta = np.where(
        np.abs(delta) > np.abs(exact), np.nextafter(delta, 0, dtype=delta.dtype), delta
    )
    return {
        "sample_id": sample_id,
        "adversarial": adversarial,
        "encoding": encoding,
        "delta": delta.tobytes(),
    }


def points_to_replay(paths: Sequence[Any], split: Split, threat: ThreatModel) -> dict[int, Tensor]:
    """One point for each sample of a split that the runs at `paths` have one for.

    Of several the best: inside the budget before outside, adversarial then before not, near before
    far.
    """
    place = {sample_id: i for i, sample_id in enumerate(split.ids.tolist())}
    best: dict[int, tuple[tuple[bool, bool, float], Tensor]] = {}
    for row in (row for path in paths for row in read_points(path) if row["sample_id"] in place):
        i = place[row["sample_id"]]
        clean = split.pixels(slice(i, i + 1))
        x = decode(row, clean[0])
        size = float(threat.norm.size(x[None] - clean))
        rank = (not fits(size, threat.eps), not row["adversarial"], size)
        if i not in best or rank < best[i][0]:
            best[i] = (rank, x)
    return {i: x for i, (_, x) in best.items()}
