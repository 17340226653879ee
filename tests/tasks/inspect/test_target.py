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


def test_an_exported_program_says_its_shape(named: Callable[..., Target], tmp_path: Path) -> None:
    """Shape, batch and number of classes are those of the file."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(30, 7)).eval()
    torch.export.save(torch.export.export(net, (torch.rand(4, 2, 3, 5),)), tmp_path / "net.pt2")
    target = named(f"export:{tmp_path / 'net.pt2'}")
    assert target.subject.split.images.shape[1:] == (2, 3, 5)
    assert (len(target.subject.split.classes), target.refusal) == (7, "")
    x = torch.rand(3, 2, 3, 5)
    assert torch.allclose(target.subject.model(x), net(x), atol=1e-6)


def test_outputs_of_another_source_are_read_as_asked(
    named: Callable[..., Target], tmp_path: Path
) -> None:
    """Options of the spec hold without data too."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Softmax(1)).eval()
    torch.export.save(torch.export.export(net, (torch.rand(2, 1, 8, 8),)), tmp_path / "soft.pt2")
    spec = f"export:{tmp_path / 'soft.pt2'}"
    assert "probabilities" in named(spec).refusal
    accepted = named(f"{spec},outputs=probs")
    x = torch.rand(2, 1, 8, 8)
    assert accepted.refusal == ""
    assert torch.allclose(accepted.subject.model(x), net(x).log(), atol=1e-5)


def test_a_checkpoint_needs_data(named: Callable[..., Target], tmp_path: Path) -> None:
    """Its architecture is built for the data's shape and classes: what was assumed is said."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    saved = {"body.1.weight": net[1].weight, "body.1.bias": net[1].bias}
    torch.save(saved, tmp_path / "linear.pth")
    with pytest.raises(UserError, match=r"does not fit.*3x224x224 of 2 classes.*give --data"):
        named(f"checkpoint:{tmp_path / 'linear.pth'},arch=(mlp:depth=0)")
    with pytest.raises(UserError, match="nowhere") as caught:
        named(f"checkpoint:{tmp_path / 'nowhere.pth'},arch=(mlp:depth=0)")
    assert "give --data" not in str(caught.value)
