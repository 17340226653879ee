"""Which model and samples an inspection looks at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.inspect.target import Target, named_target, noise, target_alone

CPU = torch.device("cpu")


@pytest.fixture
def named(tmp_path: Path) -> Callable[..., Target]:
    """The target of a text, without data or with some."""

    def find(text: str, shape: tuple[int, ...] | None = None, data: str | None = None) -> Target:
        config = AttackConfig(data=data, limit=20)
        return named_target(text, config, shape, store=Store(tmp_path), device=CPU)

    return find


def test_a_pretrained_model_of_one_shape(named: Callable[..., Target]) -> None:
    """Without data: the shape it can be built for, and the classes that its weights know."""
    target = named("pyautoattack-resnet18")
    assert target.subject.split.images.shape[1:] == (3, 32, 32)
    assert target.subject.split.classes[0] == "airplane"
    assert (target.data, target.refusal) == (None, "")
    with pytest.raises(UserError, match="is for CIFAR-10"):
        named("pyautoattack-resnet18", (3, 16, 16))


def test_an_architecture_takes_the_digits(named: Callable[..., Target]) -> None:
    """As attacks do, unless a shape is given."""
    assert named("mlp:width=8").data == "digits"
    given = named("mlp:width=8", (1, 5, 5))
    assert (given.data, given.subject.split.images.shape[1:]) == (None, (1, 5, 5))


def test_noise() -> None:
    """The same at every call, in [0,1], with a label of each class."""
    split = noise((1, 4, 4), ["a", "b", "c"])
    assert torch.equal(split.images, noise((1, 4, 4), ["a", "b", "c"]).images)
    assert 0 <= split.images.min() < split.images.max() <= 1
    assert split.labels[:4].tolist() == [0, 1, 2, 0]


def test_a_module_alone() -> None:
    """Shape and classes found; a refused one is a target too; one that takes nothing is none."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    found = target_alone(flat, "flat", None, (), CPU)
    assert (len(found.subject.split.classes), found.refusal) == (7, "")
    soft = target_alone(nn.Sequential(flat, nn.Softmax(1)), "soft", None, (), CPU)
    assert "probabilities" in soft.refusal
    with pytest.raises(UserError, match="none of the usual shapes"):
        target_alone(
            nn.Sequential(nn.Flatten(), nn.Linear(63, 7), nn.Flatten(0)), "x", None, (), CPU
        )
