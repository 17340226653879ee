"""Axes of a grid, as a user writes them."""

import pytest

from robbench.core.errors import UserError
from robbench.tasks.sweep.grid import axis_of_file, matches, parse_axis


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("loss=ce", ["ce"]),
        ("loss=ce,trades:beta=6,sovr", ["ce", "trades:beta=6", "sovr"]),
        ("loss=trades:beta=6,rate=2,ce", ["trades:beta=6,rate=2", "ce"]),
        ("attack=eot:attack=(pgd:steps=3,rate=1),n=4,apgd", None),
        ("data=cifar10[airplane,horse],digits", ["cifar10[airplane,horse]", "digits"]),
        (
            "models=at,checkpoint:a.pth,arch=mlp,timm:x",
            ["at", "checkpoint:a.pth,arch=mlp", "timm:x"],
        ),
        ("threat=linf:1/255,2/255,l2:0.5", ["linf:1/255,2/255", "l2:0.5"]),
        ("limit=60,stratified=100", ["60", "stratified=100"]),
        ("lr=0.1,0.2", ["0.1", "0.2"]),
    ],
)
def test_a_comma_splits_where_a_new_value_begins(text, values):
    values = values or ["eot:attack=(pgd:steps=3,rate=1),n=4", "apgd"]
    assert parse_axis(text).values == values


def test_a_range_has_both_ends_and_is_not_spelled_out():
    assert parse_axis("seed=3..5").values == range(3, 6)
    assert len(parse_axis("seed=0..999999999").values) == 10**9
    assert parse_axis("seed=0..2,7").values == [0, 1, 2, "7"]
    assert axis_of_file("seed", "0..2", "f").values == range(3)


@pytest.mark.parametrize(
    "text", ["loss", "=ce", "loss=", "loss=ce,,trades", "seed=3..1", "seed=1,0..9999999"]
)
def test_what_is_malformed_or_empty_is_refused(text):
    with pytest.raises(UserError, match=r"grid|seed"):
        parse_axis(text)


@pytest.mark.parametrize("value", [[], "ce", 3, {"a": 1}])
def test_a_file_gives_lists_with_something_in_them(value):
    with pytest.raises(UserError, match=r"f\.toml: 'loss' of the grid"):
        axis_of_file("loss", value, "f.toml")


def test_a_point_is_left_out_where_all_values_of_a_rule_meet():
    rules = [{"loss": {"trades", "mart"}, "seed": {"1"}}]
    assert matches({"loss": "mart", "seed": "1"}, rules)
    assert not matches({"loss": "mart", "seed": "2"}, rules)
    assert not matches({"loss": "ce", "seed": "1"}, rules)
    assert not matches({"models": "mart"}, rules)
