"""A model of another source: its normalisation goes inside, its weights may come from elsewhere."""

import dataclasses
from typing import ClassVar

import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.core.spec import Spec, build, options_of, parse_spec
from robbench.data.base import DataInfo
from robbench.models.base import Loading
from robbench.models.sources.base import Loaded, Source

INFO = DataInfo((3, 4, 4), ("a", "b"), (0.5,) * 3, (0.25,) * 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Source):
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


@pytest.mark.parametrize(
    "text",
    ["linear", "linear:mean=(0.1,0.2,0.3),std=(1,1,1)", "linear:mean=0.5,std=0.5,outputs=(1,0)"],
)
def test_a_spec_with_every_option_builds_the_same_again(text):
    first = build(Linear, parse_spec(text))
    options = {name: value for name, value in options_of(first).items() if name != "file"}
    assert build(Linear, parse_spec(str(Spec("linear", None, options)))) == first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Larger(Source):
    """A model of images of 8x8; `strict` ones take no others."""

    strict: bool = False

    def load(self, loading: Loading) -> Loaded:
        head = nn.Linear(192, 2) if self.strict else nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 2))
        first = nn.Identity() if self.strict else nn.AdaptiveAvgPool3d(1)
        module = nn.Sequential(first, nn.Flatten(), head)
        return Loaded(module, size=(8, 8), prepared="resize=9,crop=8")


def test_another_size_of_images_is_noted_or_refused_with_the_data_option():
    x = torch.rand(2, 3, 4, 4)
    words = "the model was made for 8x8 images, as --data folder:DIR,resize=9,crop=8 makes them"
    model = Larger().build(INFO)
    model.fit_interface(x)
    assert words in model.notes
    with pytest.raises(
        UserError, match=r"cannot process images of shape \(3, 4, 4\) .*made for 8x8"
    ):
        Larger(strict=True).build(INFO).fit_interface(x)
    assert Larger().build(dataclasses.replace(INFO, shape=(3, 8, 8))).notes == []


def test_a_size_that_no_data_option_makes_says_so(monkeypatch):
    loaded = Loaded(nn.Identity(), size=(8, 6))
    monkeypatch.setattr(Larger, "load", lambda *_: loaded)
    (note,) = Larger().build(INFO).notes
    assert note == (
        "the model was made for 8x6 images; no options of --data folder: are known to prepare them "
        "as its source does"
    )


def test_the_label_has_no_places(tmp_path):
    file = tmp_path / "w.pt"
    file.touch()
    spec = f"linear:file={file},outputs=0-1"
    assert build(Linear, parse_spec(spec)).label(spec) == "linear:file=w.pt,outputs=0-1"
    assert Linear(file="org/repo").label("linear:file=org/repo") == "linear:file=org/repo"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named(Source):
    """A model of four outputs that knows their classes."""

    def load(self, loading: Loading) -> Loaded:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
        return Loaded(module, labels=("n01440764 tench, Tinca tinca", "Goldfish", "crane", "crane"))


@pytest.mark.parametrize(
    ("classes", "options", "outputs"),
    [
        (("goldfish", "tench"), {}, [1, 0]),
        (("n01440764", "goldfish"), {"outside": "wrong"}, [0, 1, 2, 3]),
        (("a", "b"), {"outputs": "2,1"}, [2, 1]),
        (("a", "b"), {"classes": "x,b,a,y"}, [2, 1]),
        (("0", "1", "2", "3"), {}, [0, 1, 2, 3]),
    ],
)
def test_classes_are_found_among_those_that_the_source_knows(classes, options, outputs):
    """Options come before what the source says; classes that are only numbered keep their order."""
    info = dataclasses.replace(INFO, classes=classes)
    model = Named(**options).build(info).eval()
    x = torch.rand(5, 3, 4, 4)
    model.fit_interface(x[:2])
    assert torch.equal(model(x), Named().load(Loading(info)).module(x)[:, outputs])


def test_classes_that_the_source_does_not_know_are_listed():
    model = Named().build(dataclasses.replace(INFO, classes=("tench", "dog", "crane"))).eval()
    with pytest.raises(UserError, match=r"no output is dog; several outputs are crane \(outputs"):
        model.fit_interface(torch.rand(2, 3, 4, 4))
