"""The verdict: the model as it was given looks at every returned point again, in float32."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robbench.core.tiles import Model, Tiles
from robbench.engine.oracle import forward_tiles
from robbench.engine.records import JudgedRow
from robbench.objectives import answered, best_other, log_softmax, margins_left
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem, size_and_fits, succeeds


class Judged(NamedTuple):
    """What the model says at points, and how far they are from the clean inputs. All [B]."""

    pred: Tensor
    margin: Tensor  # what is left until success, see `margins_left`
    pmargin: Tensor  # the margin on softmax probabilities
    adversarial: Tensor  # bool: a success (of most draws), finite, inside box and budget
    linf: Tensor
    l2: Tensor
    l1: Tensor
    l0: Tensor
    l0px: Tensor
    size: Tensor  # in the threat's norm
    fits: Tensor  # bool: inside box and budget

    def rows(self) -> list[JudgedRow]:
        """Row by row, as plain values."""
        return [JudgedRow(*row) for row in zip(*(column.tolist() for column in self), strict=True)]


def judge_logits(
    logits: Tensor, aim: Tensor, targeted: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """[B] predictions, logit margins and probability margins; both as of `margins_left`."""
    log_p = log_softmax(logits)
    p_aim = log_p.gather(1, aim[:, None])[:, 0].exp()
    pmargin = p_aim - best_other(log_p, aim).exp()
    return logits.argmax(1), margins_left(logits, aim, targeted), -pmargin if targeted else pmargin


def ask(
    model: Model, x: Tensor, aim: Tensor, tiles: Tiles, draws: int = 1, targeted: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean logits [B,K] of `draws` forwards each, and whether most of them are a success [B]."""
    drawn = [forward_tiles(model, x, tiles) for _ in range(draws)]
    votes = torch.stack([succeeds(logits.argmax(1), aim, targeted) for logits in drawn]).sum(0)
    logits = drawn[0] if draws == 1 else torch.stack(drawn).mean(0)
    return logits, (2 * votes > draws) & answered(logits)


def verify(model: Model, x: Tensor, p: Problem, tiles: Tiles, draws: int = 1) -> Judged:
    """Judge points x [B,*] for the problems p; `draws` forwards each."""
    logits, success = ask(model, x, p.aim, tiles, draws, p.targeted)
    size, fits = size_and_fits(x, p)
    pred, margin, pmargin = judge_logits(logits, p.aim, p.targeted)
    return Judged(
        pred=pred,
        margin=margin,
        pmargin=pmargin,
        adversarial=success & fits,
        **{name: norm.size(x - p.x0) for name, norm in NORMS.items()},
        size=size,
        fits=fits,
    )
