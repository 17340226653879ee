"""What the model answers here, beside the predictions and margins that the rows of a run have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.core.tiles import Model, Tiles
from robbench.engine.inspection import SAME
from robbench.engine.verify import ask
from robbench.objectives import margins_left

Row = Mapping[str, Any]


class Answers(NamedTuple):
    """Of N samples, all [N], at their clean inputs or at their worst points."""

    margin: Tensor  # float64: logit margin, what is left until success
    known: Tensor  # bool: asked here, or the row claims no margin
    off: Tensor  # bool: the class or the margin is not what the row says
    unsure: Tensor  # bool: as above, but of a model that answers at random

    def put(self, places: Tensor, other: Answers) -> Answers:
        """With those of the samples at some places replaced."""
        pairs = zip(self, other, strict=True)
        return Answers(*(mine.index_put((places,), theirs) for mine, theirs in pairs))


class Question(NamedTuple):
    """B inputs that the model was asked about, and its logits [B,K]."""

    model: Model
    inputs: Callable[[Tensor], Tensor]  # the inputs at positions [n]
    aim: Tensor  # [B] int64: as of a Problem
    logits: Tensor
    tiles: Tiles
    targeted: bool = False

    @property
    def size(self) -> Tensor:
        """[B] the length of the logits."""
        length: Tensor = torch.where(self.logits.isfinite(), self.logits, 0.0).norm(dim=1)
        return length

    def unsure(self, differs: Tensor) -> Tensor:
        """[B] bool: of the successes that are not as the rows say, those that may be otherwise.

        Rounding may decide the margin, or the model answers at random.
        """
        left = margins_left(self.logits, self.aim, self.targeted)
        near = differs & (left.abs() <= SAME * self.size).cpu()
        return near | self.at_random(differs & ~near)

    def at_random(self, odd: Tensor) -> Tensor:
        """[B] bool: of the odd ones, those whose answer is another when it is asked again."""
        found = torch.zeros_like(odd)
        if odd.any():
            i = odd.nonzero().flatten().to(self.aim.device)
            again, _ = ask(self.model, self.inputs(i), self.aim[i], self.tiles)
            before = self.logits[i].nan_to_num(posinf=0, neginf=0)
            apart = (again.nan_to_num(posinf=0, neginf=0) - before).norm(dim=1)
            found[odd] = (apart > SAME * before.norm(dim=1)).cpu()
        return found

    def beside(self, rows: Sequence[Row], which: str, slack: Tensor | float = 0.0) -> Answers:
        """The answers beside `{which}_pred` and `{which}_margin` of the rows.

        slack: what a margin may be off beyond rounding, [B] or one for all.
        """
        logits, near = self.logits.cpu(), SAME * self.size.cpu()
        pred = torch.tensor([row[f"{which}_pred"] for row in rows])
        margin = margins_left(self.logits, self.aim, self.targeted).double().cpu()
        said = column(rows, f"{which}_margin")
        claimed = torch.tensor([row[f"{which}_margin"] is not None for row in rows])
        real = (pred >= 0) & (pred < logits.shape[1])
        below = logits.amax(1) - logits.gather(1, pred.where(real, 0)[:, None])[:, 0]
        same_class = real & ((pred == logits.argmax(1)) | (below <= near))
        off = ~same_class | (claimed & ~as_said(margin, said, near + slack))
        unsure = self.at_random(off)
        return Answers(margin, torch.ones_like(off), off & ~unsure, unsure)


def column(rows: Sequence[Row], name: str) -> Tensor:
    """[B] float64, NaN for null."""
    values = [math.nan if row[name] is None else row[name] for row in rows]
    return torch.tensor(values, dtype=torch.float64)


def unmoved(clean: Answers, rows: Sequence[Row]) -> Answers:
    """Of the worst points before any of them is asked: known are the clean inputs among them."""
    same = as_said(column(rows, "adv_margin"), column(rows, "clean_margin"), 0.0)
    same &= torch.tensor([row["adv_pred"] == row["clean_pred"] for row in rows])
    none = torch.tensor([row["adv_margin"] is None for row in rows])
    return Answers(clean.margin, same | none, clean.off & same, clean.unsure & same)


def as_said(found: Tensor, said: Tensor, near: Tensor | float) -> Tensor:
    """[B] bool: whether two numbers are the same, or both are none."""
    apart = (found - said).abs()
    return (apart <= near) | (found == said) | (found.isnan() & said.isnan())
