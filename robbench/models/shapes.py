"""Which data a model can take."""

from __future__ import annotations

from robbench.core.errors import UserError
from robbench.data.base import DataInfo


def image_shape(info: DataInfo, model: str) -> tuple[int, int, int]:
    """(C,H,W) of the data. UserError, naming `model`, when the data are not images."""
    if len(info.shape) != 3:
        raise UserError(
            f"model {model} needs images (C,H,W), the data have shape {info.shape}; use mlp"
        )
    channels, height, width = info.shape
    return channels, height, width
