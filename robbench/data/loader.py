"""Training batches from a split on the device: no workers, no per-image Python."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor

from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.data.idbh import ERASED, idbh

AUGMENTATIONS = ("none", "crop", "flip", "crop-flip", "crop-flip-cutout", *ERASED)


class DeviceLoader:
    """Shuffled, augmented batches of a split, on the device where its tensors are.

    `augment` is one of none, crop (a random shift within zero padding of 4 pixels, 2 where the
    shorter side is under 20), flip (horizontal, every second image on average), crop-flip (the
    usual CIFAR recipe) and crop-flip-cutout (a zero square of half the shorter side besides, also
    over the border: DeVries and Taylor 2017, arXiv:1708.04552), idbh-weak and idbh-strong
    (`idbh.py`). Order and augmentation are functions of (seed, epoch) and of the sample's position,
    in idbh its id: a resumed run, another batch size or another device sees the same images. A lone
    last sample joins the batch before it. Raises UserError when an argument does not fit the split.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int,
        augment: str = "none",
    ) -> None:
        if augment not in AUGMENTATIONS:
            raise UserError(f"unknown augmentation '{augment}'; use {', '.join(AUGMENTATIONS)}")
        if augment != "none" and split.images.ndim != 4:
            raise UserError(
                f"augmentation '{augment}' needs images; {split.name} has shape "
                f"{tuple(split.images.shape[1:])}"
            )
        if augment in ERASED and split.images.shape[1] not in (1, 3):
            raise UserError(
                f"augmentation '{augment}' needs grey or RGB images; those of {split.name} have "
                f"{split.images.shape[1]} channels"
            )
        if batch_size < 1:
            raise UserError(f"batch size {batch_size} should be at least 1")
        if not len(split):
            raise UserError(f"{split.name} has no samples")
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.sizes())

    @property
    def samples(self) -> int:
        """Of an epoch."""
        return len(self.split)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The batches of one epoch: x float32 [B,C,H,W] in [0,1], y int64 [B], index int64 [B].

        `index` is the position in the split.
        """
        generator, sizes = seeded_generator(self.seed, "epoch", epoch), self.sizes()
        order = torch.randperm(len(self.split), generator=generator).to(self.split.images.device)
        yield from self.batches(torch.split(order, sizes), epoch, generator)

    def batches(
        self, positions: Sequence[Tensor], epoch: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The samples at some positions, each [n], augmented as in this epoch.

        `generator` decides shifts, flips and cutouts.
        """
        split = self.split
        count, device, padding = len(split), split.images.device, self._padding()
        # Drawn for every sample whatever the augmentation, so that shuffling does not depend on it.
        shift = torch.randint(2 * padding + 1, (count, 2), generator=generator).to(device)
        flip = (torch.rand(count, generator=generator) < 0.5).to(device) & ("flip" in self.augment)
        centre = torch.rand(count, 2, generator=generator).to(device)
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        for index, following in zip_longest(positions, positions[1:], fillvalue=nothing):
            if self.augment == "none":
                x = split.pixels(index)
            elif self.augment in ERASED:
                key = keyed.fold(keyed.fold(split.ids[index], self.seed), epoch)
                x = idbh(split.pixels(index), key, ERASED[self.augment])
            else:
                moved = crop_and_flip(split.images[index], shift[index], flip[index], padding)
                x = moved if moved.is_floating_point() else moved.to(torch.float32) / split.scale
                if "cutout" in self.augment:
                    x = cut_out(x, centre[index])
            split.ahead(following)
            yield x, split.labels[index], index

    def sizes(self) -> list[int]:
        """Samples of each batch of an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        sizes = [self.batch_size] * full + [rest] * (rest > 0)
        # Batch-norm cannot train on a lone sample.
        if len(sizes) > 1 and sizes[-1] == 1 < self.batch_size:
            sizes[-2:] = [sizes[-2] + 1]
        return sizes

    def _padding(self) -> int:
        if "crop" not in self.augment:
            return 0
        return 4 if min(self.split.images.shape[-2:]) >= 20 else 2


def crop_and_flip(images: Tensor, shift: Tensor, flip: Tensor, padding: int) -> Tensor:
    """Zero-pad images [B,C,H,W], cut the window at `shift` [B,2], mirror it where `flip` [B].

    shift: row and column of the corner.
    """
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding, padding, padding, padding))
    columns = torch.arange(width, device=images.device).expand(batch, width)
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + shift[:, 1:]
    rows = torch.arange(height, device=images.device) + shift[:, :1]
    sample = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def cut_out(x: Tensor, centre: Tensor) -> Tensor:
    """Zero a square of half the shorter side around `centre` in images [B,C,H,W].

    centre [B,2]: row and column, as shares of the sides.
    """
    height, width = x.shape[-2:]
    half = min(height, width) / 4
    rows = (torch.arange(height, device=x.device) + 0.5 - centre[:, :1] * height).abs() < half
    columns = (torch.arange(width, device=x.device) + 0.5 - centre[:, 1:] * width).abs() < half
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def split_validation(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """(train, validation): a seeded share of every class goes to validation; order is kept.

    `fraction` in [0,1); 0 gives an empty validation split, anything else at least one sample. No
    class loses its last training sample. Raises UserError for another fraction, a split that is too
    small, or the test split.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"validation fraction {fraction:g} should be at least 0 and below 1")
    if fraction > 0 and split.split == "test":
        raise UserError(
            "a validation set is taken from the training data, never from the test split"
        )
    labels = split.labels.cpu()
    counts = torch.bincount(labels, minlength=len(split.classes))
    quota = _shares(counts, fraction)
    if fraction > 0 and not quota.any():
        raise UserError(
            f"{split.name} has {len(split)} samples in {int((counts > 0).sum())} classes, too "
            "few for validation"
        )
    shuffled = torch.randperm(len(labels), generator=seeded_generator(seed, "validation", 0))
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, wanted in enumerate(quota.tolist()):
        held_out[shuffled[labels[shuffled] == label][:wanted]] = True
    train, validation = (
        mask.nonzero()[:, 0].to(split.images.device) for mask in (~held_out, held_out)
    )
    return split.take(train), dataclasses.replace(split.take(validation), split="validation")


def seeded_generator(seed: int, purpose: str, number: int) -> torch.Generator:
    """A CPU generator for one purpose: equal arguments give equal numbers, others do not."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{number}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def _shares(counts: Tensor, fraction: float) -> Tensor:
    # Largest remainders: the parts sum to the rounded whole, and each is within one of its exact
    # share.
    exact = counts.to(torch.float64) * fraction
    quota = exact.floor().long()
    total = max(1, round(float(exact.sum()))) if fraction > 0 else 0
    most_missing = torch.argsort(exact - quota, descending=True, stable=True)
    quota[most_missing[: total - int(quota.sum())]] += 1
    return quota.clamp(max=(counts - 1).clamp(min=0))
