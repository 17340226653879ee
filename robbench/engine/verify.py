"""The verdict: every returned point is looked at again, in float32, by the model as it was given."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robbench.core.device import TILE_STEP
from robbench.engine.oracle import Model, forward_tiles
from robbench.objectives import best_other, log_softmax, margins
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem, size_and_fits


class Judged(NamedTuple):
    """What the model says at points, and how far they are from the clean inputs. All [B]."""

    pred: Tensor
    margin: Tensor
    pmargin: Tensor  # the margin on softmax probabilities
    adversarial: Tensor  # bool: misclassified, finite, inside box and budget
    linf: Tensor
    l2: Tensor


def judge_logits(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B] predictions, logit margins and probability margins."""
    log_p = log_softmax(logits)
    p_true = log_p.gather(1, y[:, None])[:, 0].exp()
    return logits.argmax(1), margins(logits, y), p_true - best_other(log_p, y).exp()


def verify(model: Model, x: Tensor, p: Problem, tile: int) -> Judged:
    """Judge points x [B,*] for the problems p; one forward each."""
    logits = forward_tiles(model, x, tile, TILE_STEP)
    pred, margin, pmargin = judge_logits(logits, p.y)
    wrong = (pred != p.y) & torch.isfinite(logits).all(1)
    d = x - p.x0
    return Judged(pred, margin, pmargin, wrong & size_and_fits(x, p)[1], NORMS["linf"].size(d), NORMS["l2"].size(d))
