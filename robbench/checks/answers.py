"""A model's answers to a few samples: logits, gradients and slopes, each asked for once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from robbench.core.tiles import Tiles, largest_tile
from robbench.data.base import Split
from robbench.engine.counter import Counter
from robbench.engine.inspection import gradients
from robbench.engine.oracle import ModelOracle, blank_book, forward_tiles
from robbench.engine.shapes import tiles_of
from robbench.objectives import Objective, margins
from robbench.threat.problem import Problem


class Answers:
    """What a model answers to the samples of a split.

    `charge(queries)` is called before so many forwards and backwards are made; it may raise.
    """

    def __init__(self, model: Counter, split: Split, charge: Callable[[int], None]) -> None:
        self._model = model
        self._split = split
        self._charge = charge

    @functools.cached_property
    def x(self) -> Tensor:
        """[N,*] the clean inputs."""
        return self._split.pixels(slice(None))

    @functools.cached_property
    def tiles(self) -> Tiles:
        """The batch shapes in which the model gives equal answers."""
        largest = largest_tile(self.x.device, self.x.shape[1:])
        return tiles_of([self._model], self.x[: largest.rows])

    @functools.cached_property
    def logits(self) -> Tensor:
        """[N,K] at the clean inputs, on the CPU."""
        return self.ask(self.x)

    @functools.cached_property
    def margins(self) -> Tensor:
        """[N] logit margins at the clean inputs, on the CPU."""
        return margins(self.logits, self._split.labels.cpu())

    @functools.cached_property
    def gradients(self) -> tuple[list[Tensor], str]:
        """Gradients [N,*] of cross-entropy at the inputs and at random points near them.

        On the CPU. Without a gradient: an empty list and the reason.
        """
        self._charge(4 * self.tiles.padded(len(self.x)))
        found, reason = gradients(self._model, self.x, self._split.labels, self.tiles)
        return [gradient.cpu() for gradient in found], reason

    def ask(self, x: Tensor, tiles: Tiles | None = None) -> Tensor:
        """Logits [N,K] at the points x [N,*], on the CPU; in other batch shapes if given."""
        self._charge(self.tiles.padded(len(x)))
        return forward_tiles(self._model, x, tiles or self.tiles).cpu()

    def slope(self, p: Problem, x: Tensor, objective: Objective) -> Tensor:
        """[N,*] gradient of an objective of the rows p at the points x; 0 where not finite."""
        self._charge(2 * self.tiles.padded(len(x)))
        oracle = ModelOracle(self._model, self.tiles)
        everyone, t = torch.ones_like(p.y, dtype=torch.bool), torch.zeros_like(p.y)
        oracle.bind(p, blank_book(p), t, everyone, steps=1)
        return oracle.grad(x, objective).grad
