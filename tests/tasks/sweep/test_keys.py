"""Whose setting a key of a sweep is."""

import pytest

from robbench.core.errors import UserError
from robbench.tasks.sweep.keys import Home, homes

TRAIN, ATTACK = "train", "attack"


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("loss", [(TRAIN, "loss")]),
        ("seed", [(TRAIN, "seed")]),
        ("data", [(TRAIN, "data")]),
        ("batch-size", [(TRAIN, "batch_size")]),
        ("recipe", [(TRAIN, "recipe")]),
        ("limit", [(TRAIN, "limit"), (ATTACK, "limit")]),
        ("attack.limit", [(ATTACK, "limit")]),
        ("threat", [(ATTACK, "threat")]),
        ("eps", [(ATTACK, "threat")]),
        ("attack", [(ATTACK, "attack")]),
        ("models", [(ATTACK, "models")]),
        ("attack.seed", [(ATTACK, "seed")]),
        ("train.threat", [(TRAIN, "threat")]),
    ],
)
def test_of_a_sweep_that_trains(key, found):
    assert homes(key, trains=True) == tuple(Home(*each) for each in found)


@pytest.mark.parametrize("key", ["seed", "data", "limit", "threat", "precision"])
def test_without_a_training_all_are_the_attacks(key):
    assert homes(key, trains=False) == (Home(ATTACK, key),)


@pytest.mark.parametrize(
    ("key", "trains", "said"),
    [
        ("los", True, "did you mean loss"),
        ("attack.sead", True, "did you mean attack.seed"),
        ("attack.loss", True, "unknown setting"),
        ("measure.seed", True, "train or attack"),
        ("name", True, "unknown setting 'name'"),
        ("loss", False, "trains nothing"),
        ("train.seed", False, "trains nothing"),
    ],
)
def test_what_is_no_setting_is_refused(key, trains, said):
    with pytest.raises(UserError, match=said):
        homes(key, trains=trains)
