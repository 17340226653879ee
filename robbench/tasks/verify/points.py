"""Ask the model once more about every clean input and every stored point of a run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robbench.core.device import default_batch_size, deterministic
from robbench.core.freeze import frozen
from robbench.core.tiles import Model, Tiles
from robbench.data.base import Split
from robbench.engine.pool import clean_tiles, targets_of
from robbench.engine.shapes import shapes_of
from robbench.engine.verify import ask
from robbench.objectives import answered
from robbench.tasks.attack.points import SLACK, decode_raw, n_pixels, problem_at
from robbench.tasks.verify.answers import Answers, Question, Row, column, unmoved
from robbench.threat.model import ThreatModel
from robbench.threat.norms import NORMS
from robbench.threat.problem import BOX, size_and_fits, succeeds

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
    clean: Answers
    worst: Answers
    foreign: int = 0  # points of other runs, samples or data, or the second of a sample

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
    answers: Answers


def look_again(
    model: torch.nn.Module,
    split: Split,
    threat: ThreatModel,
    rows: Sequence[Row],
    points: Iterable[Row],
    watch: Callable[[float, str], None],
) -> Evidence:
    """What the model says, in float32, at the inputs and at the stored points of a run.

    rows: of the samples table in the order of the split; points: of the points table.
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
    targets = targets_of(split, threat, logits)
    reached = (
        ~correct
        if targets is None
        else (succeeds(logits.argmax(1), targets, targeted=True) & answered(logits)).cpu()
    )
    nothing = torch.zeros_like(correct)
    asked = Question(model, split.pixels, split.labels, logits, tiles)
    aimed = asked if targets is None else asked._replace(aim=targets, targeted=True)
    clean = aimed.beside(rows, "clean")
    return Evidence(
        correct=correct,
        correct_unsure=asked.unsure(differs),
        broken=reached,
        stored=nothing,
        unsure=nothing,
        bad=nothing,
        size=torch.where(reached, 0.0, math.inf).double(),
        targets=targets,
        clean=clean,
        worst=unmoved(clean, rows),
    )


def _placed(
    points: Iterable[Row], split: Split, rows: Sequence[Row]
) -> Iterator[tuple[int | None, Row]]:
    """Each point with the position of its sample; None for one that is not the run's only one.

    Nor is one of other data, which has another number of pixels.
    """
    place = {sample: i for i, sample in enumerate(split.ids.tolist())}
    pixels = split.pixels(slice(0, 1)).numel()
    for point in points:
        i = place.pop(point["sample_id"], None)
        own = i is not None and point["run_id"] == rows[i]["run_id"] and n_pixels(point) == pixels
        yield i if own else None, point


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
        worst=found.worst.put(at, judged.answers),
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
    places, own = torch.tensor([i for i, _ in batch]), [rows[i] for i, _ in batch]
    index = places.to(split.labels.device)
    clean = split.pixels(index)
    raw = torch.stack([decode_raw(point, x0) for (_, point), x0 in zip(batch, clean, strict=True)])
    x = raw.clamp(*BOX)
    p = problem_at(clean, index, split, threat, None if targets is None else targets[index])
    size, fits = (column.cpu() for column in size_and_fits(x, p))
    fits &= ((raw >= BOX[0] - FROM_BOX) & (raw <= BOX[1] + FROM_BOX)).flatten(1).all(1).cpu()
    logits, answers = ask(model, x, p.aim, tiles, targeted=p.targeted)
    success, claimed = answers.cpu(), torch.tensor([row["adversarial"] for row in own])
    differs = success != claimed
    asked = Question(model, lambda i: x[i], p.aim, logits, tiles, p.targeted)
    near = asked.unsure(differs)
    short = torch.tensor([SLACK * (point["encoding"] == "f2") for _, point in batch])
    moved = column(own, "clean_margin").abs() + column(own, "adv_margin").abs()
    flagged = torch.tensor([point["adversarial"] for _, point in batch])
    sound = fits & _no_larger(x - clean, own) & (flagged == claimed)
    return _Judged(
        places=places,
        hit=fits & success,
        unsure=sound & near,
        bad=~sound | (differs & ~near),
        size=size.double(),
        answers=asked.beside(own, "adv", short * moved.nan_to_num(posinf=0)),
    )


def _no_larger(delta: Tensor, rows: Sequence[Row]) -> Tensor:
    """[B] bool: whether differences [B,*] are no larger than their rows say, in every norm."""
    holds = torch.ones(len(rows), dtype=torch.bool)
    for name, norm in NORMS.items():
        said = column(rows, f"dist_{name}").nan_to_num(nan=math.inf)
        holds &= norm.size(delta).cpu() <= said * (1 + LARGER) + FROM_BOX
    return holds
