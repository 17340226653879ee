"""The samples under attack, kept as bytes until a row needs them."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from robbench.core import keyed
from robbench.core.device import TILE_STEP
from robbench.data.base import Split
from robbench.engine.oracle import Model, forward_tiles
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem


class Pool:
    """N samples with their clean logits; makes the problems of any of them."""

    def __init__(self, split: Split, threat: ThreatModel, model: Model, *, seed: int, tile: int) -> None:
        self.split, self.threat = split, threat
        self.keys = keyed.fold(split.ids, seed)
        starts = range(0, max(len(split), 1), tile)  # an empty split still tells the number of classes
        parts = [forward_tiles(model, split.pixels(slice(i, i + tile)), tile, TILE_STEP) for i in starts]
        self.logits0 = torch.cat(parts)

    def problem(self, index: Tensor, salt: int = 0) -> Problem:
        """The rows of samples `index` [B]; `salt` tells the attacks of a cascade apart, so each draws its own numbers."""
        x0 = self.split.pixels(index)
        return Problem(
            x0=x0,
            y=self.split.labels[index],
            target=torch.full_like(index, -1),
            eps=torch.full((len(index),), self.threat.eps, dtype=x0.dtype, device=x0.device),
            key=keyed.fold(self.keys[index], salt),
            index=index,
            logits0=self.logits0[index],
            norm=self.threat.geometry,
        )


def salt_of(spec: str) -> int:
    """A 63-bit number from an attack's canonical spec: the same attack draws the same numbers alone and in any cascade."""
    return int.from_bytes(hashlib.blake2b(spec.encode(), digest_size=8).digest(), "big") >> 1
