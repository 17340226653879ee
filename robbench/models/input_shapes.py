"""Which shapes of images a model takes: what it says, and what it answers to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from robbench.core.freeze import frozen
from robbench.models.outputs.interface import main_output

SIZES = (224, 32, 28, 64, 8, 96, 112, 128, 160, 256, 299, 384, 448, 512)
"""Heights and widths that data sets and published models have, the likeliest first."""

Shape = tuple[int, ...]


def stated_shape(model: nn.Module) -> Shape | None:
    """(C,H,W) that a model of timm or transformers says it is for; None where none does."""
    for module in model.modules():
        for name in ("pretrained_cfg", "default_cfg"):
            found = getattr(module, name, None)
            size = found.get("input_size") if isinstance(found, dict) else None
            if isinstance(size, Sequence) and len(size) == 3:
                return tuple(map(int, size))
        config = getattr(module, "config", None)
        side, channels = (getattr(config, name, None) for name in ("image_size", "num_channels"))
        if isinstance(side, int) and isinstance(channels, int):
            return channels, side, side
    return None


def shapes_taken(model: nn.Module, first: Iterable[Shape] = (), most: int = 3) -> list[Shape]:
    """At most so many shapes that a model answers to, the likeliest first.

    `first` are tried before all others; then what the model states, then the usual sizes under as
    many channels as its first convolution reads, then a vector as its first linear layer reads.
    """
    found: list[Shape] = []
    for shape in dict.fromkeys([*first, *_likely(model)]):
        if len(found) < most and takes(model, shape):
            found.append(shape)
    return found


def takes(model: nn.Module, shape: Shape) -> bool:
    """Whether a model answers two images of a shape with a row each; it is left as it was."""
    weight = next((w for w in model.parameters() if w.is_floating_point()), torch.zeros(()))
    x = torch.linspace(0, 1, 2 * torch.Size(shape).numel()).reshape(2, *shape).to(weight)
    try:
        with frozen(model), torch.no_grad():
            z: Any = main_output(model(x), training=False)
    except Exception:  # whatever a foreign module raises: it does not take them
        return False
    return isinstance(z, torch.Tensor) and z.ndim in (1, 2) and len(z) == 2


def _likely(model: nn.Module) -> list[Shape]:
    stated = stated_shape(model)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    convolution = next((m for m in layers if isinstance(m, nn.Conv2d)), None)
    channels = (3, 1) if convolution is None else (convolution.in_channels,)
    found: list[Shape] = [] if stated is None else [stated]
    found += [(c, side, side) for side in SIZES for c in channels]
    if layers and isinstance(layers[0], nn.Linear):
        found.append((layers[0].in_features,))
    return found
