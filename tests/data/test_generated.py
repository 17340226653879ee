"""Generated data in training batches: shares, order, which samples, what does not fit."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robbench.core.errors import UserError
from robbench.data.base import Split, Units
from robbench.data.generated import MixedLoader, fitting
from robbench.data.loader import DeviceLoader
from robbench.data.stream import Decoder, StreamedImages

NAMES = ("cat", "dog", "cow")


def _split(count: int, first: int = 0, classes: tuple[str, ...] = NAMES, side: int = 6) -> Split:
    """Images that say which sample they are: every pixel is its number."""
    numbers = torch.arange(first, first + count)
    images = (numbers[:, None, None, None] % 256).byte().expand(count, 1, side, side).contiguous()
    return Split(images, numbers % len(classes), numbers, classes, f"from{first}", "train")


def _loader(real: int = 30, made: int = 100, size: int = 10, **changes: object) -> MixedLoader:
    options: dict[str, object] = {"ratio": 0.7, "seed": 1, **changes}
    return MixedLoader(_split(real), _split(made, 100), size, **options)  # type: ignore[arg-type]


def _epoch(loader: MixedLoader, epoch: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    return list(loader.epoch(epoch))


@settings(max_examples=40, deadline=None)
@given(
    real=st.integers(1, 60),
    made=st.integers(20, 90),
    size=st.integers(2, 20),
    ratio=st.floats(0.05, 0.95),
    epoch=st.integers(0, 50),
)
def test_an_epoch_is_one_pass_over_the_real_data(
    real: int, made: int, size: int, ratio: float, epoch: int
) -> None:
    """Each real sample once; of each full batch the ratio is generated, and none of them twice."""
    share = round(size * ratio)
    if not 0 < share < size:
        with pytest.raises(UserError, match=r"without a (generated|real) sample"):
            _loader(real, made, size, ratio=ratio)
        return
    loader = _loader(real, made, size, ratio=ratio)
    batches, seen, total = _epoch(loader, epoch), list[int](), 0
    for n, (x, y, index) in enumerate(batches):
        own, drawn = index[index < real], index[index >= real]
        seen += own.tolist()
        total += len(index)
        assert len(set(drawn.tolist())) == len(drawn) > 0
        number = torch.where(index < real, index, 100 + index - real)
        assert torch.equal(y, number % 3)
        assert torch.equal(x, (number % 256).float()[:, None, None, None].expand_as(x) / 255)
        if n < len(batches) - 1:
            assert (len(own), len(drawn)) == (size - share, share)
        else:
            assert len(drawn) <= min(share, math.ceil(len(own) * share / (size - share)))
    assert sorted(seen) == list(range(real))
    assert loader.samples == total
    assert abs(total - real / (1 - share / size)) <= size


def test_generated_samples_are_used_equally_often() -> None:
    """Over many epochs no sample is drawn twice more often than another, and epochs differ."""
    loader = _loader(30, 45, 10)
    counts = np.zeros(45, int)
    orders = []
    for epoch in range(9):
        index = torch.cat([batch[2] for batch in loader.epoch(epoch)])
        drawn = index[index >= 30] - 30
        orders.append(tuple(drawn.tolist()))
        np.add.at(counts, drawn.numpy(), 1)
    assert counts.sum() == 9 * 70
    assert len(set(orders)) == 9
    # 42 of 45 of a permutation are used, and 15 permutations are.
    assert counts.max() <= 15
    assert counts.min() >= 10


def test_real_and_generated_rows_are_mixed() -> None:
    """Either half of the batches, as two processes would take it, has both kinds."""
    for _, _, index in _loader(60, 100, 20, ratio=0.5).epoch(0):
        for half in (index[:10], index[10:]):
            assert 0 < int((half < 60).sum()) < 10


@pytest.mark.parametrize("augment", ["none", "crop-flip-cutout", "idbh-weak"])
def test_batches_are_a_function_of_seed_and_epoch(augment: str) -> None:
    """Another loader gives the same bits, whatever happened before; another seed or epoch others.

    The real samples come as they do without generated ones.
    """
    first = _epoch(_loader(augment=augment), 4)
    torch.rand(100)
    again = _epoch(_loader(augment=augment), 4)
    for batch, other in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))
    for changed in (
        _epoch(_loader(augment=augment), 5),
        _epoch(_loader(augment=augment, seed=2), 4),
    ):
        assert not torch.equal(first[0][2], changed[0][2])
    alone = DeviceLoader(_split(30), 3, seed=1, augment=augment).epoch(4)
    for (x, _, index), (own_x, _, own_index) in zip(first, alone, strict=True):
        places = [index.tolist().index(n) for n in own_index.tolist()]
        assert torch.equal(x[places], own_x)


def test_streamed_samples_are_decoded_as_they_are_asked_for() -> None:
    """The batches of streamed generated images are those of images in memory."""
    made = _split(100, 100)
    images = made.images
    assert isinstance(images, Tensor)
    asked: list[int] = []

    def decode(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        return images[torch.from_numpy(rows)].numpy()

    streamed = StreamedImages(Decoder(decode, (1, 6, 6), np.uint8, 0), np.arange(100))
    lazy = dataclasses.replace(made, images=streamed)
    loader = MixedLoader(_split(9), lazy, 10, ratio=0.7, seed=1, augment="crop-flip")
    usual = _loader(9, 100, augment="crop-flip")
    for batch, other in zip(loader.epoch(0), usual.epoch(0), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))
    assert len(set(asked)) < 100


def test_too_few_generated_samples_are_refused() -> None:
    """A batch would hold one twice."""
    with pytest.raises(UserError, match="has 6 samples, and a batch takes 7 of them"):
        _loader(made=6)
    assert len(_epoch(_loader(made=7), 0)) == 10


def test_what_fits() -> None:
    """The same classes, or as many numbers, which a note says; the rest is as it was."""
    data, none = _split(30), _split(0)
    assert fitting(_split(40, 100), data, none).notes == ()
    numbered = fitting(_split(40, 100, ("0", "1", "2")), data, none)
    assert numbered.classes == NAMES
    assert numbered.notes == (
        "generated data from100: its classes are numbers, taken for the classes of from0 in their "
        "order",
    )


@pytest.mark.parametrize(
    ("generated", "message"),
    [
        (_split(40, 100, ("dog", "cat", "cow")), "their order is not; name the same classes"),
        (_split(40, 100, ("0", "1", "2", "3")), "has 4 classes, from0 3"),
        (_split(40, 100, side=7), r"shape \(1, 7, 7\), from0 of \(1, 6, 6\)"),
        (dataclasses.replace(_split(40, 100), units=Units((0.0,), (1.0,))), "a table is scaled"),
        (_split(40, 85), "5 of the 10 samples kept for validation are also in generated data"),
    ],
)
def test_what_does_not_fit(generated: Split, message: str) -> None:
    """Other classes or shapes, tables, and samples that validation would be told beforehand."""
    with pytest.raises(UserError, match=message):
        fitting(generated, _split(30), _split(10, 80))


def test_numbers_that_are_names_are_compared_as_names() -> None:
    """Of digits[3,8] a class 0 is neither."""
    with pytest.raises(UserError, match=r"name the same classes of both, as in SPEC\[A,B\]$"):
        fitting(_split(40, 100, ("0", "1")), _split(30, classes=("3", "8")), _split(0))


@pytest.mark.parametrize("names", [NAMES, ("0", "1", "2")])
def test_labels_without_the_last_class_fit(names: tuple[str, ...]) -> None:
    """Without names they count up to the largest one, and mean the classes in their order."""
    made = fitting(_split(40, 100, ("0", "1")), _split(30, classes=names), _split(0))
    assert made.classes == names
    assert made.labels.tolist() == [number % 2 for number in range(100, 140)]
    assert "taken for the classes of from0 in their order" in made.notes[-1]
