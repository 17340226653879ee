"""Values of a grid with their types, at each point of it."""

import re

import pytest

from robbench.core.errors import UserError
from robbench.tasks.sweep.axes import resolve, settings_at, texts_at, value_text
from robbench.tasks.sweep.grid import Axis
from robbench.tasks.sweep.request import Request


def resolved(*axes, steps=("train", "attack"), exclude=(), **fixed):
    return resolve(
        Request(name="s", grid=tuple(axes), fixed=fixed, steps=steps, exclude=tuple(exclude))
    )


def test_values_are_what_the_plain_commands_make_of_them():
    found = resolved(
        Axis("lr", ["1/10", 0.2]),
        Axis("limit", ["60", "stratified=20"]),
        Axis("attack", ["apgd", ["pgd", "square"]]),
        Axis("max_time", ["2m", "1.5h"]),
        Axis("attack.compile", ["true", False]),
    )
    assert [axis.values for axis in found.axes] == [
        ([0.1, 0.2],),
        ([60, "stratified=20"],) * 2,
        ([["apgd"], ["pgd", "square"]],),
        (["120s", "5400s"],),
        ([True, False],),
    ]
    assert settings_at(found.axes, (1, 0, 1, 0, 0), "train") == {"lr": 0.2, "limit": 60}
    assert settings_at(found.axes, (1, 0, 1, 0, 0), "attack") == {
        "limit": 60,
        "attack": ["pgd", "square"],
        "max_time": "120s",
        "compile": True,
    }
    assert texts_at(found.axes, (0, 1, 1, 1, 1)) == {
        "lr": "0.1",
        "limit": "stratified=20",
        "attack": "pgd + square",
        "max_time": "5400s",
        "attack.compile": "false",
    }


def test_a_threat_model_of_the_training_is_one_and_those_of_an_attack_are_several():
    found = resolved(**{"train.threat": "linf:0.1", "attack.threat": "linf:0.2"})
    assert found.train == {"threat": "linf:0.1"}
    assert found.attack == {"threat": ["linf:0.2"]}


def test_whether_models_are_trained():
    assert resolved(Axis("seed", range(2))).trains
    assert not resolved(Axis("models", ["at"]), seed=1).trains
    assert resolved(Axis("models", ["at"]), epochs=1).trains
    assert resolved(Axis("models", ["at"]), steps=("attack",), seed=1).attack == {"seed": 1}
    assert resolved(models="at", eps="1/255").models == ("at",)


@pytest.mark.parametrize("value", [None, True, 0.5, "x", ["a", "b"]])
def test_a_value_has_a_text(value):
    texts = {None: "none", True: "true", 0.5: "0.5", "x": "x"}
    assert value_text(value) == ("a + b" if isinstance(value, list) else texts[value])


@pytest.mark.parametrize("models", [[3], [""], [["a", 3]]])
def test_models_are_names(models):
    with pytest.raises(UserError, match="names of models"):
        resolved(Axis("models", models))


@pytest.mark.parametrize(
    ("axis", "given", "texts"),
    [
        (Axis("eps", [0.1, "8/255"]), 0.1, {"linf:0.1"}),
        (Axis("eps", [0.1, "8/255"]), "8/255", {"linf:8/255"}),
        (Axis("lr", [1, 0.1]), 1, {"1.0"}),
        (Axis("lr", [1, 0.1]), ["1/10", 1.0], {"0.1", "1.0"}),
        (Axis("attack.max_time", ["2m", "1m"]), "120s", {"120s"}),
        (Axis("attack.max_time", ["2m", "1m"]), "2m", {"120s"}),
        (Axis("attack.adaptive", [True, False]), True, {"true"}),
        (Axis("attack", [["fgsm", "pgd"], "fgsm"]), [["fgsm", "pgd"]], {"fgsm + pgd"}),
        (Axis("attack", [["fgsm", "pgd"], "fgsm"]), "fgsm", {"fgsm"}),
        (Axis("seed", range(10)), ["0..2", 7], {"0", "1", "2", "7"}),
        (Axis("models", ["at", "ce"]), "at", {"at"}),
    ],
)
def test_a_value_to_leave_out_is_read_as_its_axis_has_it(axis, given, texts):
    assert resolved(axis, exclude=[{axis.key: given}]).exclude == ({axis.key: texts},)


@pytest.mark.parametrize(
    ("axis", "rule", "said"),
    [
        (Axis("lr", [1, 0.1]), {"lr": 7}, "value of 'lr' to exclude '7.0'; did you mean 1.0?"),
        (Axis("lr", [1, 0.1]), {"lr": "x"}, "lr='x'"),
        (Axis("seed", range(1000)), {"seed": "990..999999999"}, "'1000'; the grid has 1,000 of"),
        (Axis("attack", [["fgsm", "pgd"], "fgsm"]), {"attack": ["fgsm", "pgd"]}, "exclude 'pgd'"),
        (Axis("loss", ["trades:beta=6.0"]), {"loss": "trades:beta=6"}, "mean trades:beta=6.0"),
        (Axis("lr", [1, 0.1]), {"models": "at"}, "'models' is not in the grid"),
    ],
)
def test_what_is_not_in_the_grid_cannot_be_left_out(axis, rule, said):
    with pytest.raises(UserError, match=re.escape(said)):
        resolved(axis, exclude=[rule])
