"""robbench.inspect: what the command finds, of a model in memory or by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robbench
from robbench.api.inspection import Inspection

Digits = tuple[Tensor, Tensor]
RANDOM = {"rounding"}  # what depends on the processor


def errors(found: Inspection) -> list[str]:
    return [one.name for one in found.findings if one.severity == "error"]


def test_a_good_model(trained_net: nn.Module, digits: Digits) -> None:
    """No finding, the accuracy of `evaluate`, and the model is left as it was."""
    x, y = digits[0][:100], digits[1][:100]
    modes = [module.training for module in trained_net.modules()]
    found = robbench.inspect(trained_net, x, y, attack="pgd:steps=5")
    assert {one.name for one in found.findings} <= RANDOM
    result = robbench.evaluate(trained_net, x, y, threat="linf:0.1", attack="fgsm")
    assert found.clean_accuracy == pytest.approx(result.clean_accuracy)
    assert [module.training for module in trained_net.modules()] == modes
    assert not found.failed
    assert (found.attack, found.threat) == ("pgd:steps=5", "linf:8/255")


def test_what_does_not_fit(trained_net: nn.Module, digits: Digits) -> None:
    """A function: values up to 255; printed it says what to do in the words of Python."""
    found = robbench.inspect(lambda x: trained_net(x / 255), *digits)
    assert errors(found) == ["input-form"]
    assert found.failed
    assert "values from 0 to 255" in repr(found)
    assert "--" not in repr(found)
    assert "values from 0 to 255" in found._repr_html_()


def test_refused_models(trained_net: nn.Module, digits: Digits) -> None:
    """Probabilities and images of another shape: findings, not exceptions."""
    soft = robbench.inspect(nn.Sequential(trained_net, nn.Softmax(1)), *digits)
    assert errors(soft) == ["refused"]
    assert soft.clean_accuracy > 0.8
    torch.manual_seed(0)
    colour = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 30 * 30, 10))
    found = robbench.inspect(colour, *digits)
    assert found.findings[0].figures["shapes_taken"] == [(3, 32, 32)]
    assert found.classes == tuple("0123456789")  # as the labels say


def test_without_samples(trained_net: nn.Module) -> None:
    """Shape and classes are found; or given."""
    found = robbench.inspect(trained_net)
    assert (found.shape, len(found.classes), found.clean_accuracy) == ((1, 8, 8), 10, None)
    assert "not known: give data" in repr(found)
    given = robbench.inspect(trained_net, shape=(1, 8, 8), classes=[*"abcdefghij"], limit=30)
    assert (given.classes[1], given.forecast.samples) == ("b", 30)
    with pytest.raises(robbench.UserError, match="give shape, such as 3x224x224, or data"):
        robbench.inspect(nn.Identity())


def test_by_name(trained_here: Path, silent: None) -> None:
    """A trained model, as the command has it; data by name; nothing is printed."""
    found = robbench.inspect("m", limit=50, out=trained_here)
    assert (found.data, found.samples, found.normalisation[0]["front"]) == ("digits", 50, True)
    same = robbench.inspect("m", "digits", limit=50, out=trained_here)
    assert same.correct == found.correct


def test_bad_input(trained_net: nn.Module, digits: Digits) -> None:
    """Samples and attacks that are none raise."""
    with pytest.raises(robbench.UserError, match="unknown attack"):
        robbench.inspect(trained_net, *digits, attack="nothing")
    with pytest.raises(robbench.UserError, match="labels are missing"):
        robbench.inspect(trained_net, digits[0])
    with pytest.raises(robbench.UserError, match="images is no text"):
        robbench.inspect("mlp", *digits)
    with pytest.raises(robbench.UserError, match="no function"):
        robbench.inspect(3)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"labels": [1]}, "labels is for a model in memory"),
        ({"classes": 10}, "classes is for a model in memory"),
        ({"name": "n"}, "name is for a model in memory"),
        ({"outputs": "probs"}, "outputs is for a model in memory"),
        ({"shape": (1, 8, 8)}, "shape is for a model without data"),
    ],
)
def test_what_a_name_says_itself_is_refused(given: dict[str, Any], text: str) -> None:
    """Of a model that is named, and its data."""
    with pytest.raises(robbench.UserError, match=text):
        robbench.inspect("mlp", "digits", **given)


def test_what_would_not_be_read_is_refused(trained_net: nn.Module, digits: Digits) -> None:
    """Labels without images, and what images or the name of a data set say themselves."""
    with pytest.raises(robbench.UserError, match="labels are of images, which are missing"):
        robbench.inspect(trained_net, labels=digits[1])
    with pytest.raises(robbench.UserError, match="shape is for a model without images"):
        robbench.inspect(trained_net, *digits, shape=(1, 8, 8))
    for call in (robbench.inspect, robbench.evaluate):
        with pytest.raises(robbench.UserError, match="digits names its classes itself: leave out"):
            call(trained_net, "digits", classes=3)
