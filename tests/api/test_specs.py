"""Losses, attacks and models that a caller gives as objects, classes and functions."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import ModuleType

import pytest
from torch import nn

import robbench
from robbench.api.specs import attack_texts, model_text
from robbench.attacks.pgd import PGD
from robbench.core.trust import trust_code
from robbench.losses.base import Loss, Step
from robbench.losses.trades import TRADES
from robbench.models.mlp import MLP


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raising(Loss):
    """A loss with a bug."""

    def __call__(self, step: Step):
        return step.nothing


def tiny() -> nn.Module:
    """A model of one's own."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_attacks_as_texts():
    """One or several: texts, objects and classes; an object inside a function has no spec."""
    assert attack_texts("apgd") == ["apgd"]
    assert attack_texts([PGD(steps=3), "fgsm", PGD]) == ["pgd:steps=3", "fgsm", "pgd"]

    class Local(PGD):
        pass

    with pytest.raises(robbench.UserError, match="top of a module"):
        attack_texts(Local())


def test_training_with_objects_is_training_with_their_specs(tmp_path, settings):
    """The same run: found done, whichever way it is named."""
    usual = settings | {"epochs": 1, "out": tmp_path, "name": "m"}
    of_objects = usual | {"model": MLP(width=16, depth=1), "inner": PGD(steps=2, init="gaussian")}
    done = robbench.train(TRADES(beta=2), **of_objects)
    assert done.fresh
    of_specs = usual | {"model": "mlp:width=16,depth=1", "inner": "pgd:steps=2,init=gaussian"}
    assert not robbench.train("trades:beta=2", **of_specs).fresh
    config = json.loads((done.folder / "config.json").read_text())
    assert config["config"]["loss"].startswith("trades:beta=2")


def test_a_function_that_makes_a_model_is_trained_and_loaded_again(tmp_path):
    """Its weights are those that the attack afterwards finds."""
    done = robbench.train(model=tiny, limit=100, epochs=1, out=tmp_path, name="own")
    assert done.config["model"] == f"{__name__}:tiny"
    with trust_code():
        (found,) = robbench.attack("own", "fgsm", "linf:0.1", limit=20, out=tmp_path)
    assert found.info["model"] == "own"


class Script:
    """What has no name of its own."""

    def __call__(self) -> nn.Module:
        return tiny()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (tiny(), "give the class or function that makes it"),
        (lambda: tiny(), "defined inside a function"),
        (Script(), "no class and no function"),
        (MLP, None),
        (nn.Flatten, None),
    ],
)
def test_models_as_texts(model, words):
    """What can be made again has a spec; the rest says what to give."""
    if words is None:
        assert model_text(model) in ("mlp", "torch.nn.modules.flatten:Flatten")
        return
    with pytest.raises(robbench.UserError, match=words):
        model_text(model)


def test_what_has_no_file_is_not_trained(monkeypatch, tmp_path):
    """A loss of a notebook would be another one under the same name tomorrow."""
    notebook = ModuleType("notebook_of_mine")
    vars(notebook).update(dataclasses=dataclasses, Loss=Loss)
    exec(
        "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
        "class Mine(Loss):\n"
        "    def __call__(self, step): return step.out.logits.sum(1)",
        vars(notebook),
    )
    monkeypatch.setitem(sys.modules, "notebook_of_mine", notebook)
    with pytest.raises(robbench.UserError, match=r"loss Mine has no file.*a \.py file"):
        robbench.train(notebook.Mine, out=tmp_path, epochs=1)
    assert not list(tmp_path.iterdir())


def test_a_model_of_the_running_script_is_refused(monkeypatch):
    """Its weights could not be loaded from elsewhere."""
    monkeypatch.setattr(tiny, "__module__", "__main__")
    with pytest.raises(robbench.UserError, match="move it to a module"):
        model_text(tiny)


def test_what_a_loss_raises_reaches_the_caller(tmp_path):
    """As itself, with its traceback."""
    with pytest.raises(AttributeError, match="nothing") as raised:
        robbench.train(Raising(), model="mlp", limit=60, epochs=1, out=tmp_path, name="m")
    assert raised.traceback[-1].path.name == "test_specs.py"
