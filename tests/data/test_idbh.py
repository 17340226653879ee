"""IDBH: each part against torchvision or a plain loop over one image, the shares, the batch."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import functional as F

import robbench.data.idbh as module
from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.data.idbh import ERASED, TRANSFORMS, crop_shift, idbh, rectangle, transformed
from robbench.data.loader import DeviceLoader


def _images(count: int = 24, channels: int = 3, side: int = 32) -> Tensor:
    """Smooth images in [0,1] of whole 255ths, as decoded files are."""
    generator = torch.Generator().manual_seed(channels * side)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (fine.clamp(0.05, 0.9) * 255).round() / 255


def _numbers(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(7))


RANGES = {
    "colour": (F.adjust_saturation, 0.1, 1.9),
    "brightness": (F.adjust_brightness, 0.5, 1.9),
    "contrast": (F.adjust_contrast, 0.5, 1.9),
    "sharpness": (F.adjust_sharpness, 0.1, 1.9),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", RANGES)
def test_enhancements_are_torchvisions(name: str, channels: int) -> None:
    """Each image equals torchvision's adjustment of it alone, by its own factor of the range."""
    x, u = _images(channels=channels), _numbers(24, 3)
    adjust, low, high = RANGES[name]
    for image, numbers, got in zip(x, u, transformed(name, x, u), strict=True):
        factor = low + (high - low) * float(numbers[0])
        assert torch.allclose(got, adjust(image, factor), atol=2e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_autocontrast_and_equalize_are_torchvisions(channels: int) -> None:
    """The first on floats, the second on bytes, of each image alone."""
    x, u = _images(channels=channels), _numbers(24, 3)
    stretched, flat = transformed("autocontrast", x, u), transformed("equalize", x, u)
    for n, image in enumerate(x):
        assert torch.allclose(stretched[n], F.autocontrast(image), atol=1e-6)
        expected = F.equalize((image * 255).round().byte()).float() / 255
        assert torch.allclose(flat[n], expected, atol=1e-6)
    assert not torch.allclose(flat, x)


@pytest.mark.parametrize("side", [8, 28, 32, 33])
def test_shear_and_rotation_are_torchvisions(side: int) -> None:
    """Nearest pixels, black outside; a pixel in a hundred may fall on the other side of a tie."""
    x, u = _images(side=side), _numbers(24, 3)
    sheared, turned = transformed("shear", x, u), transformed("rotate", x, u)
    seen = set()
    for n, (image, (size, sign, axis)) in enumerate(zip(x, u.tolist(), strict=True)):
        angle = math.degrees(0.05 + 0.1 * size) * (-1 if sign < 0.5 else 1)
        shear = [angle, 0.0] if axis < 0.5 else [0.0, angle]
        expected = F.affine(image, 0.0, [0, 0], 1.0, shear, fill=[0.0])
        assert ((sheared[n] - expected).abs() > 1e-6).float().mean() < 0.01
        degrees = (1 + math.floor(size * 10)) * (-1 if sign < 0.5 else 1)
        expected = F.rotate(image, degrees, fill=[0.0])
        assert ((turned[n] - expected).abs() > 1e-6).float().mean() < 0.01
        seen.add((sign < 0.5, axis < 0.5))
    assert len(seen) == 4


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 8), (20, 40)])
def test_crop_shift_is_a_plain_loop(height: int, width: int) -> None:
    """A window of one image, cut out and put into a black frame, by the same numbers."""
    generator = torch.Generator().manual_seed(3)
    x, u = torch.rand(60, 3, height, width, generator=generator), _numbers(60, 6)
    moved, most = crop_shift(x, u), min(height, width) * 10 // 32
    cuts = set()
    for image, (a, b, c, d, e, f), got in zip(x.numpy(), u.tolist(), moved.numpy(), strict=True):
        both = int(a * (most + 1))
        across = int(b * (both + 1))
        down = both - across
        top, to_top = int(c * (down + 1)), int(d * (down + 1))
        left, to_left = int(e * (across + 1)), int(f * (across + 1))
        tall, wide = height - down, width - across
        expected = np.zeros_like(image)
        window = image[:, top : top + tall, left : left + wide]
        expected[:, to_top : to_top + tall, to_left : to_left + wide] = window
        assert np.array_equal(got, expected)
        cuts.add(both)
    assert {0, most} <= cuts


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 8), (10, 60)])
def test_rectangles_are_those_of_random_erasing(height: int, width: int) -> None:
    """Of ten tries the first that fits, as torchvision's get_params makes them."""
    u = _numbers(60, 10, 4)
    failures = 0
    for tries, got in zip(u.tolist(), rectangle(u, height, width)[:, 0].numpy(), strict=True):
        expected = np.zeros((height, width), bool)
        for n, (size, shape, row, column) in enumerate(tries):
            area = height * width * (0.02 + 0.31 * size)
            aspect = math.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * shape)
            tall = round(math.sqrt(area * aspect))
            wide = round(math.sqrt(area / aspect))
            if tall < height and wide < width:
                top = int(row * (height - tall + 1))
                left = int(column * (width - wide + 1))
                expected[top : top + tall, left : left + wide] = True
                failures += n
                break
        assert np.array_equal(got, expected)
    assert failures > 0 or height == width


def test_an_image_depends_on_its_key_alone() -> None:
    """Bit-equal at width 1, 5 and 16 and in another order; other keys give other images."""
    x, key = _images(64), torch.arange(64) * 31 + 5
    whole = idbh(x, key, 1.0)
    for width in (1, 5, 16):
        parts = [idbh(x[i : i + width], key[i : i + width], 1.0) for i in range(0, 64, width)]
        assert torch.equal(torch.cat(parts), whole)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(idbh(x[order], key[order], 1.0), whole[order])
    other = idbh(x, key + 1, 1.0)
    assert all(not torch.equal(a, b) for a, b in zip(whole, other, strict=True))
    assert bool(((whole >= 0) & (whole <= 1)).all())


def test_the_shares_of_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transform with 1/8 (chi-square), mirrored and, if weak, erased at half (binomial)."""
    counts: Counter[str] = Counter()

    def counted(name: str, x: Tensor, u: Tensor) -> Tensor:
        counts[name] += len(x)
        return x

    monkeypatch.setattr(module, "transformed", counted)
    monkeypatch.setattr(module, "crop_shift", lambda x, u: x)
    ramp = (0.2 + torch.arange(8) / 20).expand(4000, 1, 8, 8)
    key = torch.arange(4000)
    weak, strong = (idbh(ramp, key, ERASED[f"idbh-{form}"]) for form in ("weak", "strong"))
    assert stats.chisquare([counts[name] for name in TRANSFORMS]).pvalue > 0.01
    assert sum(counts.values()) == 2 * 4000
    mirrored = int((weak.amax(2)[:, 0, 0] > weak.amax(2)[:, 0, -1]).sum())
    assert stats.binomtest(mirrored, 4000, 0.5).pvalue > 0.01
    erased = (weak == 0).flatten(1).any(1)
    assert stats.binomtest(int(erased.sum()), 4000, 0.5).pvalue > 0.01
    assert bool((strong == 0).flatten(1).any(1).all())
    assert torch.equal(weak[erased], strong[erased])


def test_its_numbers_are_not_those_of_an_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise of an attack with the same key tells nothing of what is done to the image."""
    key, drawn = torch.arange(500), list[Tensor]()
    monkeypatch.setattr(module, "crop_shift", lambda x, u: (drawn.append(u), x)[1])
    idbh(torch.rand(500, 1, 8, 8), key, 0.0)
    attack = keyed.uniform(key, (12,))[:, 1:7]
    assert abs(float(np.corrcoef(attack.flatten(), drawn[0].flatten())[0, 1])) < 0.1


def _split(channels: int = 3, side: int = 8) -> Split:
    images = (_images(30, channels, side) * 255).byte()
    return Split(images, torch.arange(30) % 3, torch.arange(30), ("a", "b", "c"), "some", "train")


@pytest.mark.parametrize("channels", [1, 3])
def test_training_batches_do_not_depend_on_their_size(channels: int) -> None:
    """The loader gives each sample the same image at any batch size, another one next epoch."""
    split = _split(channels)

    def seen(size: int, epoch: int, seed: int = 1) -> Tensor:
        loader = DeviceLoader(split, size, seed=seed, augment="idbh-weak")
        x, _, index = (torch.cat(part) for part in zip(*loader.epoch(epoch), strict=True))
        return x[index.argsort()]

    first = seen(16, 0)
    assert torch.equal(first, seen(7, 0))
    assert not torch.equal(first, seen(16, 1))
    assert not torch.equal(first, seen(16, 0, seed=2))


def test_images_of_other_channels_are_refused() -> None:
    """Two channels are neither grey nor RGB."""
    with pytest.raises(UserError, match="needs grey or RGB images; those of some have 2 channels"):
        DeviceLoader(_split(2), 4, seed=0, augment="idbh-weak")
