"""Samples in memory: every form gives the same split; no images or labels are refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from robbench.core.errors import UserError
from robbench.data.images import decode_image
from robbench.data.load import load
from robbench.data.memory import read_samples

X = torch.linspace(0, 1, 5 * 3 * 4 * 4).reshape(5, 3, 4, 4)
Y = torch.tensor([0, 1, 2, 1, 0])
NAMES = ("a", "b", "c")


class Pictures(Dataset):
    """Images of PIL with class names, as torchvision's data sets give them."""

    classes = ["a", "b", "c"]

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return Image.fromarray(self.images[i].transpose(1, 2, 0)), int(Y[i])


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        (X.double(), Y.int()),
        (X.numpy(), Y.numpy()),
        (X.tolist(), Y.tolist()),
        (TensorDataset(X, Y),),
        (DataLoader(TensorDataset(X, Y), batch_size=2),),
        (DataLoader(TensorDataset(X, Y), batch_size=None),),
    ],
    ids=["tensors", "double", "arrays", "lists", "dataset", "loader", "loader-of-single-images"],
)
def test_every_form_gives_the_same_samples(given):
    """Ids, images and labels do not depend on what held them."""
    plain, found = read_samples(X, Y).split(NAMES), read_samples(*given).split(NAMES)
    assert torch.equal(found.ids, plain.ids)
    assert torch.equal(found.pixels(slice(None)), X)
    assert torch.equal(found.labels, Y)


@pytest.mark.parametrize("shuffle", [False, True])
def test_random_numbers_are_left_as_they_were(shuffle):
    """A DataLoader draws a seed for its workers, and its order."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    read_samples(DataLoader(TensorDataset(X, Y), 2, shuffle=shuffle))
    assert torch.equal(torch.get_rng_state(), before)


def test_bytes_stay_bytes_and_pictures_bring_their_class_names():
    """uint8 is 0 to 255; a Dataset of pictures has channels last and names its classes."""
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 7), dtype=np.uint8)
    plain = read_samples(images, Y).split(NAMES)
    assert plain.images.dtype == torch.uint8
    assert float(plain.pixels(slice(None)).max()) <= 1
    found = read_samples(Subset(Pictures(images), range(5)))
    assert found.classes == NAMES
    assert torch.equal(found.split(NAMES).ids, plain.ids)


def test_what_other_tools_give_is_put_in_order():
    """Channels last, grey images without channels, bytes as other numbers: the same samples."""
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 7), dtype=np.uint8)
    grey = images[:, :1]
    for given, same, note in (
        (images.transpose(0, 2, 3, 1), images, "channels last"),
        (grey[:, 0], grey, "taken as grey"),
        (images.astype(np.int64), images, "255 is taken as white"),
        (images.astype(np.float32), images, "255 is taken as white"),
    ):
        found, plain = (read_samples(each, Y).split(NAMES) for each in (given, same))
        assert torch.equal(found.ids, plain.ids)
        assert torch.equal(found.images, plain.images)
        assert [note in text for text in found.notes] == [True]
        assert plain.notes == ()


def test_black_and_white_images_are_read_as_those_of_files_are(tmp_path):
    """Which value is white is certain or refused alike, in memory and in an .npz file."""
    black_white = X > 0.5
    for images in (
        black_white,
        black_white.float(),
        black_white.byte(),
        black_white.byte() * 255,
        black_white.byte() * 0,
        black_white.byte() * 0 + 2,
    ):
        np.savez(tmp_path / "a.npz", x=images.numpy(), y=Y.numpy())
        try:
            stored = load(f"npz:{tmp_path}/a.npz,layout=nchw", "test")
        except UserError as error:
            with pytest.raises(UserError) as caught:
                read_samples(images, Y)
            words = str(error).partition(" split: ")[2].partition(", such as")[0]
            assert words.endswith("say which is white (or the largest)")
            assert words in str(caught.value)
        else:
            found = read_samples(images, Y).split(NAMES)
            assert torch.equal(found.pixels(slice(None)), stored.pixels(slice(None)))


@pytest.mark.parametrize("mode", ["1", "P", "L", "LA", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_are_read_as_those_of_files_are(tmp_path, mode):
    """Palettes by their colours, transparency on white, never more than three channels."""
    wide = np.arange(0, 48 * 256, 256, dtype=np.uint16).reshape(6, 8)
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
    if mode == "LA":
        picture = colours.convert("L").convert(mode)
    else:
        picture = Image.fromarray(wide) if mode == "I;16" else colours.convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray(np.full((6, 8), 100, np.uint8)))
    path = tmp_path / ("x.tiff" if mode == "CMYK" else "x.png")
    picture.save(path)
    found = read_samples(ListDataset([(picture, 0)])).images[0]
    assert np.array_equal(found, decode_image(path, "x"))
    assert len(found) in (1, 3)


class ListDataset(Dataset):
    """Pairs at hand."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        return self.pairs[i]


def test_labels_may_be_read_only():
    """As those of pandas are; the samples' own can be written."""
    labels = Y.numpy().copy()
    labels.flags.writeable = False
    found = read_samples(X, labels).split(NAMES).labels
    found[0] = 2
    assert labels[0] == 0


def test_a_limit_takes_the_first_or_some_of_every_class():
    """As --limit does."""
    assert len(read_samples(X, Y).split(NAMES, limit=2)) == 2
    assert read_samples(X, Y).split(NAMES, limit="stratified=3").labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (X * 255, Y, "range from 0 to 255"),
        (X - 0.5, Y, "range from -0.5"),
        (X.flatten(1) * 9, Y, "features range from 0 to 9; should be in [0,1]: scale each"),
        (X / 0, Y, "NaN or infinity"),
        ((X * 16).int(), Y, "int32 from 0 to 16: say which is white"),
        ((X > 0.5).byte(), Y, "uint8 from 0 to 1: say which is white (or the largest), as images"),
        ((X * 0).byte(), Y, "uint8 from 0 to 0: say which is white"),
        (X.numpy() * 1j, Y, "should be numbers"),
        (X[0], Y[:1], "of one image give images[None]"),
        (X, Y[:4], "5 images and 4 labels"),
        (X, None, "labels are missing"),
        (X, Y.float(), "one whole number a sample"),
        (X, torch.eye(5), "one-hot labels need argmax"),
        (X, Y + 1, "label 3 of row 2 is out of range"),
        (X[:0], Y[:0], "no samples"),
        ([[1, 2], [3]], [0, 1], "one array"),
        (TensorDataset(X, Y), Y, "leave out labels"),
        (TensorDataset(X), None, "no pair"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(images, labels, text):
    """The message says what was found and what to give."""
    with pytest.raises(UserError) as caught:
        read_samples(images, labels).split(NAMES)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "text"), [(Y + 10**12, "is no class number"), (Y * 1.0, "not float32")]
)
def test_no_more_classes_are_counted_than_there_can_be(labels, text):
    """A huge label is refused before names are made for all below it."""
    assert read_samples(X, Y).count() == 3
    with pytest.raises(UserError, match=text):
        read_samples(X, labels).count()
