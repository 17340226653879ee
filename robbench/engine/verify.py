"""The verdict: the model as it was given looks at every returned point again, in float32."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robbench.core.tiles import Model, Tiles
from robbench.engine.oracle import forward_tiles
from robbench.engine.records import JudgedRow
from robbench.objectives import answered, best_other, log_softmax, margins
from robbench.threat.problem import Problem, size_and_fits


class Judged(NamedTuple):
    """What the model says at points, and how far they are from the clean inputs. All [B]."""

    pred: Tensor
    margin: Tensor
    pmargin: Tensor  # the margin on softmax probabilities
    adversarial: Tensor  # bool: misclassified (by most draws), finite, inside box and budget
    linf: Tensor
    l2: Tensor
    l1: Tensor
    l0: Tensor
    size: Tensor  # in the threat's norm
    fits: Tensor  # bool: inside box and budget

    def rows(self) -> list[JudgedRow]:
        """Row by row, as plain values."""
        return [JudgedRow(*row) for row in zip(*(column.tolist() for column in self), strict=True)]


def judge_logits(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B] predictions, logit margins and probability margins."""
    log_p = log_softmax(logits)
    p_true = log_p.gather(1, y[:, None])[:, 0].exp()
    return logits.argmax(1), margins(logits, y), p_true - best_other(log_p, y).exp()


def ask(model: Model, x: Tensor, y: Tensor, tiles: Tiles, draws: int = 1) -> tuple[Tensor, Tensor]:
    """Mean logits [B,K] of `draws` forwards each, and whether most of them are wrong [B]."""
    drawn = [forward_tiles(model, x, tiles) for _ in range(draws)]
    votes = torch.stack([logits.argmax(1) != y for logits in drawn]).sum(0)
    logits = drawn[0] if draws == 1 else torch.stack(drawn).mean(0)
    return logits, (2 * votes > draws) & answered(logits)


def verify(model: Model, x: Tensor, p: Problem, tiles: Tiles, draws: int = 1) -> Judged:
    """Judge points x [B,*] for the problems p; `draws` forwards each."""
    logits, wrong = ask(model, x, p.y, tiles, draws)
    d = (x - p.x0).flatten(1)
    size, fits = size_and_fits(x, p)
    sizes = (d.abs().amax(1), torch.linalg.vector_norm(d, dim=1), d.abs().sum(1), (d != 0).sum(1))
    return Judged(*judge_logits(logits, p.y), wrong & fits, *sizes, size, fits)
