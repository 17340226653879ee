"""What an image processor of transformers does to pixels, and to which size it brings images."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robbench.core.errors import UserError
from robbench.data.folder import ImageFolder

_SCALING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_NEAR = 0.04  # mean difference of pixels in [0,1]: one pixel aside is less, other scaling more


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


def size_and_options(images: Any, done: Preparation) -> dict[str, Any]:
    """Height and width of the images that a processor makes, and the data options to make them.

    Found with pictures, one wide and one high: what its options mean is its own, and some are in no
    configuration. Without `prepared` where no options make its pictures, {} where it keeps a size.
    """
    wide = _picture()
    pictures = [wide, wide.transpose(Image.Transpose.ROTATE_90)]
    try:
        made = [_pixels(images, picture, done) for picture in pictures]
    except Exception:  # whatever a processor raises: the size is advice
        return {}
    height, width = made[0].shape[:2]
    if made[1].shape != made[0].shape:
        return {}
    found: dict[str, Any] = {"size": (height, width)}
    if height != width:
        return found
    scaling = _SCALING.get(int(getattr(images, "resample", None) or 0), "bilinear")
    options: list[dict[str, Any]] = [
        {"resize": resize, "crop": height, **squash, "filter": scaling}
        for resize in _scaled(images, height)
        for squash in ({}, {"squash": True})
    ]
    if not getattr(images, "do_resize", True):
        options = [{"crop": height}]
    away = [max(map(_apart, [one] * 2, pictures, made)) for one in options]
    nearest = int(np.argmin(away))
    if away[nearest] < _NEAR:
        chosen = options[nearest].items()
        found["prepared"] = ",".join(f"{name}={value}" for name, value in chosen).lower()
    return found


def _picture() -> Image.Image:
    """Spots of random colours: a square that is cut or stretched otherwise looks other."""
    spots = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    return Image.fromarray(spots).resize((480, 320), Image.Resampling.BILINEAR)


def _pixels(images: Any, picture: Image.Image, done: Preparation) -> NDArray[np.float64]:
    """What a processor makes of a picture [H,W,3], in [0,1]: its normalisation undone."""
    found = images(picture, return_tensors="np")["pixel_values"][0]
    pixels = np.asarray(found, np.float64).transpose(1, 2, 0)
    if done.reverse:
        pixels = pixels[..., ::-1]
    return pixels * done.std + done.mean


def _apart(options: dict[str, Any], picture: Image.Image, target: NDArray[np.float64]) -> float:
    """Mean difference of pixels between what data options make of a picture and a target."""
    try:
        made = ImageFolder(dir=".", **options).prepare(picture)
    except UserError:  # a crop larger than the picture
        return math.inf
    return float(np.abs(np.asarray(made) / 255 - target).mean())


def _scaled(images: Any, side: int) -> list[int]:
    """To what a processor that makes squares of a side may have scaled before it cut."""
    size, crop = (dict(getattr(images, name, None) or {}) for name in ("size", "crop_size"))
    share = getattr(images, "crop_pct", None) or 1
    known = [size.get("shortest_edge"), size.get("height"), crop.get("height"), side]
    # LeViT's scales to 256/224 of what it says.
    found = [math.floor(one * more) for one in known if one for more in (1, 256 / 224, 1 / share)]
    return sorted({one for one in found if one >= side})
