"""The form of inputs a model expects is found, and none where they fit or nothing is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robbench.metrics.input_form import USUAL, BetterForm, Form, better_form

N, CLASSES = 64, 4


@pytest.fixture(scope="module")
def colours() -> tuple[Tensor, Tensor]:
    """Colour images [64,3,4,4] in [0,1] with labels in turn."""
    x = torch.rand(N, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(N) % CLASSES


def expecting(
    form: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, known: int = N
) -> Callable[[Tensor], Tensor]:
    """A model that knows some images in one form, and says 0 to whatever is not near to one."""
    seen = form(x[:known]).flatten(1)

    def predict(z: Tensor) -> Tensor:
        distance, nearest = torch.cdist(z.reshape(len(z), -1), seen).min(1)
        return y[nearest].where(distance < 0.05 * seen.norm(dim=1)[nearest], 0)

    return predict


def found(
    form: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, front: object = None
) -> BetterForm | None:
    predict = expecting(form, x, y)
    return better_form(predict, x, y, predict(x) == y, front=front)  # type: ignore[arg-type]


def statistics(name: str) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in USUAL[3][name])
    return mean, std


def test_0_to_255(colours: tuple[Tensor, Tensor]) -> None:
    """A model of values from 0 to 255: right on all samples in that form."""
    better = found(lambda x: 255 * x, *colours)
    assert better is not None
    assert (better.form.name, better.form.order, better.after) == ("0..255", "RGB", N)
    assert better.p < 1e-3


@pytest.mark.parametrize("name", USUAL[3])
def test_usual_statistics(name: str, colours: tuple[Tensor, Tensor]) -> None:
    """A model of inputs normalised as usual: by its mean and deviation."""
    mean, std = statistics(name)
    better = found(lambda x: (x - mean) / std, *colours)
    assert better is not None
    assert (better.form.name, better.form.order, better.after) == (name, "RGB", N)


def test_the_datas_own_statistics(colours: tuple[Tensor, Tensor]) -> None:
    """Mean and deviation that no list has: those of the samples."""
    x, y = colours[0] / 20, colours[1]
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), correction=0, keepdim=True)
    better = found(lambda x: (x - mean) / std, x, y)
    assert better is not None
    assert better.form.name == "the data"
    assert better.form.mean == pytest.approx(mean.flatten().tolist())
    assert better.form.std == pytest.approx(std.flatten().tolist())


def test_order_of_channels(colours: tuple[Tensor, Tensor]) -> None:
    """BGR alone, and BGR of values from 0 to 255, as Caffe's models have it."""
    alone = found(lambda x: x.flip(1), *colours)
    both = found(lambda x: 255 * x.flip(1), *colours)
    assert alone is not None
    assert both is not None
    assert alone.form == Form("as given", order="BGR")
    assert (both.form.name, both.form.order, both.after) == ("0..255", "BGR", N)


def test_channels_last(colours: tuple[Tensor, Tensor]) -> None:
    """A model that flattens images with their channels last."""
    better = found(lambda x: x.movedim(1, -1), *colours)
    assert better is not None
    assert better.form == Form("as given", order="NHWC")


def test_instead_of_a_normalisation_in_front(colours: tuple[Tensor, Tensor]) -> None:
    """What is normalised twice, or by other numbers: forms come instead of what is in front."""
    x, y = colours
    mean, std = statistics("ImageNet")
    front = USUAL[3]["ImageNet"]
    inner = expecting(lambda x: x, x, y)

    def outer(z: Tensor) -> Tensor:
        return inner((z - mean) / std)

    better = better_form(outer, x, y, outer(x) == y, front=front)
    assert better is not None
    assert (better.form.name, better.after) == ("0..1", N)
    other = expecting(lambda x: 255 * x, x, y)
    better = better_form(
        lambda z: other((z - mean) / std), x, y, torch.zeros(N, dtype=torch.bool), front=front
    )
    assert better is not None
    assert (better.form.name, better.after) == ("0..255", N)


def test_a_good_model(colours: tuple[Tensor, Tensor]) -> None:
    """Nothing is asked of a model that is right nearly always."""

    def never(z: Tensor) -> Tensor:
        raise AssertionError("asked")

    x, y = colours
    right = torch.arange(N) >= 3  # 3 of 64 are less than 5 %
    assert better_form(never, x, y, right) is None


def test_a_model_that_is_weak_in_its_own_form(colours: tuple[Tensor, Tensor]) -> None:
    """Right on five of eight samples as they are, it seems to expect no other form."""
    x, y = colours
    predict = expecting(lambda x: x, x, y, known=N // 2)
    right = predict(x) == y
    assert int(right.sum()) == N // 2 + N // 2 // CLASSES
    assert better_form(predict, x, y, right) is None


@pytest.mark.parametrize("seed", range(20))
def test_random_weights(seed: int) -> None:
    """Random weights are right more often in some form by luck, which says nothing."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(128) % 2
    x = (torch.rand(128, 1, 4, 4, generator=generator) + y[:, None, None, None]) / 2
    weights = torch.randn(16, 2, generator=generator)

    def predict(z: Tensor) -> Tensor:
        return (z.flatten(1) @ weights + torch.randn(2, generator=generator)).argmax(1)

    first = predict(x)
    better = better_form(predict, x, y, first == y)
    assert better is None or better.after > 0.55 * 128  # far above chance, or nothing


def test_forms_that_fit_nearly_as_well(colours: tuple[Tensor, Tensor]) -> None:
    """They are named beside the best, with how often the model is right in them."""
    x, y = colours
    mean, std = statistics("ImageNet")
    known = expecting(lambda x: (x - mean) / std, x, y)
    loose = expecting(lambda x: 2 * x - 1, x, y)

    def predict(z: Tensor) -> Tensor:
        return torch.where(torch.arange(N) < 2, known(z), torch.maximum(known(z), loose(z)))

    better = better_form(predict, x, y, predict(x) == y)
    assert better is not None
    assert (better.form.name, better.after) == ("ImageNet", N)
    assert [(form.name, count) for form, count in better.others] == [("-1..1", N - 1)]


def test_what_a_model_does_not_take_is_no_form(colours: tuple[Tensor, Tensor]) -> None:
    """A model that takes its channels first only: other orders raise, and count as wrong."""
    x, y = colours
    inner = expecting(lambda x: 255 * x, x, y)

    def predict(z: Tensor) -> Tensor:
        if z.shape[1] != 3:
            raise RuntimeError("expected 3 channels")
        return inner(z)

    better = better_form(predict, x, y, predict(x) == y)
    assert better is not None
    assert better.form.name == "0..255"
