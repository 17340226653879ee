"""What an image processor of transformers does to pixels, and to which size it brings images."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from robbench.core.errors import UserError

_SCALING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


class Preparation(NamedTuple):
    """What an image processor does to pixels in [0,1]: (x - mean) / std per channel.

    reverse: it turns the order of the channels around, after that.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    reverse: bool


def preparation(images: Any) -> Preparation:
    """What a processor does, measured with a black image and one of each colour.

    Its own options are many, and some are in no configuration (an offset, BGR). Raises UserError
    for one that does anything else than to scale each channel.
    """
    side = 32
    made = np.zeros((4, side, side, 3), np.uint8)
    for channel in range(3):
        made[channel + 1, ..., channel] = 255
    found = images(
        list(made),
        do_resize=False,
        do_center_crop=False,
        return_tensors="np",
        input_data_format="channels_last",
    )["pixel_values"]
    pixels = np.asarray(found, np.float64)[:, :, side // 2, side // 2]
    black, slopes = pixels[0], pixels[1:] - pixels[0]  # of output channel j to input channel i
    for reverse in (False, True):
        scale = np.diag(slopes[:, ::-1] if reverse else slopes)
        exact = np.diag(scale)[:, ::-1] if reverse else np.diag(scale)
        if (scale > 0).all() and np.allclose(slopes, exact, atol=1e-6):
            at_zero = black[::-1] if reverse else black
            mean, std = -at_zero / scale, 1 / scale
            return Preparation(_rounded(mean), _rounded(std), reverse)
    raise UserError("its image processor mixes the channels; load it in a function of your own")


def _rounded(values: Any) -> tuple[float, ...]:
    # Measured in float32: 0.485 rather than 0.48500001.
    return tuple(float(f"{value:.6g}") + 0.0 for value in values)


def size_and_options(images: Any) -> dict[str, Any]:
    """Height and width of the images that a processor makes, and the data options to make them."""
    size, crop = dict(images.size or {}), dict(getattr(images, "crop_size", None) or {})
    shortest = size.get("shortest_edge")
    cut = crop.get("height") if getattr(images, "do_center_crop", False) else None
    scaling = _SCALING.get(int(getattr(images, "resample", None) or 0), "bilinear")
    if cut and crop.get("width") == cut:
        scaled = shortest or size.get("height") or cut
        return {"size": (cut, cut), "prepared": f"resize={scaled},crop={cut},filter={scaling}"}
    share = getattr(images, "crop_pct", None)
    side = shortest or size.get("height")
    if not side or (not shortest and size.get("width") != side):
        return {}
    if share and side < 384:  # ConvNeXt's processor: larger images are not cut
        scaled = math.floor(side / share)
        return {"size": (side, side), "prepared": f"resize={scaled},crop={side},filter={scaling}"}
    return {"size": (side, side), "prepared": f"size={side},filter={scaling}"}
