"""Models of a library by name: which of a subclass' three answers is asked for, and files."""

import dataclasses

import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.base import Loading
from robbench.models.sources.base import Loaded
from robbench.models.sources.named import Named, last_layer, outputs_in

INFO = DataInfo((3, 8, 8), ("a", "b"), mean=(0.5,) * 3, std=(0.5,) * 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Library(Named):
    """A library of one model, whose answers are constants."""

    package = "json"

    def require_known(self, library):
        if self.name != "net":
            raise UserError(f"no {self.name} in {library.__name__}")

    def random(self, library, loading):
        return Loaded(nn.Identity(), notes=("random",))

    def with_weights(self, library, loading):
        return Loaded(nn.Identity(), notes=("weights",))


@pytest.mark.parametrize(
    ("pretrained", "weights", "expected"),
    [(True, True, "weights"), (True, False, "random"), (False, True, "random")],
)
def test_weights_are_loaded_where_the_user_and_the_command_want_them(pretrained, weights, expected):
    loaded = Library(name="net", pretrained=pretrained).load(Loading(INFO, weights=weights))
    assert loaded.notes == (expected,)


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "torchvision:resnet18"])
def test_weights_that_random_ones_would_leave_unread_are_refused(name):
    with pytest.raises(UserError, match="pretrained=false reads no weights"):
        MODELS.build(f"{name},weights=w.pt,pretrained=false")


def test_names_and_data_are_checked_first():
    with pytest.raises(UserError, match=r"^no other in json$"):
        Library(name="other").load(Loading(INFO))
    with pytest.raises(UserError, match=r"json:net needs images \(C,H,W\)"):
        Library(name="net").load(Loading(dataclasses.replace(INFO, shape=(13,))))


def test_missing_weights_name_their_places():
    error = Library(name="net").no_weights
    assert "json:net: its weights are not in A and B: add --download, give" in str(error("AB"))
    assert "json:net has no weights in the library: give weights=FILE" in str(error(""))


def test_the_outputs_of_a_file_are_those_of_the_last_layer(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 7), nn.ReLU())
    name, layer = last_layer(model)
    assert layer is model[2]
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
    assert outputs_in(tmp_path / "w.pth", name) == 7
    assert outputs_in(tmp_path / "w.pth", "head") is None
