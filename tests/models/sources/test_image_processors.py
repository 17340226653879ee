"""What image processors do, against the processors themselves."""

import numpy as np
import pytest
import torch

from robbench.core.errors import UserError
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


@pytest.mark.parametrize(
    ("name", "options", "prepared"),
    [
        ("ViT", {"size": {"height": 24, "width": 24}}, "size=24,filter=bilinear"),
        (
            "Bit",
            {"size": {"shortest_edge": 28}, "crop_size": {"height": 24, "width": 24}},
            "resize=28,crop=24,filter=bicubic",
        ),
        (
            "ConvNext",
            {"size": {"shortest_edge": 24}, "crop_pct": 0.75},
            "resize=32,crop=24,filter=bicubic",
        ),
    ],
)
def test_the_size_is_that_of_what_a_processor_returns(name, options, prepared):
    images = getattr(transformers, f"{name}ImageProcessor")(**options)
    made, _ = pixels(n=1, side=50)
    returned = np.asarray(images(list(made), return_tensors="np")["pixel_values"])
    assert size_and_options(images) == {"size": returned.shape[2:], "prepared": prepared}
