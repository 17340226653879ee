"""A model of another source: its normalisation goes inside, its weights may come from elsewhere."""

import dataclasses
from typing import ClassVar

import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.foreign import Foreign, Loaded, Loading

INFO = DataInfo((3, 4, 4), ("a", "b"), (0.5,) * 3, (0.25,) * 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Foreign):
    """A linear model that expects normalised inputs."""

    places: ClassVar[tuple[str, ...]] = ("file",)
    file: str = ""

    def load(self, loading: Loading) -> Loaded:
        torch.manual_seed(0 if loading.weights else 1)
        module = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
        return Loaded(module, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


def expected(x: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    module = Linear().load(Loading(INFO)).module
    channels = [(x[:, c] - mean[c]) / std[c] for c in range(3)]
    return module(torch.stack(channels, 1))


def test_the_normalisation_of_the_source_goes_in_front():
    model = Linear().build(INFO)
    x = torch.rand(5, 3, 4, 4)
    torch.testing.assert_close(model(x), expected(x, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))


def test_mean_and_std_that_are_given_replace_it():
    model = Linear(mean=(0.0, 0.5, 1.0), std=(1.0, 2.0, 3.0)).build(INFO)
    x = torch.rand(5, 3, 4, 4)
    torch.testing.assert_close(model(x), expected(x, [0.0, 0.5, 1.0], [1.0, 2.0, 3.0]))


def test_without_weights_only_the_architecture_is_built():
    with_, without = (Linear().build_from(Loading(INFO, weights=w)) for w in (True, False))
    assert with_.state_dict().keys() == without.state_dict().keys()
    assert not torch.equal(with_(torch.ones(1, 3, 4, 4)), without(torch.ones(1, 3, 4, 4)))


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        ((0.5,), (), "together"),
        ((0.5,), (0.0,), "above 0"),
        ((0.5, 0.5), (1.0, 1.0), "2 numbers, the data have 3 channels"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(mean, std, words):
    with pytest.raises(UserError, match=words):
        Linear(mean=mean, std=std).build(INFO)
