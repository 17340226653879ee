"""The tasks of a sweep: each part once, named by what varies, absurd grids refused at once."""

import pytest

from robbench.core.errors import UserError
from robbench.tasks.sweep.grid import parse_axis
from robbench.tasks.sweep.plan import plan_sweep
from robbench.tasks.sweep.request import Request

PLACE = {"out": "runs", "device": "cpu", "data_dir": None, "download": False, "log": False}


def plan(*grid, steps=("train", "attack", "compare"), exclude=(), prefix="", name="s", **fixed):
    request = Request(
        name=name,
        grid=tuple(parse_axis(text) for text in grid),
        fixed=fixed,
        steps=steps,
        exclude=exclude,
        prefix=prefix,
    )
    return plan_sweep(request, PLACE)


def titles(found):
    return [item.task.title for item in found.items]


def test_one_training_for_many_attacks():
    found = plan("loss=ce,trades:beta=6", "seed=0..1", "threat=linf:0.1,l2:1", epochs="2")
    kinds = [item.kind for item in found.items]
    assert kinds == ["train", "attack", "attack"] * 4
    assert titles(found)[:3] == ["train ce-s0", "attack ce-s0 linf:0.1", "attack ce-s0 l2:1"]
    assert [i.model for i in found.items if i.kind == "train"] == [
        "ce-s0",
        "ce-s1",
        "trades-beta-6-s0",
        "trades-beta-6-s1",
    ]
    assert found.items[0].settings == {"epochs": 2, "loss": "ce", "seed": 0}
    assert found.items[1].settings == {"threat": ["linf:0.1"]}
    assert found.items[1].task.after == (found.items[0].task.id,)
    assert found.items[1].task.payload["tags"] == [
        "sweep=s",
        "loss=ce",
        "seed=0",
        "threat=linf:0.1",
    ]


def test_a_step_after_the_attack_comes_after_its_task():
    found = plan("loss=ce", steps=("train", "attack", "measure", "check"))
    train, attack, measure, check = found.items
    assert measure.task.after == check.task.after == (attack.task.id,)
    assert attack.settings["store_points"] is True
    assert train.task.after == ()


def test_models_that_are_there_are_not_trained():
    found = plan("models=at,timm:resnet18", "eps=1/255,2/255", data="digits", seed="1")
    assert [item.kind for item in found.items] == ["attack"] * 4
    assert found.items[0].settings == {"data": "digits", "seed": 1, "threat": ["linf:1/255"]}
    both = plan("models=at", "loss=ce")
    assert titles(both) == ["train ce", "attack ce", "attack at"]


def test_ids_depend_on_settings_alone():
    one = plan("seed=0..1", epochs="2", name="a")
    other = plan("seed=1..2", epochs=2, name="b", prefix="")
    ids = [{item.task.id for item in found.items} for found in (one, other)]
    assert len(ids[0] & ids[1]) == 2  # of seed 1, its training and its attack
    assert not ids[0] & {item.task.id for item in plan("seed=0..1", epochs="3").items}


def test_a_changed_training_changes_its_attacks():
    one, other = plan("loss=ce", epochs="1"), plan("loss=ce", epochs="2")
    assert one.items[1].settings == other.items[1].settings
    assert one.items[1].task.id != other.items[1].task.id


def test_excluded_points():
    found = plan("loss=ce,trades", "seed=0..1", exclude=({"loss": "trades", "seed": [0]},))
    assert titles(found) == [
        "train ce-s0",
        "attack ce-s0",
        "train ce-s1",
        "attack ce-s1",
        "train trades-s1",
        "attack trades-s1",
    ]
    found = plan("models=at,ce", "eps=0.1,0.2", exclude=({"models": "at", "eps": 0.1},))
    assert titles(found) == ["attack at linf:0.2", "attack ce linf:0.1", "attack ce linf:0.2"]
    with pytest.raises(UserError, match="exclude: 'los' is not in the grid; did you mean loss"):
        plan("loss=ce,trades", exclude=({"los": "ce"},))
    with pytest.raises(UserError, match="every point is excluded"):
        plan("loss=ce", exclude=({"loss": "ce"},))


@pytest.mark.parametrize(
    ("grid", "fixed", "said"),
    [
        (["loss=a:b=1,a-b-1"], {}, "two models of the grid would have the name a-b-1: loss=a:b=1"),
        (["loss=ce,ce"], {}, "has the value ce twice"),
        (["lr=0.1,1/10"], {}, "has the value 0.1 twice"),
        (["epochs=1,x"], {}, "epochs='x'"),
        (["tag=a,b"], {}, "cannot vary"),
        (["epochs=0..2"], {}, "epochs=0"),
        (["epochs=1..9999999"], {}, "9,999,999 points"),
        (["seed=0..1"], {"seed": 1}, "train.seed is given twice"),
        (["threat=linf:1/255"], {"eps": "0.1"}, "by 'threat' and 'eps'"),
        (["models=at"], {"train.seed": None}, "seed"),
        (["seed=0..99999", "epochs=1..100", "attack.seed=0..99"], {}, "1,000,000,000 points"),
    ],
)
def test_what_cannot_work_is_refused(grid, fixed, said):
    with pytest.raises(UserError, match=said):
        plan(*grid, **fixed)


def test_the_steps_fit_each_other():
    with pytest.raises(UserError, match="need the step attack"):
        plan("loss=ce", steps=("train", "check"))
    with pytest.raises(UserError, match="nothing to attack"):
        plan("eps=0.1", steps=("attack",))


def test_long_names_end_with_a_hash():
    (train, _) = plan(f"loss=ce:{'x' * 200}=1").items
    assert len(train.model) < 120
    assert train.model != plan(f"loss=ce:{'x' * 201}=1").items[0].model


def test_a_range_of_what_is_no_number_has_its_type():
    assert (
        plan("models=at", "attack.threat=linf:1/255", "limit=1..2").items[1].settings["limit"] == 2
    )
    assert plan("models=at", "eps=0..1").items[1].settings == {"threat": ["linf:1"]}


def test_a_thousand_tasks_have_ids_of_their_own():
    found = plan("seed=0..99", "attack.seed=0..8")
    assert len({item.task.id for item in found.items}) == len(found.items) == 1000


def test_a_model_is_certified_once_for_a_threat_model_and_samples():
    """However many attacks there are; after its training, with the settings that matter here."""
    steps = ("train", "attack", "certify")
    found = plan("loss=ce", "attack=fgsm,apgd", "eps=0.1,0.2", steps=steps, **{"attack.limit": 9})
    certify = [item for item in found.items if item.kind == "certify"]
    assert [item.task.title for item in certify] == ["certify ce linf:0.1", "certify ce linf:0.2"]
    assert [item.settings for item in certify] == [
        {"threat": ["linf:0.1"], "limit": 9},
        {"threat": ["linf:0.2"], "limit": 9},
    ]
    assert {item.task.after for item in certify} == {(found.items[0].task.id,)}
    with pytest.raises(UserError, match="need the step attack"):
        plan("loss=ce", steps=("train", "certify"))
