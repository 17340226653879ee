"""Settings from text: documented words are understood, values beyond reason refused."""

from __future__ import annotations

import pytest

from robbench.core.config import load_config, process_number
from robbench.core.errors import UserError
from robbench.core.spec import parse_spec, validate
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.train.config import TrainConfig


def _train(*sets: str) -> TrainConfig:
    return load_config(TrainConfig, "train", file=None, sets=sets, flags={})


@pytest.mark.parametrize("name", ["inner_beyond", "limit"])
def test_none_is_understood_where_it_is_documented(name: str) -> None:
    """`--set inner_beyond=none` is the default; a number is one, and one below the range is not."""
    assert getattr(_train(f"{name}=none"), name) is None
    assert getattr(_train(f"{name}=3"), name) == 3
    with pytest.raises(UserError, match=f"{name}='-1': input should be greater"):
        _train(f"{name}=-1")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("15", 15),
        (15, 15),
        ("first=15", 15),
        ("stratified=15", "stratified=15"),
        (" stratified = 7 ", "stratified=7"),
    ],
)
def test_a_limit_may_be_stratified(text: str | int, limit: int | str) -> None:
    """N and first=N are the same number; stratified=N stays what it is."""
    assert validate(AttackConfig, {"limit": text}, "attack").limit == limit


@pytest.mark.parametrize(
    "text", ["0", "first=0", "stratified=", "random=5", "=5", "1.5", True, "9" * 5000]
)
def test_a_limit_that_is_none(text: object) -> None:
    """What takes no sample, or means nothing, is refused by name."""
    with pytest.raises(UserError, match=r"^attack: limit=.*stratified=100"):
        validate(AttackConfig, {"limit": text}, "attack")


@pytest.mark.parametrize(
    "value",
    ["9" * 5000, 10**4000, 2**32, -(10**50), [10**5000], {"a": 1}, "1e999", "nan", None, True],
)
@pytest.mark.parametrize("name", ["epochs", "lr", "batch_size", "loss"])
def test_values_beyond_reason(name: str, value: object) -> None:
    """Digits without end, tables for numbers: the key is named, in a line that can be read."""
    if (name, value) in (("loss", "9" * 5000), ("loss", "1e999"), ("loss", "nan")):
        return  # any text; whether it is a loss is asked later
    if name in ("epochs", "batch_size", "lr") and value is True:
        return  # a 1, as pydantic reads it
    with pytest.raises(UserError, match=f"^train: {name}") as caught:
        validate(TrainConfig, {name: value}, "train")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", "9" * 5000), ("max_time", "9" * 5000 + "s"), ("max_queries", "1e12")],
)
def test_attack_settings_beyond_reason(name: str, value: str) -> None:
    """Widths and limits of thousands of digits."""
    with pytest.raises(UserError, match=f"attack: {name}"):
        validate(AttackConfig, {name: value}, "attack")


@pytest.mark.parametrize(
    "text",
    ["a\0b", "a\nb", "a\x1b[31m", "a\udcffb", "a" * 10_001, "a:b=" + "(" * 21 + "x" + ")" * 21],
)
def test_specs_nobody_means(text: str) -> None:
    """Control characters, halves of surrogates, and brackets or lengths without end."""
    with pytest.raises(UserError, match=r"spec|brackets"):
        parse_spec(text)


def test_a_setting_given_twice() -> None:
    """Of two values for one key neither is meant more than the other."""
    with pytest.raises(UserError, match="--set gives batch_size twice"):
        _train("batch-size=3", "batch_size=4")


@pytest.mark.parametrize("value", ["", "-1", "one", "1.5", "9" * 5000, "²"])
def test_numbers_of_processes(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """RANK and its like are whole numbers; unset they are the default."""
    monkeypatch.delenv("RANK", raising=False)
    assert process_number("RANK", 7) == 7
    monkeypatch.setenv("RANK", "12")
    assert process_number("RANK", 7) == 12
    monkeypatch.setenv("RANK", value)
    with pytest.raises(UserError, match="RANK"):
        process_number("RANK", 0)
