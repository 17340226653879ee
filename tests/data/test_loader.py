"""Training batches: permutations, reproducible augmentation, validation splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.data.loader import DeviceLoader, crop_and_flip, cut_out, split_validation


def _split(count: int = 50, side: int = 8, classes: int = 5) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.randint(classes, (count,), generator=generator)
    return Split(
        images, labels, torch.arange(count), tuple(map(str, range(classes))), "random", "train"
    )


def _epoch(loader: DeviceLoader, epoch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y, index = zip(*loader.epoch(epoch), strict=True)
    return torch.cat(x), torch.cat(y), torch.cat(index)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), batch=st.integers(1, 15), epoch=st.integers(0, 1000))
def test_an_epoch_is_a_permutation(count: int, batch: int, epoch: int) -> None:
    """Every sample once, with its own pixels and label, in batches of the given size."""
    split = _split(count)
    loader = DeviceLoader(split, batch, seed=3)
    x, y, index = _epoch(loader, epoch)
    assert torch.equal(index.sort().values, torch.arange(count))
    assert torch.equal(y, split.labels[index])
    assert torch.equal(x, split.images[index].float() / 255)
    sizes = [len(labels) for _, labels, _ in loader.epoch(epoch)]
    assert len(sizes) == len(loader)
    assert sizes[:-1] == [batch] * (len(loader) - 1)
    # A lone last sample, on which batch-norm could not train, joins the batch before it.
    assert (
        sizes[-1] == batch + 1
        if count % batch == 1 and count > batch > 1
        else 0 < sizes[-1] <= batch
    )


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    """Loader, batch size and the global generator change nothing; seed and epoch do."""
    split = _split()
    first = _epoch(DeviceLoader(split, 16, seed=1, augment="crop-flip"), 4)
    torch.rand(100)
    again = _epoch(DeviceLoader(split, 7, seed=1, augment="crop-flip"), 4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for seed, epoch in ((2, 4), (1, 5)):
        assert not torch.equal(
            first[2], _epoch(DeviceLoader(split, 16, seed=seed, augment="crop-flip"), epoch)[2]
        )


def test_the_global_generator_is_left_alone() -> None:
    """Iterating does not consume torch's global random numbers."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    _epoch(DeviceLoader(_split(), 16, seed=1, augment="crop-flip"), 0)
    assert torch.equal(torch.rand(3), expected)


def test_crops_and_flips_equal_a_plain_loop() -> None:
    """The batched gather equals padding, slicing and mirroring single images in NumPy."""
    images = _split(20).images
    shift = torch.randint(5, (20, 2), generator=torch.Generator().manual_seed(1))
    flip = torch.arange(20) % 2 == 0
    moved = crop_and_flip(images, shift, flip, 2)
    for image, (top, left), mirrored, got in zip(
        images.numpy(), shift.tolist(), flip.tolist(), moved.numpy(), strict=True
    ):
        window = np.pad(image, ((0, 0), (2, 2), (2, 2)))[:, top : top + 8, left : left + 8]
        assert np.array_equal(got, window[:, :, ::-1] if mirrored else window)


@pytest.mark.parametrize(("side", "padding"), [(8, 2), (19, 2), (20, 4), (32, 4)])
def test_every_augmented_image_is_a_window_of_its_padded_original(side: int, padding: int) -> None:
    """Each crop-flip image is one of (2p+1)^2 x 2 windows of its original, of both signs."""
    split = _split(30, side)
    x, _, index = _epoch(DeviceLoader(split, 8, seed=0, augment="crop-flip"), 0)
    seen = set()
    for image, source in zip(
        (x * 255).round().byte().numpy(), split.images[index].numpy(), strict=True
    ):
        padded = np.pad(source, ((0, 0), (padding, padding), (padding, padding)))
        matches = [
            (top, left, mirrored)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            for mirrored in (False, True)
            if np.array_equal(
                image,
                padded[:, top : top + side, left : left + side][:, :, :: -1 if mirrored else 1],
            )
        ]
        assert matches
        seen.update(matches)
    assert {top for top, _, _ in seen} >= {0, 2 * padding}
    assert {m for _, _, m in seen} == {False, True}


def test_flip_alone_does_not_shift() -> None:
    """augment=flip gives each image or its mirror image."""
    split = _split(30)
    x, _, index = _epoch(DeviceLoader(split, 30, seed=0, augment="flip"), 0)
    original = split.pixels(index)
    same, mirrored = (x == original).flatten(1).all(1), (x == original.flip(-1)).flatten(1).all(1)
    assert bool((same | mirrored).all())
    assert same.any()
    assert mirrored.any()


def test_cutout_zeroes_a_square() -> None:
    """A square of half the shorter side around each centre, cut at the border, is zero."""
    generator = torch.Generator().manual_seed(0)
    for height, width in ((8, 8), (32, 32), (28, 20), (7, 9)):
        x = torch.rand(60, 3, height, width, generator=generator) + 0.1
        centre = torch.rand(60, 2, generator=generator)
        for image, source, (row, column) in zip(
            cut_out(x, centre).numpy(), x.numpy(), centre.tolist(), strict=True
        ):
            half = min(height, width) / 4
            expected = source.copy()
            for i in range(height):
                for j in range(width):
                    if abs(i + 0.5 - row * height) < half and abs(j + 0.5 - column * width) < half:
                        expected[:, i, j] = 0
            assert np.array_equal(image, expected)
            assert ((image == 0) == (image == 0)[:1]).all()


@pytest.mark.parametrize("side", [8, 28, 32])
def test_cutouts_size(side: int) -> None:
    """Away from the border half the side squared is gone; in a corner at least a quarter."""
    x = torch.ones(200, 1, side, side)
    centre = torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    gone = (cut_out(x, centre) == 0).flatten(1).sum(1)
    inside = ((centre >= 0.25) & (centre <= 0.75)).all(1)
    assert int(inside.sum()) > 20
    assert set(gone[inside].tolist()) == {(side // 2) ** 2}
    assert int(gone.max()) == (side // 2) ** 2
    assert int(gone.min()) >= (side // 4) ** 2
    assert int((gone < (side // 2) ** 2).sum()) > 60


@pytest.mark.parametrize("side", [8, 32])
def test_cutout_in_an_epoch(side: int) -> None:
    """crop-flip-cutout is crop-flip with a zeroed square per image, new in every epoch."""
    split = _split(40, side)
    squares = []
    for epoch in range(2):
        cut, labels, index = _epoch(
            DeviceLoader(split, 16, seed=3, augment="crop-flip-cutout"), epoch
        )
        whole, same, order = _epoch(DeviceLoader(split, 16, seed=3, augment="crop-flip"), epoch)
        assert torch.equal(index, order)
        assert torch.equal(labels, same)
        changed = (cut != whole).any(1)
        assert bool((cut.movedim(1, -1)[changed] == 0).all())
        gone = [(mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]) for mask in changed]
        assert max(len(places) for pair in gone for places in pair) == side // 2
        assert sum(len(rows) > 0 for rows, _ in gone) > 35  # but where only padding was cut
        squares.append(changed[index.argsort()])
    assert not torch.equal(*squares)
    again = _epoch(DeviceLoader(split, 7, seed=3, augment="crop-flip-cutout"), 1)[0]
    assert torch.equal(again, cut)


def test_wrong_arguments() -> None:
    """Arguments that give no batch at all, or make no sense, are UserErrors."""
    vectors = Split(
        torch.rand(4, 3), torch.zeros(4).long(), torch.arange(4), ("a", "b"), "vectors", "train"
    )
    for split, arguments in (
        (_split(8).take(torch.arange(0)), {"batch_size": 16}),
        (_split(8), {"batch_size": 0}),
        (_split(8), {"batch_size": 4, "augment": "mixup"}),
        (vectors, {"batch_size": 2, "augment": "crop"}),
    ):
        with pytest.raises(UserError):
            DeviceLoader(split, seed=0, **arguments)
    assert _epoch(DeviceLoader(vectors, 2, seed=0), 0)[0].shape == (4, 3)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(20, 120), fraction=st.floats(0.05, 0.6), seed=st.integers(0, 99))
def test_validation_is_a_stratified_partition(count: int, fraction: float, seed: int) -> None:
    """Train and validation partition the split, stratified to within one sample, by the seed."""
    split = _split(count)
    train, validation = split_validation(split, fraction, seed)
    assert torch.equal(torch.cat([train.ids, validation.ids]).sort().values, split.ids)
    assert torch.equal(train.ids, train.ids.sort().values)
    have, gave = (torch.bincount(part.labels, minlength=5) for part in (split, validation))
    assert bool(((gave - have * fraction).abs() < 1 + 1e-6).all() | (have <= 1).any())
    assert bool((gave <= (have - 1).clamp(min=0)).all())
    assert torch.equal(validation.ids, split_validation(split, fraction, seed)[1].ids)


def test_validation_edges() -> None:
    """Fraction 0 leaves all for training; invalid fractions and the test split are refused."""
    split = _split()
    train, validation = split_validation(split, 0, 0)
    assert len(validation) == 0
    assert torch.equal(train.ids, split.ids)
    assert validation.split == "validation"
    assert not torch.equal(
        split_validation(split, 0.2, 0)[1].ids, split_validation(split, 0.2, 1)[1].ids
    )
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="fraction"):
            split_validation(split, fraction, 0)
    test = Split(split.images, split.labels, split.ids, split.classes, "random", "test")
    with pytest.raises(UserError, match="never from the test split"):
        split_validation(test, 0.2, 0)
