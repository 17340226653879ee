"""Corruptions by processing. Images [H,W,C] in [0,1]."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from robbench.threat.corruptions.blur import to_bytes
from robbench.threat.corruptions.constants import Strength
from robbench.threat.corruptions.draws import Draws, Floats


def brightness(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: what is added to the value of HSV, the largest channel; hue and saturation stay."""
    (added,) = strength.numbers
    value = image.max(2, keepdims=True)
    raised = np.minimum(value + added, 1)
    found: Floats = np.where(value > 0, image * (raised / np.where(value > 0, value, 1)), raised)
    return found


def contrast(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the share of the difference to its channel's mean that an entry keeps."""
    (share,) = strength.numbers
    mean = image.mean((0, 1), keepdims=True)
    found: Floats = mean + share * (image - mean)
    return found


def elastic_transform(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers, as parts of the smaller side: size and smoothness of the displacement, affine shift.

    Three points about the middle move at random, and the image with them.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    size, sigma, shift = (part * side for part in strength.numbers)
    image = _affine(image, draws.uniform((3, 2), -shift, shift))
    waves = [draws.uniform((height, width), -1, 1) for _ in range(2)]
    down, right = (
        size * ndimage.gaussian_filter(wave, sigma, mode="reflect", truncate=3) for wave in waves
    )
    rows, columns = np.mgrid[:height, :width]
    return _sampled(image, rows + down, columns + right, "reflect")


def _affine(image: Floats, moves: Floats) -> Floats:
    """The affine map that takes three points about the middle to points `moves` [3,2] away."""
    height, width = image.shape[:2]
    third = min(height, width) // 3
    corners = third * np.array([[1, 1], [-1, 1], [-1, -1]])
    points = np.array([height // 2, width // 2]) + corners
    ones = np.ones((3, 1))
    back = np.linalg.solve(np.hstack([points + moves, ones]), points)  # where pixels come from
    places = np.stack([*np.mgrid[:height, :width], np.ones((height, width))], -1) @ back
    return _sampled(image, places[..., 0], places[..., 1], "mirror")


def _sampled(image: Floats, rows: Floats, columns: Floats, mode: str) -> Floats:
    """Each channel at places between its pixels, linearly."""
    channels = [
        ndimage.map_coordinates(image[..., c], [rows, columns], order=1, mode=mode)
        for c in range(image.shape[2])
    ]
    return np.stack(channels, 2)


def pixelate(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the share of the side that is left. Pixels are means of those they cover."""
    (share,) = strength.numbers
    height, width = image.shape[:2]
    small = max(1, int(width * share)), max(1, int(height * share))

    def resize(picture: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return picture.resize(small, box).resize((width, height), box)

    return _through(image, resize)


def jpeg_compression(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the quality. Three channels are colours, others one grey image each."""
    quality = int(strength.numbers[0])

    def coded(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _through(image, coded)


def _through(image: Floats, change: Callable[[Image.Image], Image.Image]) -> Floats:
    """What a change of pictures makes of three colours together, or of each other channel."""
    pixels = to_bytes(image)
    if image.shape[2] == 3:
        return np.asarray(change(Image.fromarray(pixels)), np.float64) / 255
    channels = [Image.fromarray(pixels[..., c]) for c in range(image.shape[2])]
    return np.stack([np.asarray(change(one), np.float64) for one in channels], 2) / 255
