"""What image processors do, against the processors themselves."""

import numpy as np
import pytest
import torch
from PIL import Image

from robbench.core.errors import UserError
from robbench.core.spec import build, parse_spec
from robbench.data.folder import ImageFolder
from robbench.models.sources.image_processors import preparation, size_and_options
from robbench.models.sources.libraries import library

from .test_hugging_face import pixels

transformers = library("transformers", "hf")


def test_a_processor_with_an_offset_or_blue_first_is_measured():
    """EfficientNet's and MobileViT's, as they prepare images themselves."""
    made, x = pixels()
    for images in (
        transformers.EfficientNetImageProcessor(rescale_factor=1 / 127.5, rescale_offset=True),
        transformers.MobileViTImageProcessor(),
    ):
        done = preparation(images)
        given = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
        expected = images(list(made), **given)["pixel_values"]
        mean, std = (torch.tensor(values)[:, None, None] for values in (done.mean, done.std))
        ours = (x - mean) / std
        ours = ours.flip(1) if done.reverse else ours
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_a_processor_that_mixes_channels_is_refused():
    """No mean and std stand for it."""

    def grey(images, **_):
        mixed = np.stack(images).astype(float).mean(3, keepdims=True).repeat(3, 3)
        return {"pixel_values": mixed.transpose(0, 3, 1, 2)}

    with pytest.raises(UserError, match="mixes the channels"):
        preparation(grey)


SQUARE = {"height": 24, "width": 24}
WIDE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (10, 15, 3), np.uint8)).resize(
    (600, 400), Image.Resampling.BICUBIC
)


@pytest.mark.parametrize(
    ("name", "options", "prepared"),
    [
        ("ViT", {"size": SQUARE}, "resize=24,crop=24,squash=true,filter=bilinear"),
        (
            "DeiT",
            {"size": {"height": 28, "width": 28}, "crop_size": SQUARE},
            "resize=28,crop=24,squash=true,filter=bicubic",
        ),
        ("EfficientNet", {"size": SQUARE}, "resize=24,crop=24,squash=true,filter=bicubic"),
        (
            "Bit",
            {"size": {"shortest_edge": 28}, "crop_size": SQUARE},
            "resize=28,crop=24,filter=bicubic",
        ),
        (
            "ConvNext",
            {"size": {"shortest_edge": 24}, "crop_pct": 0.75},
            "resize=32,crop=24,filter=bicubic",
        ),
        (
            "ConvNext",
            {"size": {"shortest_edge": 384}},
            "resize=384,crop=384,squash=true,filter=bicubic",
        ),
        ("Bit", {"do_resize": False, "crop_size": SQUARE}, "crop=24"),
        ("Levit", {}, "resize=256,crop=224,filter=bicubic"),
        ("PoolFormer", {}, "resize=248,crop=224,filter=bicubic"),
        ("Perceiver", {}, "resize=256,crop=224,filter=bicubic"),
        (
            "MobileViT",
            {"size": {"shortest_edge": 28}, "crop_size": SQUARE},
            "resize=28,crop=24,filter=bicubic",
        ),
    ],
)
def test_the_data_options_prepare_a_picture_as_the_processor_does(name, options, prepared):
    """Up to rounding, by another picture than it was measured with; it is not square."""
    images = getattr(transformers, f"{name}ImageProcessor")(**options)
    done = preparation(images)
    returned = np.asarray(images(WIDE, return_tensors="np")["pixel_values"])[0]
    assert size_and_options(images, done) == {"size": returned.shape[1:], "prepared": prepared}
    ours = np.asarray(build(ImageFolder, parse_spec(f"folder:.,{prepared}")).prepare(WIDE)) / 255
    theirs = (returned[::-1] if done.reverse else returned).transpose(1, 2, 0)
    assert np.abs(ours - (theirs * done.std + done.mean)).mean() < 0.005


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("MobileViT", {}, {"size": (256, 256)}),
        ("ViT", {"size": {"height": 24, "width": 20}}, {"size": (24, 20)}),
        (
            "Bit",
            {"do_resize": False, "crop_size": {"height": 640, "width": 640}},
            {"size": (640, 640)},
        ),
        ("Bit", {"do_center_crop": False}, {}),
        ("ViT", {"do_resize": False}, {}),
    ],
)
def test_a_processor_that_no_data_options_match_gets_none(name, options, expected):
    """A crop beyond the picture, no square, no scaling; and no size where it keeps the aspect."""
    images = getattr(transformers, f"{name}ImageProcessor")(**options)
    assert size_and_options(images, preparation(images)) == expected
