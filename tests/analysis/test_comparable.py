"""Which runs may stand side by side, and what is said of those that may not."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest

from robbench.analysis.comparable import COLUMNS, differences
from robbench.store.schema import RUNS

PGD, FAB = "pgd:steps=10,rate=none", "fab:steps=100"
ROW: dict[str, Any] = {
    "schema_version": 1,
    "data": "digits",
    "split": "test",
    "subset": None,
    "data_hash": "aa",
    "norm": "linf",
    "eps": 8 / 255,
    "threat": "linf:8/255",
    "target": None,
    "attack": "pgd:steps=10 + fab",
    "attack_params": json.dumps([PGD, FAB]),
    "max_time_s": None,
    "max_queries": None,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"schema_version": 2}, ["schema: 1 and 2"]),
        ({"data": "mnist", "data_hash": "bb"}, ["data: digits and mnist"]),
        (
            {"data": "mnist", "split": "train", "data_hash": "bb"},
            ["data: digits and mnist", "split: test and train"],
        ),
        ({"subset": "first=100", "data_hash": "bb"}, ["subset: all and first=100"]),
        ({"data_hash": "bb"}, ["samples: digits has changed in between, fingerprint aa and bb"]),
        ({"data": "parquet:some/folder"}, []),
        ({"norm": "l2", "threat": "l2:8/255"}, ["threat: linf:8/255 and l2:8/255"]),
        ({"eps": 0.3, "threat": "linf:0.3"}, ["threat: linf:8/255 and linf:0.3"]),
        ({"eps": 0.03137255, "threat": "linf:0.03137255"}, []),
        ({"eps": 0.0313725, "threat": "linf:0.0313725"}, []),
        ({"eps": 0.0314, "threat": "linf:0.0314"}, ["threat: linf:8/255 and linf:0.0314"]),
        ({"eps": float("inf"), "threat": "linf:inf"}, ["threat: linf:8/255 and linf:inf"]),
        ({"attack": "fgsm", "attack_params": '["fgsm"]'}, ["attack: pgd:steps=10 + fab and fgsm"]),
        ({"attack": "fab + pgd:steps=10", "attack_params": json.dumps([FAB, PGD])}, []),
        (
            {"attack_params": json.dumps([PGD, "fab:steps=70"])},
            ["attack: fab:steps=100 and fab:steps=70"],
        ),
        ({"attack_params": json.dumps([PGD])}, ["attack: fab:steps=100 and nothing more"]),
        ({"max_queries": 5000}, ["limits: none and 5000 queries"]),
        (
            {"max_queries": 5000, "max_time_s": 90.0},
            ["limits: none and 90s, 5000 queries"],
        ),
    ],
)
def test_each_difference_is_one_phrase(changes: dict[str, Any], said: list[str]) -> None:
    """Differences are named with both values, the first run's first; equal meaning is none."""
    assert list(map(str, differences(ROW, ROW | changes))) == said


def test_everything_that_differs_is_said_in_one_order() -> None:
    """All differences are reported at once, in either order of the runs."""
    other = {
        "schema_version": 2,
        "data": "mnist",
        "split": "train",
        "subset": "first=9",
        "data_hash": "bb",
        "norm": "l2",
        "eps": 1.0,
        "threat": "l2:1",
        "target": None,
        "attack": "cw",
        "attack_params": '["cw"]',
        "max_time_s": 120.0,
        "max_queries": None,
    }
    there, back = differences(ROW, other), differences(other, ROW)
    abouts = [each.about for each in there]
    assert abouts == ["schema", "data", "split", "subset", "threat", "attack", "limits"]
    assert back == [each._replace(mine=each.theirs, theirs=each.mine) for each in there]


def test_attacks_that_nobody_can_read_are_compared_as_they_stand() -> None:
    """Settings of another tool that are no list of specs still tell runs apart."""
    texts = ["{}", "not JSON", '[{"name": "pgd"}]', '"pgd"', "[]"]
    for one, two in itertools.product(texts, texts):
        assert bool(differences(ROW | {"attack_params": one}, ROW | {"attack_params": two})) == (
            one != two
        )


def test_the_columns_are_enough_and_exist(stored: Any) -> None:
    """The columns are those of the runs table, and a stored run is comparable with itself."""
    assert set(COLUMNS) <= set(RUNS.names)
    info = stored("aaaa").info
    assert differences({name: info[name] for name in COLUMNS}, info) == []


def test_it_needs_nothing_heavy() -> None:
    """Reading results starts at once."""
    code = (
        "import sys, robbench.analysis.comparable as c; print(*{'torch', 'pandas', 'scipy', "
        "'numpy', 'pyarrow'} & {*sys.modules})"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )


def test_samples_in_memory_are_given_and_do_not_change() -> None:
    """Two calls of `evaluate` on other samples: nothing happened in between."""
    one = ROW | {"data": "memory"}
    (found,) = differences(one, one | {"data_hash": "bb"})
    assert str(found) == "samples: other samples were given, fingerprint aa and bb"


def test_another_target_is_another_threat_model_and_explains_other_samples() -> None:
    """The samples of a target's class are left out, and so their fingerprint differs."""
    aimed = ROW | {"target": "3", "threat": "linf:8/255 -> 3", "data_hash": "bb"}
    assert list(map(str, differences(ROW, aimed))) == ["threat: linf:8/255 and linf:8/255 -> 3"]
    changed = aimed | {"data_hash": "cc"}
    assert [each.about for each in differences(aimed, changed)] == ["samples"]
    other = aimed | {"data": "mnist", "target": "4"}
    assert [each.about for each in differences(aimed, other | {"data_hash": "dd"})] == [
        "data",
        "threat",
    ]
