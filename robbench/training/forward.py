"""How a model is evaluated in training: in which precision and memory format, compiled or not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from robbench.models.base import Classifier, Output


class Forward:
    """A model's outputs under a recipe's precision: `fp32`, or `bf16` by autocast.

    Weights and outputs are float32 in both.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        precision: str = "fp32",
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        self.model = model
        self.precision = precision
        self.channels_last = channels_last
        if channels_last:
            model.to(memory_format=torch.channels_last)
        self._output: Callable[[Tensor], Output] = (
            torch.compile(model.output) if compiled else model.output
        )
        self._logits: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model

    def output(self, x: Tensor) -> Output:
        """Logits and features, in float32."""
        with self._precision(x):
            found = self._output(self._arranged(x))
        return Output(found.logits.float(), found.features.float())

    def __call__(self, x: Tensor) -> Tensor:
        """Logits alone, in float32: the model as the inner attack sees it."""
        with self._precision(x):
            logits = self._logits(self._arranged(x))
        return logits.float()

    def _arranged(self, x: Tensor) -> Tensor:
        return (
            x.contiguous(memory_format=torch.channels_last)
            if self.channels_last and x.ndim == 4
            else x
        )

    def _precision(self, x: Tensor) -> contextlib.AbstractContextManager[object]:
        return (
            torch.autocast(x.device.type, torch.bfloat16)
            if self.precision == "bf16"
            else contextlib.nullcontext()
        )
