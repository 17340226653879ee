"""SOVR, switching one-versus-rest, and TSOVR, its TRADES form: Kanai et al. 2023, arXiv:2207.10283.

    SOVR     1/N [ sum_S CE(z(x'), y) + lam * sum_L OVR(z(x'), y) ]
    TSOVR    1/N [ sum_S CE(z(x), y)  + lam * sum_L OVR(z(x), y) + beta * sum_n KL(p(x) || p(x')) ]

L holds the `percent` of the batch with the smallest logit margins z_y - max_{k != y} z_k, S the
rest. The choice of L has no gradient; in TSOVR gradient flows through both distributions of
the divergence, as in TRADES.

Certain: samples of small margin get one-versus-rest instead of cross-entropy, which raises their
margins twice as fast in log t (tests/losses/test_theory.py). Our reading: both formulas to the
symbol, that the margins are those at x', every default below, and in TSOVR the split between x and
x'. What the inner attack climbs is its own choice, by default cross-entropy (`--inner
pgd:objective=margin` for another); for TSOVR it is the divergence.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.losses.base import Loss, Step
from robbench.losses.one_vs_rest import one_vs_rest
from robbench.losses.trades import kl
from robbench.objectives import margins

Points = Literal["adversarial", "clean"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SOVR(Loss):
    """One-versus-rest for the samples of smallest margin, else cross-entropy (Kanai et al. 2023).

    arXiv:2207.10283.

    The defaults are our reading; percent=0 is plain adversarial training, percent=100
    one-versus-rest times lam.
    """

    percent: Annotated[
        Number,
        Field(ge=0, le=100, description="M: part of each batch that counts as hard, in percent"),
    ] = 40.0
    lam: Annotated[
        Number, Field(ge=0, description="weight of the hard samples' one-versus-rest")
    ] = 0.4
    rounding: Annotated[
        Literal["nearest", "down", "up"],
        Field(description="of the number of hard samples; nearest rounds halves up"),
    ] = "nearest"
    margin: Annotated[
        Points, Field(description="inputs whose logit margins decide which are hard")
    ] = "adversarial"
    normalise: Annotated[
        Literal["batch", "set"],
        Field(description="divide both sums by the batch's size, or each by its own set's"),
    ] = "batch"
    batch_coupled: ClassVar[bool] = True
    inner: ClassVar[str | None] = "pgd:steps=10"

    def __call__(self, step: Step) -> Tensor:
        logits = step.out.logits
        # A peek: the clean pass is for the choice only, so it should cost no graph and leave
        # batch-norm statistics alone.
        return self.switch(
            logits, step.y, logits if self.margin == "adversarial" else step.peek(step.x)
        )

    def switch(self, logits: Tensor, y: Tensor, deciding: Tensor) -> Tensor:
        """[B] CE or lam * OVR of logits [B,K], by the margins of the deciding logits [B,K]."""
        n, count = len(y), self.count(len(y))
        hard = torch.zeros_like(y, dtype=torch.bool)
        hard[margins(deciding.detach(), y).argsort(stable=True)[:count]] = True
        easy_size, hard_size = (
            (n, n) if self.normalise == "batch" else (max(n - count, 1), max(count, 1))
        )
        easy = F.cross_entropy(logits, y, reduction="none") * (n / easy_size)
        return torch.where(hard, self.lam * one_vs_rest(logits, y) * (n / hard_size), easy)

    def count(self, n: int) -> int:
        """How many of n samples are hard."""
        exact = round(self.percent * n / 100, 9)  # 16.1 % of 1000 are 161, not 161.00000000000003
        return {
            "nearest": math.floor(exact + 0.5),
            "down": math.floor(exact),
            "up": math.ceil(exact),
        }[self.rounding]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TSOVR(SOVR):
    """TRADES, its cross-entropy switched to one-versus-rest as in SOVR (Kanai et al. 2023).

    arXiv:2207.10283; the defaults and the form are our reading.
    """

    beta: Annotated[Number, Field(ge=0, description="weight of the divergence")] = 6.0
    terms: Annotated[
        Points, Field(description="inputs at which cross-entropy and one-versus-rest are taken")
    ] = "clean"
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"
    climbs: ClassVar[str | None] = "kl-from-clean"

    def __call__(self, step: Step) -> Tensor:
        logits = {
            "clean": step.clean.logits,
            "adversarial": step.at(step.adversary(self.climbs).x).logits,
        }
        divergence = kl(logits["clean"], logits["adversarial"])
        return self.switch(logits[self.terms], step.y, logits[self.margin]) + self.beta * divergence
