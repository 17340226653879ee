"""Averages of the weights along training, which are validated and kept in their place.

`ema`: exponential moving average of every step (Polyak and Juditsky 1992; in adversarial training
Gowal et al. 2020, arXiv:2010.03593), whose decay grows as (1+n)/(10+n) with the number n of steps
so far, up to the one given (as in SEAT's code): with a constant one the first weights would
dominate a short training. `swa`: plain mean of the weights after each epoch of the last quarter
(Izmailov et al. 2018, arXiv:1803.05407). Batch-norm statistics are averaged like weights.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from robbench.models.base import Classifier

SWA_START = 0.75


class Average:
    """The running average of a model's weights; `kind` is none, ema or swa."""

    def __init__(self, kind: str, model: Classifier, decay: float) -> None:
        self.kind = kind
        self.model = model

        def ema(average: Tensor, now: Tensor, n: Tensor) -> Tensor:
            share = ((1 + n) / (10 + n)).clamp(max=decay)
            return share * average + (1 - share) * now

        avg_fn = ema if kind == "ema" else None
        self.average = None
        if kind != "none":
            self.average = AveragedModel(
                model,
                avg_fn=avg_fn,  # type: ignore[arg-type]
                use_buffers=True,
            )

    @property
    def averaged_model(self) -> Classifier:
        """The average once there is one, else the model as it is."""
        if self.average is None or int(self.average.n_averaged) == 0:
            return self.model
        averaged: Any = self.average.module
        return averaged  # type: ignore[no-any-return]

    def after_step(self) -> None:
        """Called after every step of the optimizer."""
        if self.average is not None and self.kind == "ema":
            self.average.update_parameters(self.model)

    def after_epoch(self, progress: float) -> None:
        """Called after every epoch, with the share of training done."""
        if self.average is not None and self.kind == "swa" and progress > SWA_START:
            self.average.update_parameters(self.model)
