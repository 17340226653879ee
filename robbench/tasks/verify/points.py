"""Ask the model once more about every clean input and every stored point of a run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.core.device import default_batch_size, deterministic
from robbench.core.freeze import frozen
from robbench.core.tiles import Model, Tiles
from robbench.data.base import Split
from robbench.engine.inspection import SAME
from robbench.engine.pool import clean_tiles, targets_of
from robbench.engine.shapes import shapes_of
from robbench.engine.verify import ask
from robbench.objectives import answered, margins_left
from robbench.tasks.attack.points import decode_raw
from robbench.threat.model import ThreatModel
from robbench.threat.problem import BOX, Problem, size_and_fits, succeeds

Row = Mapping[str, Any]
FROM_BOX = 1e-6
"""How far rounding of clean + difference may put a stored point out of the box."""
LARGER = 1e-4
"""How much larger, of itself, rounding may make the size that a row has of its point."""


class Evidence(NamedTuple):
    """What was seen of N samples, all [N] in the order of the split.

    An answer is `unsure` where it is not as the row says, but rounding or a model that answers at
    random may explain it.
    """

    correct: Tensor  # bool: classified correctly at the clean input
    correct_unsure: Tensor
    broken: Tensor  # bool: a success at the clean input, or at a stored point that fits
    stored: Tensor  # bool: has a stored point
    unsure: Tensor  # bool: its point fits, but the success is unsure
    bad: Tensor  # bool: its point is not what the row says
    size: Tensor  # float64: of the point that breaks it, inf where none does
    targets: Tensor | None  # int64: the classes to reach, by threat model and clean answers
    foreign: int = 0  # points of other runs or samples, or the second of a sample

    @property
    def holds(self) -> Tensor:
        """[N] bool: the stored point is all that its row says."""
        return self.stored & ~self.unsure & ~self.bad


class _Judged(NamedTuple):
    places: Tensor  # [B] positions of the samples
    hit: Tensor  # bool: a success that fits
    unsure: Tensor
    bad: Tensor
    size: Tensor


def look_again(
    model: torch.nn.Module,
    split: Split,
    threat: ThreatModel,
    rows: Sequence[Row],
    points: Iterable[Row],
    watch: Callable[[float, str], None],
) -> Evidence:
    """What the model says, in float32, at the inputs and at the stored points of a run.

    rows: of the samples table in the order of the split; points: of the points table. Raises
    UserError for points of other shapes than the data.
    """
    with frozen(model), deterministic():
        torch.manual_seed(0)  # for models that draw from it
        device = split.labels.device
        tiles = shapes_of([model], split, default_batch_size(device), gradients=False)[0]
        found = _clean(model, split, threat, rows, tiles)
        placed, n = _placed(points, split, rows), 0
        while batch := list(itertools.islice(placed, tiles.rows)):
            own = [(i, point) for i, point in batch if i is not None]
            found = found._replace(foreign=found.foreign + len(batch) - len(own))
            if own:
                found = _with(found, _judge(model, split, threat, rows, own, tiles, found.targets))
            n += len(own)
            watch(min(1.0, n / len(split)), "stored points")
    return found


def _clean(
    model: Model, split: Split, threat: ThreatModel, rows: Sequence[Row], tiles: Tiles
) -> Evidence:
    logits = torch.cat([z for z, _ in clean_tiles(split, model, tiles)])
    correct = ((logits.argmax(1) == split.labels) & answered(logits)).cpu()
    differs = correct != torch.tensor([row["clean_correct"] for row in rows])
    targets, aim = targets_of(split, threat, logits), split.labels
    reached = (
        ~correct
        if targets is None
        else (succeeds(logits.argmax(1), targets, targeted=True) & answered(logits)).cpu()
    )
    nothing = torch.zeros_like(correct)
    return Evidence(
        correct=correct,
        correct_unsure=_unsure(model, split.pixels, aim, logits, differs, tiles),
        broken=reached,
        stored=nothing,
        unsure=nothing,
        bad=nothing,
        size=torch.where(reached, 0.0, math.inf).double(),
        targets=targets,
    )


def _placed(
    points: Iterable[Row], split: Split, rows: Sequence[Row]
) -> Iterator[tuple[int | None, Row]]:
    """Each point with the position of its sample; None for one that is not the run's only one."""
    place = {sample: i for i, sample in enumerate(split.ids.tolist())}
    for point in points:
        i = place.pop(point["sample_id"], None)
        yield i if i is not None and point["run_id"] == rows[i]["run_id"] else None, point


def _with(found: Evidence, judged: _Judged) -> Evidence:
    """The evidence with some more points."""

    def put(column: Tensor, values: Tensor) -> Tensor:
        return column.index_put((judged.places,), values)

    at, closer = judged.places, torch.where(judged.hit, judged.size, math.inf)
    return found._replace(
        stored=put(found.stored, torch.ones_like(judged.hit)),
        unsure=put(found.unsure, judged.unsure),
        bad=put(found.bad, judged.bad),
        broken=put(found.broken, found.broken[at] | judged.hit),
        size=put(found.size, torch.minimum(found.size[at], closer)),
    )


def _judge(
    model: Model,
    split: Split,
    threat: ThreatModel,
    rows: Sequence[Row],
    batch: Sequence[tuple[int, Row]],
    tiles: Tiles,
    targets: Tensor | None,
) -> _Judged:
    places = torch.tensor([i for i, _ in batch])
    index = places.to(split.labels.device)
    clean = split.pixels(index)
    raw = torch.stack([decode_raw(point, x0) for (_, point), x0 in zip(batch, clean, strict=True)])
    x = raw.clamp(*BOX)
    p = Problem.of(
        clean,
        split.labels[index],
        threat.eps,
        threat.norm,
        free=None if split.free is None else split.free.expand_as(clean),
        target=None if targets is None else targets[index],
    )
    size, fits = (column.cpu() for column in size_and_fits(x, p))
    fits &= ((raw >= BOX[0] - FROM_BOX) & (raw <= BOX[1] + FROM_BOX)).flatten(1).all(1).cpu()
    logits, answers = ask(model, x, p.aim, tiles, targeted=p.targeted)
    success, claimed = answers.cpu(), torch.tensor([rows[i]["adversarial"] for i, _ in batch])
    differs = success != claimed
    near = _unsure(model, lambda i: x[i], p.aim, logits, differs, tiles, targeted=p.targeted)
    sizes = [rows[i][f"dist_{threat.norm.name}"] for i, _ in batch]
    said = torch.tensor([math.inf if length is None else length for length in sizes])
    flagged = torch.tensor([point["adversarial"] for _, point in batch])
    sound = fits & (size <= said * (1 + LARGER) + FROM_BOX) & (flagged == claimed)
    return _Judged(
        places=places,
        hit=fits & success,
        unsure=sound & near,
        bad=~sound | (differs & ~near),
        size=size.double(),
    )


def _unsure(
    model: Model,
    inputs: Callable[[Tensor], Tensor],
    aim: Tensor,
    logits: Tensor,
    differs: Tensor,
    tiles: Tiles,
    *,
    targeted: bool = False,
) -> Tensor:
    """[B] bool: of the answers that are not as the rows say, those that another time may give.

    inputs: the points at positions [n].
    """
    near = differs & _near(logits, aim, targeted=targeted).cpu()
    if (odd := (differs & ~near).nonzero().flatten()).numel():
        i = odd.to(aim.device)
        again, _ = ask(model, inputs(i), aim[i], tiles)
        before = logits[i].nan_to_num(posinf=0, neginf=0)
        apart = (again.nan_to_num(posinf=0, neginf=0) - before).norm(dim=1)
        near[odd] = (apart > SAME * before.norm(dim=1)).cpu()
    return near


def _near(logits: Tensor, aim: Tensor, *, targeted: bool) -> Tensor:
    """[B] bool: rounding may decide whether the answer is a success."""
    size = torch.where(logits.isfinite(), logits, 0.0).norm(dim=1)
    near: Tensor = margins_left(logits, aim, targeted).abs() <= SAME * size
    return near
